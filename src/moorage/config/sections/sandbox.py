"""``sandbox``: guests made of namespaces on this host, without an engine."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, OneOf, Section, Size, Within, under

_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_MIB: Final = 2**20
_SYSTEM: Final = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", ".moorage")
)
"""What a guest's root has for itself."""


class SandboxLimitsConfig(Section):
    """What one guest may use."""

    processes: Annotated[int, AtLeast(1), Within(0, 2**22)] = 256
    """Processes and threads at the same time: enough for a build, too few for a fork bomb."""

    memory: Annotated[Size, AtLeast(16 * _MIB)] = 1024 * _MIB
    """Memory, in bytes or as `512Mi`."""

    open_files: Annotated[int, AtLeast(16), Within(0, 2**30)] = 4096
    """Open files of one process."""

    home_size: Annotated[Size, AtLeast(_MIB)] = 256 * _MIB
    """Room in the home directory, which is kept in memory."""

    tmp_size: Annotated[Size, AtLeast(_MIB)] = 256 * _MIB
    """Room in `/tmp`, which is kept in memory."""


class SandboxTimeoutsConfig(Section):
    """How long the sandbox may take."""

    start: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=30)
    """Until a guest is ready."""


class SandboxMountConfig(Section):
    """A directory or file of the host that a guest sees."""

    source: str = ""
    """Its path on the host; required."""

    target: str = ""
    """Its path in the guest, such as `/srv/site`; required."""

    writable: bool = False
    """The guest may change it, as far as its user id may (`sandbox.user`)."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for key, path in (("source", self.source), ("target", self.target)):
            if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
                yield Finding((key,), "is not an absolute path", "write one that begins with / and has no .. in it")
        if (first := self.target.strip("/").partition("/")[0]) in _SYSTEM or not self.target.strip("/"):
            yield Finding(("target",), f"/{first} is the system's", "use another place, such as /srv, /mnt or /home")


class SandboxConfig(Section):
    """The sandbox backend. An addition."""

    rootfs: str = ""
    """A directory with the guest's system, mounted read-only. Empty: the host's own `/usr`."""

    network: Annotated[str, OneOf(("none", "host"), "network")] = "none"
    """`none`: only a loopback interface of its own; `host`: the host's network, with all that it reaches."""

    shell: tuple[str, ...] | None = None
    """The command for a shell. Unset: the one that the guest's passwd names, else `/bin/sh`."""

    hostname: str = "moorage"
    """The guest's host name."""

    environment: dict[str, str] = Field(default_factory=dict)
    """Variables that every program in the guest is given."""

    mounts: tuple[SandboxMountConfig, ...] = ()
    """What of the host guests see besides the system: no devices, and no program gets rights by its owner. A hook may
    answer them for each login."""

    user: Annotated[int, Within(0, 2**32 - 2)] = 0
    """The host's user and group id that guests run as, for mounts that are written to; 0: one of its own for each,
    which owns nothing. Without effect unless the server runs as root."""

    limits: SandboxLimitsConfig = Field(default_factory=SandboxLimitsConfig)
    """What one guest may use."""

    timeouts: SandboxTimeoutsConfig = Field(default_factory=SandboxTimeoutsConfig)
    """How long the sandbox may take."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if self.rootfs and not self.rootfs.startswith("/"):
            yield Finding(("rootfs",), "is not an absolute path")
        elif self.rootfs and (wrong := disk.directory(self.rootfs)):
            yield Finding(("rootfs",), wrong)
        if not _HOSTNAME.fullmatch(self.hostname):
            yield Finding(("hostname",), "is not a host name", "use letters, digits, dots and hyphens")
        if self.shell is not None and not self.shell:
            yield Finding(("shell",), "the list is empty", "name a program, or leave the key out")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name + value:
                yield Finding(("environment", name), "is not the name of a variable")
        yield from super().problems(disk)
        for index, mount in enumerate(self.mounts):
            yield from under("mounts", under(index, mount.problems(disk)))
        yield from under("limits", self.limits.problems(disk))
        yield from under("timeouts", self.timeouts.problems(disk))
