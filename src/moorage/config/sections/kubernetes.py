"""``kubernetes``: guests as pods of a cluster."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr

from moorage.config.disk import Disk, is_inline_pem
from moorage.config.section import Duration, Finding, OneOf, Section, Struct, Within, under
from moorage.config.sections.docker import negative_durations
from moorage.config.sections.names import (
    DEFAULT_AGENT_IMAGE,
    DEFAULT_AGENT_PATH,
    DEFAULT_GUEST_IMAGE,
    DEFAULT_IDLE_COMMAND,
    DEFAULT_SUBSYSTEMS,
)

_MINUTE: Final = timedelta(seconds=60)


def default_metadata() -> dict[str, Any]:
    """A pod's metadata where the file says nothing."""
    return {"namespace": "default", "generateName": "containerssh-"}


def default_spec() -> dict[str, Any]:
    """A pod's specification where the file says nothing."""
    return {"containers": [{"name": "shell", "image": DEFAULT_GUEST_IMAGE}]}


class KubernetesConnectionConfig(Section):
    """How the cluster is reached."""

    host: str = "kubernetes.default.svc"
    """The API server: a host, `HOST:PORT` or a URL. Without a scheme it is reached over https."""

    path: str = "/api"
    """The path of the API."""

    username: str = ""
    """For HTTP Basic authentication."""

    password: SecretStr = SecretStr("")
    """For HTTP Basic authentication."""

    server_name: str = ""
    """The name that the server's certificate must have, if it is not the host's."""

    cert_file: str = ""
    """Path of the client's certificate."""

    key_file: str = ""
    """Path of the client's private key."""

    cacert_file: str = ""
    """Path of the cluster's authority."""

    cert: str = ""
    """PEM text of the client's certificate; wins over `certFile`."""

    key: SecretStr = SecretStr("")
    """PEM text of the client's private key; wins over `keyFile`."""

    cacert: str = ""
    """PEM text of the cluster's authority; wins over `cacertFile`."""

    bearer_token: SecretStr = SecretStr("")
    """A token; `bearerTokenFile` wins over it."""

    bearer_token_file: str = ""
    """Path of a file with a token; read again when it changes."""

    qps: float = 5.0
    """API calls a second, on average."""

    burst: Annotated[int, Within(-(2**63), 2**63 - 1)] = 10
    """API calls at once."""

    kubeconfig: str = ""
    """Path of a kubeconfig file; it says where the cluster is and who we are there, and all else here but `qps` and
    `burst` is ignored. An addition."""

    context: str = ""
    """The context in the kubeconfig file. Empty: its current one. An addition."""

    insecure: bool = False
    """Do not verify the server's certificate. An addition, for files of version 0.4."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.path:
            yield Finding(("path",), "must not be empty")
        for key, text in (("cert", self.cert), ("key", self.key.get_secret_value()), ("cacert", self.cacert)):
            if text and not is_inline_pem(text):
                yield Finding((key,), "is not a PEM text", f"paste the PEM text itself, or use {key}File")
        for key, path in (
            ("certFile", self.cert_file),
            ("keyFile", self.key_file),
            ("cacertFile", self.cacert_file),
            ("bearerTokenFile", self.bearer_token_file),
        ):
            if path and (wrong := disk.file(path)):
                yield Finding((key,), wrong)
        if self.kubeconfig and (wrong := disk.kubeconfig(self.kubeconfig, self.context)):
            yield Finding(("kubeconfig",), wrong)

    def warnings(self) -> Iterator[Finding]:
        if self.insecure:
            yield Finding(("insecure",), "the cluster's certificate is not verified", "set cacertFile instead")


class KubernetesPodConfig(Section):
    """What a guest is made of and how programs are started in it."""

    metadata: Annotated[dict[str, Any], Struct("kubernetes", "ObjectMeta")] = Field(default_factory=default_metadata)
    """The pod's metadata; merged key by key over the default."""

    spec: Annotated[dict[str, Any], Struct("kubernetes", "PodSpec")] = Field(default_factory=default_spec)
    """The pod's specification. The first container is called `shell` and has the guest image by default."""

    console_container_number: Annotated[int, Within(-(2**63), 2**63 - 1)] = 0
    """Which container programs run in, counted from 0."""

    idle_command: tuple[str, ...] = DEFAULT_IDLE_COMMAND
    """What keeps the container running where no agent is injected."""

    shell_command: tuple[str, ...] = ("/bin/bash",)
    """What a shell is."""

    agent_path: str = DEFAULT_AGENT_PATH
    """The path of the image's own agent."""

    disable_agent: bool = False
    """Use no agent at all."""

    agent: Annotated[str, OneOf(("moorage", "containerssh"), "agent")] = "moorage"
    """`moorage`: our agent is put into the guest, whatever the image is; `containerssh`: the image brings its own at
    `agentPath`. An addition."""

    agent_image: str = DEFAULT_AGENT_IMAGE
    """The image that holds our agent, as `moorage agent-image` writes it. An addition."""

    subsystems: dict[str, str] = Field(default_factory=lambda: dict(DEFAULT_SUBSYSTEMS))
    """Subsystem → program in the image. Entries are added to the default."""

    mode: Annotated[str, OneOf(("connection", "session", "persistent"), "execution mode")] = "connection"
    """`connection`: one pod for all sessions of a connection; `session`: one for each session; `persistent`: one that
    exists already."""

    create_missing_pods: bool = False
    """In persistent mode: create the pod if there is none."""

    expose_auth_metadata_as_env: dict[str, str] = Field(default_factory=dict)
    """Entry of the login's metadata → environment variable."""

    expose_auth_metadata_as_labels: dict[str, str] = Field(default_factory=dict)
    """Entry of the login's metadata → label."""

    expose_auth_metadata_as_annotations: dict[str, str] = Field(default_factory=dict)
    """Entry of the login's metadata → annotation."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.metadata.get("namespace"):
            yield Finding(("metadata", "namespace"), "must not be empty")
        containers = self.spec.get("containers") or []
        if not containers:
            yield Finding(("spec", "containers"), "a pod needs at least one container")
        for index, container in enumerate(containers):
            if not (container or {}).get("image"):
                yield Finding(("spec", "containers", index, "image"), "no image name provided")
        if containers and not 0 <= self.console_container_number < len(containers):
            yield Finding(("consoleContainerNumber",), "there is no such container")
        yield from super().problems(disk)
        yield from self._mode_problems()

    def _mode_problems(self) -> Iterator[Finding]:
        if not self.agent_path and not self.disable_agent:
            yield Finding(("agentPath",), "must not be empty unless disableAgent is on")
        idles = self.mode == "connection" or (self.mode == "persistent" and self.create_missing_pods)
        if idles and not self.idle_command:
            yield Finding(("idleCommand",), f"is required in {self.mode} mode")
        if not self.shell_command and (idles or (self.mode == "session" and not self.disable_agent)):
            yield Finding(("shellCommand",), f"is required in {self.mode} mode")
        if self.mode == "persistent" and not self.metadata.get("name"):
            yield Finding(("metadata", "name"), "is required in persistent mode: it says which pod")
        if self.create_missing_pods and self.mode != "persistent":
            yield Finding(("createMissingPods",), "needs mode persistent")
        if self.mode == "session" and self.spec.get("restartPolicy") not in {None, "", "Never"}:
            yield Finding(("spec", "restartPolicy"), "must be empty or Never in session mode")


class KubernetesTimeoutsConfig(Section):
    """How long the cluster may take; 0 leaves the default."""

    pod_start: Duration = _MINUTE
    """Until a pod runs."""

    pod_stop: Duration = _MINUTE
    """Until a pod is gone."""

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


class KubernetesConfig(Section):
    """The Kubernetes backend."""

    connection: KubernetesConnectionConfig = Field(default_factory=KubernetesConnectionConfig)
    """How the cluster is reached."""

    pod: KubernetesPodConfig = Field(default_factory=KubernetesPodConfig)
    """What a guest is made of."""

    timeouts: KubernetesTimeoutsConfig = Field(default_factory=KubernetesTimeoutsConfig)
    """How long the cluster may take."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from under("connection", self.connection.problems(disk))
        yield from under("pod", self.pod.problems(disk))
        yield from under("timeouts", self.timeouts.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        yield from under("connection", self.connection.warnings())
