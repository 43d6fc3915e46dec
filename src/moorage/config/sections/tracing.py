"""``tracing``: traces of logins for OpenTelemetry."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from moorage.config.disk import Disk
from moorage.config.section import URL, Finding, Section, Within, shown


class TracingConfig(Section):
    """Traces of logins, sent to an OpenTelemetry collector by OTLP over HTTP; needs the extra `otel`. An addition."""

    enable: bool = False
    """Switches tracing on."""

    url: URL = "http://127.0.0.1:4318/v1/traces"
    """Where traces are sent to."""

    service: str = "moorage"
    """The name of this service in the traces."""

    percent: Annotated[int, Within(0, 100)] = 100
    """How many of 100 connections are traced."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.enable:
            return
        yield from super().problems(disk)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            yield Finding(("url",), f"{shown(self.url)} is no HTTP address", "write http://HOST:4318/v1/traces")
