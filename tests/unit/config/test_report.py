"""The report says what a configuration means, in a line each."""

from __future__ import annotations

import json

import pytest
from tests.unit.config.conftest import Read

from moorage.config import report
from moorage.config.problems import dotted

HOOK = "configserver: {url: 'http://h/c'}"


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("{}", "guests from", "docker at unix:///var/run/docker.sock, image containerssh/containerssh-guest-image"),
        ("backend: sandbox", "guests from", "sandbox from /usr of this host"),
        ("backend: sandbox\nsandbox: {rootfs: /r}", "guests from", "sandbox from /r"),
        ("backend: kubernetes", "guests from", "kubernetes at kubernetes.default.svc, namespace default"),
        (
            "backend: kubernetes\nkubernetes: {connection: {kubeconfig: /k}}",
            "guests from",
            "kubernetes as /k says, namespace default",
        ),
        (
            "configserver: {url: 'http://h'}\nbackend: sshproxy\nsshproxy: {server: h}",
            "guests from",
            "sshproxy at h:22",
        ),
        ("{}", "users log in by", "no method: nobody can log in"),
        ("auth: {users: {file: /u}}", "users log in by", "password (/u), public key (/u)"),
        ("auth: {gssapi: {method: kerberos}}", "users log in by", "gssapi (kerberos)"),
        (
            "auth: {authz: {method: webhook, webhook: {url: 'http://a:b@h/x'}}}",
            "authorized by",
            "http://**********@h/x",
        ),
        (HOOK, "each login asks", "http://h/c"),
        ("ssh: {hostkeys: [/k, '-----BEGIN x']}", "host keys", "/k, inline key"),
    ],
)
def test_the_summary(read: Read, text: str, key: str, line: str) -> None:
    assert report.summary(read(text).config)[key] == line


def test_settings_name_the_line_that_they_come_from(read: Read) -> None:
    loaded = read(
        """
        ssh:
          banner: hello
        docker:
          execution:
            host:
              memory: 5
            auth: {username: u, password: p}
        auth:
          users: {file: /u}
        """
    )
    rows = {dotted(one.path): (one.value, one.line) for one in report.settings(loaded)}
    assert rows == {
        "ssh.banner": ("hello", 3),
        "docker.execution.host.resources": ({"memory": 5}, 6),
        "docker.execution.auth.username": ("u", 8),
        "docker.execution.auth.password": ("**********", 8),
        "auth.users.file": ("/u", 10),
        "auth.password.method": ("users", 0),
        "auth.publicKey.method": ("users", 0),
    }


def test_long_values_and_control_characters_are_cut_and_escaped(read: Read) -> None:
    text = report.as_text(
        read('ssh: {banner: "a\\nb\\e[31m"}\nbackend: sandbox\nsandbox: {hostname: ' + "h" * 64 + "}")
    )
    assert "a\\nb\\x1b[31m" in text
    assert "\x1b" not in text
    assert "h" * 59 + "…" in text


@pytest.mark.parametrize("where", ["text", "json", "dump"])
def test_what_images_are_told_is_hidden_like_other_secrets(read: Read, where: str) -> None:
    loaded = read(
        """
docker:
  execution:
    container: {Image: debian, Env: [TOKEN=s3cret-1]}
sandbox:
  environment: {TOKEN: s3cret-2}
kubernetes:
  pod:
    spec:
      containers: [{name: shell, image: debian, env: [{name: TOKEN, value: s3cret-3}]}]
security:
  env: {mode: filter, allow: [LANG]}
"""
    )

    def told(secrets: bool) -> str:
        match where:
            case "text":
                return report.as_text(loaded, secrets=secrets)
            case "json":
                return json.dumps(report.as_json(loaded, secrets=secrets, whole=True))
        return report.dump(loaded.config, secrets=secrets)

    assert "s3cret" not in told(False)
    assert "TOKEN=**********" in told(False)
    assert "LANG" in told(False), "names of variables are no secrets"
    assert "TOKEN=s3cret-1" in told(True)
    assert report.hides_secrets(loaded.config)
