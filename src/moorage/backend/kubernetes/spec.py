"""What is sent to create a pod: the login's configuration with our additions.  Pure.

All that the configuration holds passes through unchanged, and what it says about security wins over our defaults.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.backend.lease import INSTANCE, OWNER
from moorage.config.sections.kubernetes import KubernetesPodConfig
from moorage.config.sections.names import DEFAULT_IDLE_COMMAND
from moorage.gateway.model import Login

TARGET: Final = "/.moorage"
"""Where the agent stands in a container."""

AGENT: Final = f"{TARGET}/agent"
INSTALLER: Final = "moorage-agent"
"""The name of the init container and of the volume that it fills."""

LIFE: Final = 30 * 86400
"""Seconds after which a cluster ends a pod whatever has become of us, unless the configuration says otherwise."""

GRACE: Final = 1
"""Seconds that the programs of a pod get to end with it, unless the configuration says otherwise."""

_LABEL_LIMIT: Final = 63
_ENVIRONMENT_LIMIT: Final = 128 * 1024
_SUFFIX_LENGTH: Final = 10
_NAME_LIMIT: Final = 63
_NAME_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_LABEL: Final = re.compile(r"[^A-Za-z0-9_.-]")
_RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod_name(metadata: Mapping[str, Any]) -> str:
    """The configured name, else a fresh one: a name of our own is what a create that was cut short is found by."""
    if metadata.get("name"):
        return str(metadata["name"])
    suffix = "".join(secrets.choice(_NAME_LETTERS) for _ in range(_SUFFIX_LENGTH))
    return str(metadata.get("generateName") or "containerssh-")[: _NAME_LIMIT - _SUFFIX_LENGTH] + suffix


def console_container(config: KubernetesPodConfig) -> str:
    """The name of the container that programs run in."""
    return str(config.spec["containers"][config.console_container_number].get("name", ""))


def agent_pod(
    config: KubernetesPodConfig, login: Login, *, name: str, instance: str, owner: str, command: Sequence[str] = ()
) -> dict[str, Any]:
    """A pod whose console container is our agent, attached once; `command` are further arguments of it."""
    pod = _base(config, login, name, {INSTANCE: instance, OWNER: owner})
    spec = pod["spec"]
    _bounded(spec)
    console = _inject(config, spec)
    console |= {"command": [AGENT, "serve", *command], "stdin": True, "stdinOnce": True, "tty": False}
    console.pop("args", None)
    return pod


def persistent_pod(config: KubernetesPodConfig, login: Login, *, name: str) -> dict[str, Any]:
    """A pod that outlives its first login: it idles, and an agent is started in it for each connection."""
    pod = _base(config, login, name, {})
    console = pod["spec"]["containers"][config.console_container_number]
    command = list(config.idle_command)
    if config.agent == "moorage" and not config.disable_agent:
        _inject(config, pod["spec"])
        if tuple(config.idle_command) == tuple(DEFAULT_IDLE_COMMAND):
            command[0] = AGENT
    console["command"] = command
    return pod


def idle_pod(config: KubernetesPodConfig, login: Login, *, name: str, instance: str, owner: str) -> dict[str, Any]:
    """A pod that idles by its own command, for programs that the cluster starts in it."""
    pod = _base(config, login, name, {INSTANCE: instance, OWNER: owner})
    _bounded(pod["spec"])
    pod["spec"]["containers"][config.console_container_number]["command"] = list(config.idle_command)
    return pod


def _bounded(spec: dict[str, Any]) -> None:
    """A pod that ends with its login, or by itself."""
    spec["restartPolicy"] = "Never"
    spec.setdefault("activeDeadlineSeconds", LIFE)
    spec.setdefault("terminationGracePeriodSeconds", GRACE)


def _inject(config: KubernetesPodConfig, spec: dict[str, Any]) -> dict[str, Any]:
    """Have our agent in the console container, which is returned."""
    mount = {"name": INSTALLER, "mountPath": TARGET}
    installer = {
        "name": INSTALLER,
        "image": config.agent_image,
        "command": ["/moorage-agent", "install", AGENT],
        "volumeMounts": [mount],
        "securityContext": {**copy.deepcopy(_RESTRICTED), "readOnlyRootFilesystem": True},
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "500m", "memory": "64Mi"},
        },
    }
    spec["initContainers"] = [installer, *(spec.get("initContainers") or ())]
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": INSTALLER, "emptyDir": {"sizeLimit": "32Mi"}}]
    console: dict[str, Any] = spec["containers"][config.console_container_number]
    console["volumeMounts"] = [*(console.get("volumeMounts") or ()), {**mount, "readOnly": True}]
    return console


def companion(config: KubernetesPodConfig) -> list[str]:
    """The agent's arguments that make it start and mind the configured idle command; none for the default one."""
    if config.mode == "session" or tuple(config.idle_command) == tuple(DEFAULT_IDLE_COMMAND):
        return []
    return ["--idle", "--", *config.idle_command]


def environment(config: KubernetesPodConfig, login: Login) -> dict[str, str]:
    """The login's own variables: its environment, overridden by the metadata that is to be shown."""
    metadata = login.metadata
    named = {name: value.value for name, value in metadata.environment.items()}
    return {**named, **_mapped(config.expose_auth_metadata_as_env, login)}


def _base(config: KubernetesPodConfig, login: Login, name: str, owner: Mapping[str, str]) -> dict[str, Any]:
    metadata = copy.deepcopy(config.metadata)
    metadata.pop("generateName", None)
    metadata["name"] = name
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        "containerssh_connection_id": login.connection_id,
        **_user_label(login.authenticated_username),
        **_mapped(config.expose_auth_metadata_as_labels, login),
        **owner,
    }
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        "containerssh_ip": login.attempt.remote_address.host.replace(":", "-"),
        **_mapped(config.expose_auth_metadata_as_annotations, login),
    }
    spec = copy.deepcopy(config.spec)
    variables = environment(config, login)
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        container["env"] = _joined(container.get("env") or (), variables)
    if "automountServiceAccountToken" not in spec and not spec.get("serviceAccountName"):
        spec["automountServiceAccountToken"] = False
    if not spec.get("securityContext"):
        console = spec["containers"][config.console_container_number]
        if not console.get("securityContext"):
            console["securityContext"] = copy.deepcopy(_RESTRICTED)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _mapped(names: Mapping[str, str], login: Login) -> dict[str, str]:
    known = login.metadata.metadata
    return {target: known[source].value for source, target in (names or {}).items() if source in known}


def _user_label(username: str) -> dict[str, str]:
    """The user's name as far as a label can hold it; left out where it is too long."""
    text = _LABEL.sub("-", username)
    if not text or len(text) > _LABEL_LIMIT:
        return {}
    text = text.strip("-_.")
    return {"containerssh_username": text} if text else {}


def _joined(configured: Sequence[Mapping[str, Any]], added: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry a name, ours winning.  What a user brings is never a reference to another variable."""
    size, kept = 0, {}
    for name, value in added.items():
        length = len(name) + len(value.encode("utf-8", "replace"))
        if name and "=" not in name and "\0" not in name + value and size + length <= _ENVIRONMENT_LIMIT:
            size += length
            kept[name] = value.replace("$", "$$")
    entries = [dict(entry) for entry in configured if entry.get("name") not in kept]
    return [*entries, *({"name": name, "value": value} for name, value in kept.items())]
