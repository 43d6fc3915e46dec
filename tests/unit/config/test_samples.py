"""Files in the field keep their meaning."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from moorage.codes import Code
from moorage.config import AppConfig, Loaded, load
from moorage.config.problems import dotted

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> Loaded:
    return load(SAMPLES / name, look_at_files=False, built_only=False)


def test_a_full_dump_of_version_0_4_means_the_defaults_and_one_webhook() -> None:
    loaded = sample("everything-0.4.yaml")
    config, default = loaded.config, AppConfig()
    for name in ("configserver", "log", "metrics", "geoip", "audit", "security", "docker", "health", "sandbox"):
        assert getattr(config, name) == getattr(default, name), name
    assert config.auth.password.webhook.url == "http://localhost:8080"
    assert config.auth.public_key.webhook == config.auth.password.webhook
    assert (config.auth.password.method, config.auth.public_key.method) == ("webhook", "webhook")
    assert config.auth.password.webhook.auth_timeout == timedelta(seconds=60)


def test_algorithms_that_a_file_names_are_kept_apart_from_unset_ones() -> None:
    ssh = sample("everything-0.4.yaml").config.ssh
    assert ssh.macs == ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256")
    assert ssh.kex is not None
    assert ssh.kex[0] == "curve25519-sha256@libssh.org"
    assert AppConfig().ssh.kex is None


def test_the_old_layout_is_a_warning_with_its_code_and_place() -> None:
    (warning,) = sample("everything-0.4.yaml").warnings
    assert warning.code == Code.CONFIG_AUTH_URL_DEPRECATED
    assert (dotted(warning.path), warning.place.line) == ("auth.url", 41)


def test_the_packaged_file_has_a_webhook_a_config_server_and_metrics() -> None:
    loaded = sample("packaged.yaml")
    config = loaded.config
    assert loaded.warnings == ()
    assert [key.get_secret_value() for key in config.ssh.hostkeys] == ["/etc/containerssh/ssh_host_rsa_key"]
    assert (config.auth.password.method, config.auth.public_key.method) == ("webhook", "")
    assert config.auth.password.webhook.url == "http://127.0.0.1:8080"
    assert config.configserver.url == "http://127.0.0.1:8080/config"
    assert (config.metrics.enable, config.metrics.listen, config.metrics.path) == (True, "0.0.0.0:9100", "/metrics")
    assert config.backend == "docker"
    assert not config.is_settled


def test_only_what_a_file_says_counts_as_set() -> None:
    config = sample("packaged.yaml").config
    assert config.model_fields_set == {"ssh", "backend", "auth", "configserver", "metrics"}
    assert config.ssh.model_fields_set == {"hostkeys"}


def test_a_pod_with_a_volume_keeps_it_and_the_inline_authority_is_no_concern_of_another_backend() -> None:
    kubernetes = sample("kubernetes.yaml").config.kubernetes
    assert kubernetes.connection.cacert == "<cacert>\n"
    assert kubernetes.connection.cert_file.endswith("/ca.crt")
    assert kubernetes.pod.metadata == {"namespace": "tp-112520", "generateName": "containerssh-"}
    assert kubernetes.pod.spec == {
        "volumes": [{"name": "home", "hostPath": {"path": "/home/ubuntu", "type": "Directory"}}],
        "containers": [{"name": "shell", "image": "containerssh/containerssh-guest-image"}],
    }


def test_dockerrun_means_docker_in_session_mode_without_an_agent() -> None:
    loaded = sample("dockerrun-0.4.yaml")
    config = loaded.config
    execution = config.docker.execution
    assert (config.backend, execution.mode, execution.disable_agent) == ("docker", "session", True)
    assert execution.container == {"Image": "alpine", "Env": ["A=1"]}
    assert execution.host == {"Memory": 1000000}
    assert (execution.idle_command, execution.shell_command, execution.image_pull_policy) == ((), (), "Always")
    assert (execution.containername, execution.subsystems) == ("old", {})
    assert config.docker.connection.host == "tcp://10.0.0.1:2376"
    assert config.docker.connection.cert == config.docker.connection.cacert
    timeouts = config.docker.timeouts
    assert {timeouts.container_start, timeouts.window, timeouts.http} == {timedelta(seconds=90)}
    assert config.security.command.mode == "disable"
    assert config.ssh.listen == "0.0.0.0:2200"
    said = {dotted(warning.path) for warning in loaded.warnings}
    assert {"listen", "auth.url", "backend", "dockerrun"} <= said


def test_flags_and_the_time_limit_of_the_old_auth_layout_are_honoured() -> None:
    auth = sample("dockerrun-0.4.yaml").config.auth
    assert (auth.password.method, auth.public_key.method) == ("webhook", "")
    assert auth.password.webhook.auth_timeout == timedelta(seconds=30)


def test_kuberun_means_kubernetes_in_session_mode() -> None:
    loaded = sample("kuberun-0.4.yaml")
    config = loaded.config
    pod, connection, timeouts = config.kubernetes.pod, config.kubernetes.connection, config.kubernetes.timeouts
    assert (config.backend, pod.mode, pod.idle_command) == ("kubernetes", "session", ())
    assert pod.disable_agent is False, "in version 0.4 true put the agent to use"
    assert pod.metadata == {"namespace": "guests", "generateName": "containerssh-"}
    assert pod.spec["containers"] == [
        {"name": "shell", "image": "containerssh/containerssh-guest-image"},
        {"name": "side", "image": "alpine", "args": ["a"]},
    ]
    assert pod.console_container_number == 1
    assert (connection.host, connection.insecure) == ("https://10.0.0.1:6443", True)
    assert connection.bearer_token.get_secret_value() == "tok"
    assert (timeouts.http, timeouts.pod_start) == (timedelta(seconds=7), timedelta(seconds=80))
    assert config.security.command.mode == "disable"
    said = [str(warning) for warning in loaded.warnings]
    assert any("somethingOld: unknown key, ignored" in text for text in said)
    assert any("certificate is not verified" in text for text in said)


@pytest.mark.parametrize("file", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_every_sample_is_read_without_looking_elsewhere(file: Path) -> None:
    assert sample(file.name).config.backend
