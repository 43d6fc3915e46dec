"""``configserver``: the webhook that says which configuration a login gets."""

from collections.abc import Iterator

from moorage.config.disk import Disk
from moorage.config.section import Finding
from moorage.config.sections.http import HTTPClientConfig


class ConfigServerConfig(HTTPClientConfig):
    """The configuration webhook; off while `url` is empty."""

    transmit_sensitive_metadata: bool = False
    """Accepted and without effect: the webhook is never sent values that are marked as sensitive."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if self.url:
            yield from super().problems(disk)

    def warnings(self) -> Iterator[Finding]:
        if self.transmit_sensitive_metadata:
            yield Finding(("transmitSensitiveMetadata",), "has no effect", "remove it")
