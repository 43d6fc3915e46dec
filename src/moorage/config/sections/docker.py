"""``docker``: guests as containers of a Docker-compatible engine."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, SecretStr

from moorage.config.disk import Disk, is_inline_pem
from moorage.config.section import AlsoCalled, Duration, Finding, OneOf, Section, Struct, shown, under
from moorage.config.sections.http import pair_problems
from moorage.config.sections.names import (
    DEFAULT_AGENT_PATH,
    DEFAULT_GUEST_IMAGE,
    DEFAULT_IDLE_COMMAND,
    DEFAULT_SUBSYSTEMS,
    IMAGE_PULL_POLICIES,
)
from moorage.config.sections.pool import PoolConfig

_SCHEMES = ("unix://", "tcp://", "http://", "https://")
_MINUTE = timedelta(seconds=60)


class DockerConnectionConfig(Section):
    """How the engine is reached."""

    host: str = "unix:///var/run/docker.sock"
    """`unix://PATH` or `tcp://HOST:PORT`; an address without a scheme means tcp."""

    cacert: str = ""
    """PEM text of the authority that vouches for the engine. TLS needs all three."""

    cert: str = ""
    """PEM text of the client's certificate."""

    key: SecretStr = SecretStr("")
    """PEM text of the client's private key."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        scheme, there, rest = self.host.partition("://")
        if there and scheme + there not in _SCHEMES:
            yield Finding(("host",), f"unknown scheme in {shown(self.host)}", "use unix:// or tcp://")
        elif (there and not rest) or any(c.isspace() for c in self.host):
            yield Finding(("host",), f"{shown(self.host)} is not an engine's address", "use unix:// or tcp://")
        parts = {"cacert": self.cacert, "cert": self.cert, "key": self.key.get_secret_value()}
        for name, value in parts.items():
            if value and not is_inline_pem(value):
                yield Finding((name,), "is not a PEM text", "paste the PEM text itself; a path is not read here")
            elif not value and any(parts.values()):
                yield Finding((name,), "TLS needs cacert, cert and key", "set all three or none")
        if all(is_inline_pem(value) for value in parts.values()):
            if wrong := disk.certificates(self.cacert):
                yield Finding(("cacert",), wrong)
            yield from pair_problems(disk, self.cert, self.key)


class RegistryAuthConfig(Section):
    """A login at the image's registry."""

    username: str = ""
    """The user's name."""

    password: SecretStr = SecretStr("")
    """The user's password."""

    auth: SecretStr = SecretStr("")
    """Name and password as the engine's own files hold them: base64 of `NAME:PASSWORD`."""

    email: str = ""
    """Sent as it is; current registries ignore it."""

    serveraddress: str = ""
    """The registry. Empty: the one in the image's name."""

    identitytoken: SecretStr = SecretStr("")
    """A token in place of a password."""

    registrytoken: SecretStr = SecretStr("")
    """A bearer token for the registry."""


