"""Parts of ``security``: from where and when a login may come, how long it may last, what it may do with files."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from moorage.config.disk import Disk
from moorage.config.hours import parse_window
from moorage.config.section import AtLeast, Duration, Finding, Section, Size, shown

_NONE = timedelta(0)
_MOST_HIDDEN: Final = 100


class SourcesConfig(Section):
    """From where a login may come. An addition."""

    allow: tuple[str, ...] = ()
    """Networks, such as `10.0.0.0/8`. None: all."""

    deny: tuple[str, ...] = ()
    """Networks from which no login may come, also if `allow` has them."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for key, networks in (("allow", self.allow), ("deny", self.deny)):
            for index, network in enumerate(networks):
                try:
                    ip_network(network)
                except ValueError:
                    yield Finding(
                        (key, index), f"invalid network {shown(network)}", "write 10.0.0.0/8 or 2001:db8::/32"
                    )


class HoursConfig(Section):
    """When a login may be used; it is ended when its time is over. An addition."""

    allow: tuple[str, ...] = ()
    """Windows such as `Mon-Fri 08:00-18:00`, `Sat,Sun` or `22:00-06:00`. None: always."""

    zone: str = "UTC"
    """The time zone of the windows, such as `Europe/Berlin`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for index, window in enumerate(self.allow):
            try:
                parse_window(window)
            except ValueError as error:
                yield Finding(("allow", index), f"{shown(window)}: {error}", "write Mon-Fri 08:00-18:00")
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, KeyError):
            yield Finding(("zone",), f"unknown time zone {shown(self.zone)}", "write Europe/Berlin or UTC")


class TimeLimitsConfig(Section):
    """How long a login may last. An addition."""

    idle: Annotated[Duration, AtLeast(_NONE)] = _NONE
    """A connection on which nothing moves for so long is ended. 0: never."""

    total: Annotated[Duration, AtLeast(_NONE)] = _NONE
    """A connection is ended so long after its login. 0: never."""

    warning: Annotated[Duration, AtLeast(_NONE)] = timedelta(minutes=1)
    """How long before the end terminals are told."""


class SFTPSecurityConfig(Section):
    """What an SFTP client may see and do. Where any of this is set, shell and commands, which would be ways around it,
    are off unless their own mode says `enable`. Needs our agent. An addition."""

    root: str = ""
    """The directory that is `/` for the client; nothing leads out of it. A relative one begins at the user's home."""

    read_only: bool = False
    """Nothing may be changed."""

    hidden: tuple[str, ...] = ()
    """What does not exist for the client: names such as `.git` or `*.key` anywhere, or paths from the root that begin
    with `/`. Symbolic links are not followed then."""

    quota: Annotated[Size, AtLeast(0)] = 0
    """Bytes of all files below the root, in bytes or as `500Mi`. 0: no limit."""

    @property
    def is_set(self) -> bool:
        """Is anything demanded?"""
        return bool(self.root or self.read_only or self.hidden or self.quota)

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if "\0" in self.root:
            yield Finding(("root",), "must not hold a NUL")
        if len(self.hidden) > _MOST_HIDDEN:
            yield Finding(("hidden",), f"more than {_MOST_HIDDEN} patterns")
        for index, pattern in enumerate(self.hidden):
            if not pattern or "\0" in pattern or ("/" in pattern and not pattern.startswith("/")):
                yield Finding(("hidden", index), f"{shown(pattern)} is neither a name nor a path", "write .git or /a/b")
