"""``metrics``: the Prometheus endpoint."""

from collections.abc import Iterator

from moorage.config.disk import Disk
from moorage.config.section import Finding
from moorage.config.sections.http import HTTPServerConfig


class MetricsConfig(HTTPServerConfig):
    """The endpoint for Prometheus; checked and started only if `enable` is on."""

    listen: str = "0.0.0.0:9100"
    """Address and port to listen on."""

    enable: bool = False
    """Switches the endpoint on."""

    path: str = "/metrics"
    """The path that answers; all others are not found."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.enable:
            return
        yield from super().problems(disk)
        if not self.path.startswith("/"):
            yield Finding(("path",), "must begin with a slash", f"write /{self.path[:40]}")

    def warnings(self) -> Iterator[Finding]:
        if self.enable:
            yield from super().warnings()
