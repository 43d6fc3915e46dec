"""What a pod is made of: the configuration with our additions, and what a user brings never more than a value."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.backend.kubernetes.spec import AGENT, agent_pod, companion, console_container, pod_name
from moorage.config import AppConfig
from moorage.config.sections.kubernetes import KubernetesPodConfig
from moorage.gateway.model import Address, Attempt, ConnectionId, Login, Metadata, TextValue

CONNECTION = "0123456789abcdef0123456789abcdef"


def login(*, username: str = "mia", host: str = "192.0.2.1", **values: dict[str, str]) -> Login:
    shown, variables = (
        {k: TextValue(v) for k, v in values.get(kind, {}).items()} for kind in ("metadata", "environment")
    )
    metadata = Metadata(metadata=shown, environment=variables)
    attempt = Attempt(ConnectionId(CONNECTION), Address(host, 40022), "SSH-2.0-test", "login", username, metadata)
    return Login(attempt, "password", AppConfig())


def made(config: KubernetesPodConfig | None = None, who: Login | None = None) -> dict[str, Any]:
    return agent_pod(config or KubernetesPodConfig(), who or login(), name="pod-1", instance="inst", owner="tok")


def console(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in console(pod)["env"]}


def pod_config(**values: Any) -> KubernetesPodConfig:
    spec = {"containers": [{"name": "shell", "image": "i", **values.pop("container", {})}], **values.pop("spec", {})}
    return KubernetesPodConfig.model_validate({"spec": spec, **values})


def test_the_agent_comes_by_an_init_container_and_is_the_first_process_attached_once() -> None:
    pod = made(pod_config(container={"command": ["/x"], "args": ["y"]}))
    installer = pod["spec"]["initContainers"][0]
    assert installer["command"] == ["/moorage-agent", "install", AGENT]
    assert installer["volumeMounts"][0]["name"] == pod["spec"]["volumes"][0]["name"]
    assert console(pod)["command"] == [AGENT, "serve"]
    assert "args" not in console(pod)
    assert (console(pod)["stdin"], console(pod)["stdinOnce"], console(pod)["tty"]) == (True, True, False)
    assert console(pod)["volumeMounts"][0]["readOnly"] is True
    assert pod["spec"]["restartPolicy"] == "Never"


def test_a_pod_gets_no_token_and_no_privileges_unless_they_are_configured() -> None:
    pod = made()
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert console(pod)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert console(pod)["securityContext"]["allowPrivilegeEscalation"] is False
    given = made(pod_config(spec={"serviceAccountName": "robot", "securityContext": {"runAsUser": 1}}))
    assert "automountServiceAccountToken" not in given["spec"]
    assert "securityContext" not in console(given)
    assert made(pod_config(spec={"automountServiceAccountToken": True}))["spec"]["automountServiceAccountToken"] is True
    own = {"privileged": True}
    assert console(made(pod_config(container={"securityContext": own})))["securityContext"] == own


def test_the_cluster_ends_a_pod_that_everybody_has_forgotten_unless_told_when() -> None:
    assert made()["spec"]["activeDeadlineSeconds"] == 30 * 86400
    assert made(pod_config(spec={"activeDeadlineSeconds": 60}))["spec"]["activeDeadlineSeconds"] == 60


def test_labels_say_whose_it_is_and_nothing_that_is_configured_or_attached_can_say_otherwise() -> None:
    config = pod_config(
        metadata={"namespace": "n", "labels": {"a": "b", "containerssh_connection_id": "x", "moorage_owner": "x"}},
        exposeAuthMetadataAsLabels={"TEAM": "team", "OWNER": "moorage_owner"},
        exposeAuthMetadataAsAnnotations={"TEAM": "note"},
    )
    pod = made(config, login(host="2001:db8::1", metadata={"TEAM": "red", "OWNER": "evil", "OTHER": "hidden"}))
    assert pod["metadata"]["labels"] == {
        "a": "b",
        "containerssh_connection_id": CONNECTION,
        "containerssh_username": "mia",
        "team": "red",
        "moorage_instance": "inst",
        "moorage_owner": "tok",
    }
    assert pod["metadata"]["annotations"] == {"containerssh_ip": "2001-db8--1", "note": "red"}
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("pod-1", "n")
    assert "generateName" not in pod["metadata"]


@pytest.mark.parametrize(
    ("username", "label"),
    [
        ("mia", "mia"),
        ("mia@example.com", "mia-example.com"),
        ("a|b", "a-b"),
        ("-mia.", "mia"),
        ("ü", None),
        ("", None),
        ("x" * 63, "x" * 63),
        ("x" * 64, None),
    ],
)
def test_a_user_s_name_is_a_label_as_far_as_it_can_be_one(username: str, label: str | None) -> None:
    assert made(who=login(username=username))["metadata"]["labels"].get("containerssh_username") == label


def test_variables_reach_all_containers_metadata_before_environment_before_configured() -> None:
    config = pod_config(
        container={"env": [{"name": "A", "value": "file"}, {"name": "B", "value": "file"}]},
        spec={"initContainers": [{"name": "i", "image": "i"}]},
        exposeAuthMetadataAsEnv={"SECRET": "C"},
    )
    pod = made(config, login(metadata={"SECRET": "shown"}, environment={"B": "login", "C": "login"}))
    assert variables(pod) == {"A": "file", "B": "login", "C": "shown"}
    assert [entry["name"] for entry in pod["spec"]["initContainers"][1]["env"]] == ["B", "C"]
    assert "env" not in pod["spec"]["initContainers"][0]


def test_a_value_is_never_a_reference_to_another_variable_and_never_too_much() -> None:
    pod = made(who=login(environment={"A": "$(HOME) $x", "BIG": "x" * 200_000, "B=C": "x", "N": "a\0b"}))
    assert variables(pod) == {"A": "$$(HOME) $$x"}


def test_the_configuration_itself_stays_as_it_is() -> None:
    config = pod_config(container={"volumeMounts": [], "env": []}, spec={"volumes": []})
    before = config.model_dump()
    made(config, login(environment={"A": "b"}))
    assert config.model_dump() == before


def test_names_are_fresh_fit_and_configured() -> None:
    names = {pod_name({"generateName": "containerssh-"}) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("containerssh-") and len(name) <= 63 for name in names)
    assert len(pod_name({"generateName": "x" * 100})) == 63
    assert pod_name({"name": "fixed", "generateName": "x"}) == "fixed"


def test_an_idle_command_of_one_s_own_runs_beside_the_agent() -> None:
    assert companion(KubernetesPodConfig()) == []
    assert companion(pod_config(idleCommand=["/bin/httpd", "-f"])) == ["--idle", "--", "/bin/httpd", "-f"]


def test_programs_run_in_the_container_that_is_asked_for() -> None:
    spec = {"containers": [{"name": "side", "image": "s"}, {"name": "main", "image": "m"}]}
    config = KubernetesPodConfig.model_validate({"spec": spec, "consoleContainerNumber": 1})
    pod = made(config)
    assert console_container(config) == "main"
    assert pod["spec"]["containers"][1]["command"][0] == AGENT
    assert "command" not in pod["spec"]["containers"][0]
