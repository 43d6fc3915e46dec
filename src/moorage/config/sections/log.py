"""``log``: how much is logged, in which form, and where to."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from moorage.config.disk import Disk
from moorage.config.section import Finding, KeepsZero, OneOf, Section, choose, shown, under
from moorage.config.sections.names import LOG_LEVELS, SYSLOG_FACILITIES
from moorage.config.sections.ssh import listen_problem
from moorage.syslog import Where


def _level_name(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(LOG_LEVELS):
        return LOG_LEVELS[value]
    return value


class LevelName:
    """The text is a log level's name and may be written as syslog's number."""


class SyslogConfig(Section):
    """Where and how syslog is reached."""

    destination: str = "/dev/log"
    """A path is a local socket, stream or datagram; `HOST:PORT` is UDP. Additions: `tcp://HOST:PORT`,
    `tls://HOST:PORT`, `udp://HOST:PORT` and `unix://PATH`."""

    facility: Annotated[str, OneOf(SYSLOG_FACILITIES, "facility")] = "auth"
    """Syslog's facility, by name."""

    tag: str = "ContainerSSH"
    """The program's name in syslog."""

    pid: bool = False
    """Append the process id to the tag."""

    format: Annotated[str, OneOf(("", "rfc3164", "rfc5424"), "syslog format")] = ""
    """`rfc5424`, or `rfc3164` in the local form that the C library sends; empty: that for a local socket, RFC 5424 over
    the network. An addition."""

    cacert: str = ""
    """Certificates, PEM text or path, that replace the system's authorities for `tls://`. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        try:
            where = Where.parse(self.destination)
        except ValueError as error:
            yield Finding(("destination",), str(error), "write tls://HOST:PORT, HOST:PORT, or the path of a socket")
        else:
            if where.transport != "unix" and (wrong := listen_problem(where.address)):
                yield Finding(("destination",), wrong, "write HOST:PORT, or the path of a socket")
            if self.cacert and where.transport != "tls":
                yield Finding(("cacert",), "has no effect without TLS", "write tls:// before the destination")
        if self.cacert and (wrong := disk.certificates(self.cacert)):
            yield Finding(("cacert",), wrong)
        yield from super().problems(disk)


class LogConfig(Section):
    """The server's log."""

    level: Annotated[str, BeforeValidator(_level_name), LevelName(), KeepsZero()] = "notice"
    """The least urgent level that is written: debug, info, notice, warning, error, crit, alert or emerg, or its number
    (7 to 0)."""

    format: Annotated[str, OneOf(("ljson", "text"), "log format")] = "ljson"
    """`ljson`: one JSON object a line; `text`: for people."""

    destination: Annotated[str, OneOf(("stdout", "file", "syslog"), "log destination")] = "stdout"
    """`stdout`, `file` or `syslog`."""

    file: str = "/var/log/containerssh/containerssh.log"
    """The file for `destination: file`, opened for appending; its directory must exist."""

    syslog: SyslogConfig = Field(default_factory=SyslogConfig)
    """For `destination: syslog`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if self.level not in LOG_LEVELS:
            yield Finding(("level",), f"invalid log level {shown(self.level)}", choose(self.level, LOG_LEVELS))
        yield from super().problems(disk)
        if self.destination == "syslog":
            yield from under("syslog", self.syslog.problems(disk))
