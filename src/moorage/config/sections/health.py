"""``health``: the endpoint that says whether the server is up, and how to ask it."""

from collections.abc import Iterator

from pydantic import Field

from moorage.config.disk import Disk
from moorage.config.section import URL, Finding, under
from moorage.config.sections.http import HTTPClientConfig, HTTPServerConfig


class HealthClientConfig(HTTPClientConfig):
    """How the health check asks the endpoint."""

    url: URL = "http://127.0.0.1:7000/"
    """The endpoint's address, as the health check reaches it."""


class HealthConfig(HTTPServerConfig):
    """The health endpoint; checked and started only if `enable` is on. `/live` answers ok while the server runs, any
    other path while it takes logins."""

    listen: str = "0.0.0.0:7000"
    """Address and port to listen on."""

    enable: bool = False
    """Switches the endpoint on."""

    client: HealthClientConfig = Field(default_factory=HealthClientConfig)
    """How the health check asks the endpoint."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if self.enable:
            yield from super().problems(disk)
            yield from under("client", self.client.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        if self.enable:
            yield from super().warnings()
            yield from under("client", self.client.warnings())
