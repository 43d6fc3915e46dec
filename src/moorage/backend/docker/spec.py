"""What is sent to create a container: the login's configuration with our additions.  Pure.

Hard limits, security options and everything else that the configuration holds pass through unchanged.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.backend.lease import Lease
from moorage.config.sections.docker import DockerExecutionConfig
from moorage.gateway.model import Login

_LABEL_LIMIT: Final = 256
_ENVIRONMENT_LIMIT: Final = 128 * 1024
_NO_LOG: Final = {"Type": "none", "Config": {}}


@dataclass(frozen=True, slots=True)
class Injection:
    """How the agent gets into a container and how it is reached there."""

    mount: Mapping[str, Any]
    """An entry of the host configuration's mounts."""

    command: tuple[str, ...]
    """The agent's argv."""

    is_attached: bool
    """Over the container's own standard streams; else it dials us."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container to be created."""

    name: str
    platform: str
    body: dict[str, Any] = field(repr=False)

    @property
    def image(self) -> str:
        """The image's name as configured."""
        return str(self.body.get("Image", ""))


def agent_container(
    config: DockerExecutionConfig,
    login: Login,
    lease: Lease,
    injection: Injection,
    *,
    companion: Sequence[str],
) -> ContainerSpec:
    """A container whose first process is our agent; `companion` is a program that it starts and minds beside us."""
    attached = injection.is_attached
    arguments = [*injection.command[1:], *(("--idle", "--", *companion) if companion else ())]
    body = _base(config, login, lease)
    body |= {
        "Entrypoint": [injection.command[0]],
        "Cmd": arguments,
        "Tty": False,
        **_streams(attached),
    }
    host = body["HostConfig"]
    host["Mounts"] = [*(host.get("Mounts") or ()), dict(injection.mount)]
    host["LogConfig"] = dict(_NO_LOG)  # what the agent says is not text, and a log would cost most of the speed
    return ContainerSpec(container_name(config, login), platform_name(config.platform), body)


def idle_container(config: DockerExecutionConfig, login: Login, lease: Lease) -> ContainerSpec:
    """A container that idles by its own command, for programs that the engine starts in it."""
    body = _base(config, login, lease)
    body["Cmd"] = list(config.idle_command)
    body["HostConfig"].setdefault("LogConfig", dict(_NO_LOG))
    return ContainerSpec(container_name(config, login), platform_name(config.platform), body)


def program_container(
    config: DockerExecutionConfig,
    login: Login,
    lease: Lease,
    *,
    argv: Sequence[str],
    environment: Mapping[str, str],
    tty: bool,
) -> ContainerSpec:
    """A container whose first process is the program itself, attached."""
    body = _base(config, login, lease)
    body["Env"] = _joined(body["Env"], environment)
    body |= {"Cmd": list(argv), "Tty": tty, **_streams(True)}
    body["HostConfig"].setdefault("LogConfig", dict(_NO_LOG))
    return ContainerSpec(container_name(config, login), platform_name(config.platform), body)


def environment(config: DockerExecutionConfig, login: Login) -> dict[str, str]:
    """The login's own variables: its metadata where that is to be shown, overridden by its environment."""
    shown = login.metadata.metadata if config.expose_auth_metadata_as_env else {}
    return {name: value.value for name, value in {**shown, **login.metadata.environment}.items()}


def container_name(config: DockerExecutionConfig, login: Login) -> str:
    """The configured name, else a fresh one: a name of our own is what a create that was cut short is found by."""
    return config.containername or f"moorage-{_plain(login.connection_id)[:12]}-{secrets.token_hex(4)}"


def platform_name(platform: Mapping[str, Any]) -> str:
    """``os/architecture/variant`` as the engine's query wants it; empty if nothing is asked for."""
    lowered = {key.lower(): str(value) for key, value in platform.items() if isinstance(value, str) and value}
    if "architecture" not in lowered and "os" not in lowered:
        return ""
    parts = [lowered.get("os", "linux"), lowered.get("architecture", ""), lowered.get("variant", "")]
    return "/".join(part for part in parts if part)


def _base(config: DockerExecutionConfig, login: Login, lease: Lease) -> dict[str, Any]:
    container, host = config.container, dict(config.host)
    # A guest ends with its login: the engine must neither keep nor restart it.
    host.pop("RestartPolicy", None)
    host["AutoRemove"] = True
    body = dict(container)
    body["Env"] = _joined(container.get("Env") or (), environment(config, login))
    body["Labels"] = {**(container.get("Labels") or {}), **labels(login, lease)}
    body["HostConfig"] = host
    if config.network:
        body["NetworkingConfig"] = dict(config.network)
    return body


def labels(login: Login, lease: Lease) -> dict[str, str]:
    """The labels of a login's container; the first three are what existing tools look for."""
    return {
        "containerssh_connection_id": _label(login.connection_id),
        "containerssh_ip": _label(login.attempt.remote_address.host),
        "containerssh_username": _label(login.username),
        **lease.labels(),
    }


def _streams(attached: bool) -> dict[str, bool]:
    names = ("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce")
    return dict.fromkeys(names, attached)


def _joined(configured: Sequence[str], added: Mapping[str, str]) -> list[str]:
    """One entry a name, later ones winning: with two, programs disagree on which counts."""
    merged: dict[str, str | None] = {}
    for configured_entry in configured:
        name, equals, text = str(configured_entry).partition("=")
        merged[name] = text if equals else None  # a bare name takes a variable of the image away
    merged |= {name: value for name, value in added.items() if _is_settable(name, value)}
    kept, size = [], 0
    for name, value in merged.items():
        entry = name if value is None else f"{name}={value}"
        length = len(entry.encode("utf-8", "surrogateescape"))
        if size + length <= _ENVIRONMENT_LIMIT:
            size += length
            kept.append(entry)
    return kept


def _is_settable(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name and "\0" not in value


def _label(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_LABEL_LIMIT])


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isalnum())
