"""``pool``: guests that are started before anybody asks for them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, Section, Within


class PoolConfig(Section):
    """Guests kept ready, so that a login need not wait for one to start. An addition."""

    size: Annotated[int, Within(0, 1000)] = 0
    """How many are kept ready of each kind; 0 switches it off. Logins whose guests would be alike share a kind."""

    max_age: Annotated[Duration, AtLeast(timedelta(seconds=1))] = timedelta(hours=1)
    """A guest that nobody has taken for so long is replaced by a fresh one."""

    idle: Annotated[Duration, AtLeast(timedelta(seconds=1))] = timedelta(minutes=10)
    """How long a kind that only the configuration webhook has asked for is kept after its last login. What the
    configuration file asks for is always kept."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.size and self.max_age < timedelta(seconds=10):
            yield Finding(("maxAge",), "is too short to keep anything ready", "use 10s or more")