class DockerExecutionConfig(Section):
    """What a guest is made of and how programs are started in it."""

    container: Annotated[dict[str, Any], Struct("docker", "Container")] = Field(
        default_factory=lambda: {"Image": DEFAULT_GUEST_IMAGE}
    )
    """The engine API's container configuration; the image is filled in if it names none."""

    host: Annotated[dict[str, Any], Struct("docker", "Host")] = Field(default_factory=dict)
    """The engine API's host configuration; resource limits stand flat in it or under `resources`."""

    network: Annotated[dict[str, Any], Struct("docker", "Network")] = Field(default_factory=dict)
    """The engine API's networking configuration."""

    platform: Annotated[dict[str, Any], Struct("docker", "Platform")] = Field(default_factory=dict)
    """The image's platform."""

    containername: Annotated[str, AlsoCalled("containerName")] = ""
    """The container's name. Empty: the engine chooses one."""

    auth: RegistryAuthConfig | None = None
    """A login at the image's registry."""

    mode: Annotated[str, OneOf(("connection", "session"), "execution mode")] = "connection"
    """`connection`: one container for all sessions of a connection; `session`: one for each session."""

    idle_command: tuple[str, ...] = DEFAULT_IDLE_COMMAND
    """What keeps the container running where no agent is injected."""

    shell_command: tuple[str, ...] = ("/bin/bash",)
    """What a shell is."""

    agent_path: str = DEFAULT_AGENT_PATH
    """The path of the image's own agent."""

    disable_agent: bool = False
    """Use no agent at all."""

    subsystems: dict[str, str] = Field(default_factory=lambda: dict(DEFAULT_SUBSYSTEMS))
    """Subsystem → program in the image. A given map replaces the default."""

    image_pull_policy: Annotated[str, OneOf(IMAGE_PULL_POLICIES, "pull policy")] = "IfNotPresent"
    """`Always`, `IfNotPresent` or `Never`."""

    expose_auth_metadata_as_env: bool = False
    """Put every entry of the login's metadata into the environment, under its own name."""

    agent: Annotated[str, OneOf(("moorage", "containerssh"), "agent")] = "moorage"
    """`moorage`: our agent is put into the guest, whatever the image is; `containerssh`: the image brings its own at
    `agentPath`. An addition."""

    stream: Annotated[str, OneOf(("auto", "socket", "attach"), "stream")] = "auto"
    """How the agent is reached: `socket` (fast; needs a file system that is shared with the engine), `attach`
    (everywhere), or `auto`. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.container.get("Image"):
            yield Finding(("container", "image"), "no image name provided")
        yield from super().problems(disk)
        if self.mode == "connection":
            for key, command in (("idleCommand", self.idle_command), ("shellCommand", self.shell_command)):
                if not command:
                    yield Finding((key,), "is required in connection mode")
        restart = self.host.get("RestartPolicy") or {}
        if self.mode == "session" and restart.get("Name", "") not in {"", "no"}:
            yield Finding(("host", "restartpolicy", "name"), "must be empty or no in session mode")

    @property
    def unpoolable(self) -> str:
        """The key and value that stand against starting containers ahead of their logins; empty if nothing does."""
        if self.disable_agent:
            return "disableAgent"
        if self.agent != "moorage":
            return f"agent: {self.agent}"
        if self.containername:
            return "containerName"
        return "imagePullPolicy: Always" if self.image_pull_policy == "Always" else ""

    def warnings(self) -> Iterator[Finding]:
        if self.disable_agent:
            yield Finding(("disableAgent",), "without an agent signals and resizing are limited")
            if self.mode == "connection" and self.idle_command == DEFAULT_IDLE_COMMAND:
                yield Finding(("idleCommand",), "the default needs the agent, which is disabled", "set your own")


class DockerTimeoutsConfig(Section):
    """How long the engine may take; 0 leaves the default."""

    container_start: Duration = _MINUTE
    """Until a container runs."""

    container_stop: Duration = _MINUTE
    """Until a container is gone."""

    command_start: Duration = _MINUTE
    """Until a program runs."""

    signal: Duration = _MINUTE
    """Until a signal is delivered."""

    window: Duration = _MINUTE
    """Until a terminal is resized."""

    http: Duration = timedelta(seconds=15)
    """For one ordinary API call."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        yield from negative_durations(self)


class DockerConfig(Section):
    """The Docker backend."""

    connection: DockerConnectionConfig = Field(default_factory=DockerConnectionConfig)
    """How the engine is reached."""

    execution: DockerExecutionConfig = Field(default_factory=DockerExecutionConfig)
    """What a guest is made of."""

    timeouts: DockerTimeoutsConfig = Field(default_factory=DockerTimeoutsConfig)
    """How long the engine may take."""

    pool: PoolConfig = Field(default_factory=PoolConfig)
    """Containers that are started before anybody asks for them. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from under("connection", self.connection.problems(disk))
        yield from under("execution", self.execution.problems(disk))
        yield from under("timeouts", self.timeouts.problems(disk))
        yield from under("pool", self.pool.problems(disk))
        if self.pool.size and self.execution.unpoolable:
            yield Finding(("pool", "size"), f"cannot be used with {self.execution.unpoolable}", "set it to 0")

    def warnings(self) -> Iterator[Finding]:
        yield from under("execution", self.execution.warnings())


def negative_durations(section: Section) -> Iterator[Finding]:
    """A finding for every duration of `section` below zero."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, timedelta) and value < timedelta(0):
            yield Finding((field.alias or name,), "must not be negative")
