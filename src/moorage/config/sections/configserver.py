"""``configserver``: the webhook that says which configuration a login gets."""

from collections.abc import Iterator

from moorage.config.disk import Disk
from moorage.config.section import Finding
from moorage.config.sections.http import HookConfig


class ConfigServerConfig(HookConfig):
    """The configuration webhook; off while `url` is empty."""

    transmit_sensitive_metadata: bool = False
    """Send values that are marked as sensitive to this webhook and to those of `auth`. Off: they are left out."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if self.url:
            yield from super().problems(disk)
