"""The whole configuration: its sections, and which of them are in use."""

from collections.abc import Iterator

from pydantic import Field

from moorage.config.disk import Disk
from moorage.config.section import Finding, Section, choose, shown, under
from moorage.config.sections.audit import AuditConfig
from moorage.config.sections.auth import AuthConfig
from moorage.config.sections.configserver import ConfigServerConfig
from moorage.config.sections.docker import DockerConfig
from moorage.config.sections.geoip import GeoIPConfig
from moorage.config.sections.health import HealthConfig
from moorage.config.sections.kubernetes import KubernetesConfig
from moorage.config.sections.log import LogConfig
from moorage.config.sections.metrics import MetricsConfig
from moorage.config.sections.sandbox import SandboxConfig
from moorage.config.sections.security import SecurityConfig
from moorage.config.sections.ssh import SSHConfig
from moorage.config.sections.sshproxy import SSHProxyConfig
from moorage.config.sections.state import StateConfig
from moorage.config.sections.tracing import TracingConfig

BACKENDS = ("docker", "kubernetes", "sshproxy", "sandbox")


class AppConfig(Section):
    """The whole configuration."""

    ssh: SSHConfig = Field(default_factory=SSHConfig)
    """The SSH server itself."""

    configserver: ConfigServerConfig = Field(default_factory=ConfigServerConfig)
    """The webhook that says which configuration a login gets."""

    auth: AuthConfig = Field(default_factory=AuthConfig)
    """Who may log in."""

    log: LogConfig = Field(default_factory=LogConfig)
    """The server's log."""

    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    """The endpoint for Prometheus."""

    geoip: GeoIPConfig = Field(default_factory=GeoIPConfig)
    """The country of an address."""

    audit: AuditConfig = Field(default_factory=AuditConfig)
    """Recordings."""

    health: HealthConfig = Field(default_factory=HealthConfig)
    """The health endpoint."""

    security: SecurityConfig = Field(default_factory=SecurityConfig)
    """What a login may ask for."""

    backend: str = "docker"
    """What provides guests: `docker`, `kubernetes`, `sshproxy`, `sandbox`, or an installed extension's name."""

    docker: DockerConfig = Field(default_factory=DockerConfig)
    """The Docker backend."""

    kubernetes: KubernetesConfig = Field(default_factory=KubernetesConfig)
    """The Kubernetes backend."""

    sshproxy: SSHProxyConfig = Field(default_factory=SSHProxyConfig)
    """The SSH proxy backend."""

    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    """The sandbox backend. An addition."""

    tracing: TracingConfig = Field(default_factory=TracingConfig)
    """Traces for OpenTelemetry. An addition."""

    state: StateConfig = Field(default_factory=StateConfig)
    """What the server keeps between two starts. An addition."""

    @property
    def is_settled(self) -> bool:
        """True if the file alone says what every login gets: no webhook has a say."""
        return not self.configserver.url

    def problems(self, disk: Disk) -> Iterator[Finding]:
        """What is wrong with the server's own sections and, where no webhook completes them, with the backend's."""
        for name in ("ssh", "configserver", "auth", "log", "metrics", "geoip", "audit", "health", "tracing"):
            yield from under(name, self._part(name).problems(disk))
        if self.is_settled:
            yield from self.login_problems(disk)

    def login_problems(self, disk: Disk) -> Iterator[Finding]:
        """What is wrong with the sections that each login is given: security and the chosen backend."""
        yield from under("security", self.security.problems(disk))
        if self.security.recorded_only and not self.audit.enable:
            yield Finding(("security", "recordedOnly"), "nothing is recorded", "set audit.enable")
        if self.backend in BACKENDS:
            yield from under(self.backend, self._part(self.backend).problems(disk))
        elif self.backend not in (installed := installed_backends()):
            known = tuple(dict.fromkeys((*BACKENDS, *installed)))
            yield Finding(("backend",), f"invalid backend {shown(self.backend)}", choose(self.backend, known))

    def _honeypot_warnings(self) -> Iterator[Finding]:
        """What would let strangers reach others from here."""
        if not self.auth.is_honeypot:
            return
        yield Finding(("auth",), "strangers are let in (method honeypot)", "see docs/guides/honeypot.md")
        forwarding = self.security.forwarding
        for name in type(forwarding).model_fields:
            if getattr(forwarding, name) == "enable" and name.endswith("_mode"):
                yield Finding(("security", "forwarding"), f"{name} lets strangers use this host", "disable it")
        if self.backend == "sandbox" and self.sandbox.network != "none":
            yield Finding(("sandbox", "network"), "strangers reach the network from here", "set it to none")
        if self.backend == "docker" and self.docker.execution.host.get("NetworkMode") != "none":
            yield Finding(
                ("docker", "execution", "host"),
                "strangers reach the network from here",
                "set networkmode to none, or to a network that leads to a sinkhole",
            )
        if not (self.audit.enable and self.audit.on_failure != "continue"):
            yield Finding(("audit",), "what strangers do is not surely recorded", "switch it on")

    def warnings(self) -> Iterator[Finding]:
        yield from self._honeypot_warnings()
        for name in ("ssh", "configserver", "auth", "metrics", "health", "security"):
            yield from under(name, self._part(name).warnings())
        if self.backend in BACKENDS:
            yield from under(self.backend, self._part(self.backend).warnings())

    def _part(self, name: str) -> Section:
        part: Section = getattr(self, name)
        return part


def installed_backends() -> tuple[str, ...]:
    """The names of installed backends, without importing any of them."""
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group="moorage.backends").names))
