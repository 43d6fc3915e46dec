"""``security``: what a login may ask for."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, EachOneOf, Finding, KeepsZero, OneOf, Section, Within, shown, under
from moorage.config.sections.access import HoursConfig, SFTPSecurityConfig, SourcesConfig, TimeLimitsConfig
from moorage.config.sections.names import INTERNAL_SFTP, SECURITY_MODES, SIGNALS
from moorage.config.targets import parse_pattern

Mode = Annotated[str, OneOf(SECURITY_MODES, "mode")]
Signals = Annotated[tuple[str, ...], EachOneOf(SIGNALS, "signal", may_be_empty=True)]


class EnvSecurityConfig(Section):
    """Which environment variables a client may set."""

    mode: Mode = ""
    """`enable`: all but `deny`; `filter`: only `allow`; `disable`: none. Empty: `defaultMode`."""

    allow: tuple[str, ...] = ()
    """Names that `filter` lets through."""

    deny: tuple[str, ...] = ()
    """Names that `enable` keeps out."""


class CommandSecurityConfig(Section):
    """Which commands a client may run."""

    mode: Mode = ""
    """`enable`: all; `filter`: only `allow`; `disable`: none. Empty: `defaultMode`."""

    allow: tuple[str, ...] = ()
    """Commands that `filter` lets through, compared as a whole."""


class ShellSecurityConfig(Section):
    """Whether a client may have a shell."""

    mode: Mode = ""
    """`enable` or `disable`; `filter` means disable. Empty: `defaultMode`."""


class SubsystemSecurityConfig(Section):
    """Which subsystems a client may start."""

    mode: Mode = ""
    """`enable`: all but `deny`; `filter`: only `allow`; `disable`: none. Empty: `defaultMode`."""

    allow: tuple[str, ...] = ()
    """Names that `filter` lets through."""

    deny: tuple[str, ...] = ()
    """Names that `enable` keeps out."""


class TTYSecurityConfig(Section):
    """Whether a client may have a terminal."""

    mode: Mode = ""
    """`enable` or `disable`; `filter` means disable. Empty: `defaultMode`."""


class SignalSecurityConfig(Section):
    """Which signals a client may send."""

    mode: Mode = ""
    """`enable`: all but `deny`; `filter`: only `allow`; `disable`: none. Empty: `defaultMode`."""

    allow: Signals = ()
    """Signals, without SIG, that `filter` lets through."""

    deny: Signals = ()
    """Signals, without SIG, that `enable` keeps out."""


class ForwardingSecurityConfig(Section):
    """Which connections may be forwarded. `defaultMode` never reaches these: forwarding is off unless asked for.
    `enable`: all; `filter`: what a list below names, which is nothing where it is empty; `disable`: none."""

    reverse_forwarding_mode: Mode = "disable"
    """TCP from the guest to the client (`ssh -R`); `filter` asks `allowedListeners`."""

    forwarding_mode: Mode = "disable"
    """TCP from the client to the guest (`ssh -L`, `ssh -D`); `filter` asks `allowedTargets`."""

    socket_forwarding_mode: Mode = "disable"
    """From the client to a unix socket in the guest; `filter` asks `allowedTargets`."""

    socket_listen_mode: Mode = "disable"
    """From a unix socket in the guest to the client; `filter` asks `allowedListeners`."""

    x11_forwarding_mode: Mode = "disable"
    """X11 from the guest to the client (`ssh -X`); `filter` means disable."""

    agent_forwarding_mode: Mode = "disable"
    """The user's ssh-agent, offered inside the guest (`ssh -A`); `filter` means disable. An addition."""

    allowed_targets: tuple[str, ...] = ()
    """Where `filter` lets connections go: `host:port` or the path of a unix socket. A host is a name (`*` and `?` as
    usual), a literal address, a network, or `*`; a port is a number, a range or `*`. Names match names as the client
    wrote them, networks match literal addresses. `db.internal:5432`, `*.internal:443`, `10.0.0.0/8:1-1024`,
    `[::1]:*`, `/run/app/*.sock` (`**` also crosses slashes). An addition."""

    allowed_listeners: tuple[str, ...] = ()
    """Where `filter` lets the client listen, written as in `allowedTargets`: `localhost:8000-8999`, `/tmp/*.sock`.
    All addresses are the host `*`; a port that the guest chooses is 0. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for key, patterns in (("allowedTargets", self.allowed_targets), ("allowedListeners", self.allowed_listeners)):
            for index, pattern in enumerate(patterns):
                try:
                    parse_pattern(pattern)
                except ValueError as error:
                    yield Finding((key, index), f"{shown(pattern)}: {error}", "write host:port or /path")


class SecurityConfig(Section):
    """What a login may ask for. The configuration webhook can set it for each login."""

    default_mode: Mode = ""
    """The mode where a part's own mode is empty; empty here means `enable`."""

    force_command: str = ""
    """Runs instead of every shell, command and subsystem; the original is in SSH_ORIGINAL_COMMAND. `internal-sftp` is
    the SFTP subsystem."""

    env: EnvSecurityConfig = Field(default_factory=EnvSecurityConfig)
    """Environment variables."""

    command: CommandSecurityConfig = Field(default_factory=CommandSecurityConfig)
    """Commands."""

    shell: ShellSecurityConfig = Field(default_factory=ShellSecurityConfig)
    """The shell."""

    subsystem: SubsystemSecurityConfig = Field(default_factory=SubsystemSecurityConfig)
    """Subsystems."""

    tty: TTYSecurityConfig = Field(default_factory=TTYSecurityConfig)
    """The terminal."""

    signal: SignalSecurityConfig = Field(default_factory=SignalSecurityConfig)
    """Signals."""

    forwarding: ForwardingSecurityConfig = Field(default_factory=ForwardingSecurityConfig)
    """Forwarding."""

    max_sessions: Annotated[int, AtLeast(-1), KeepsZero(), Within(-(2**63), 2**63 - 1)] = -1
    """Sessions that one connection may have open at the same time; -1: no limit of its own, 0: none."""

    max_logins: Annotated[int, AtLeast(-1), KeepsZero(), Within(-(2**63), 2**63 - 1)] = -1
    """Connections that one user may have at the same time, at this server; -1: no limit. An addition."""

    sftp: SFTPSecurityConfig = Field(default_factory=SFTPSecurityConfig)
    """Files by SFTP. An addition."""

    sources: SourcesConfig = Field(default_factory=SourcesConfig)
    """From where. An addition."""

    hours: HoursConfig = Field(default_factory=HoursConfig)
    """When. An addition."""

    time_limits: TimeLimitsConfig = Field(default_factory=TimeLimitsConfig)
    """How long. An addition."""

    allow_mosh: bool = False
    """Let `mosh-server` be started: it needs UDP from the client to the guest, which only guests that share the
    server's network can have. Otherwise it is refused with a line that says so. An addition."""

    recorded_only: bool = False
    """Refuse what would not be recorded: all forwarding, unless `audit.intercept.forwarding` is on. Needs
    `audit.enable`. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        parts = ("env", "command", "shell", "subsystem", "tty", "signal", "forwarding")
        for name in (*parts, "sftp", "sources", "hours"):
            part: Section = getattr(self, name)
            yield from under(name, part.problems(disk))
        if self.sftp.is_set and self.force_command not in ("", INTERNAL_SFTP):
            yield Finding(
                ("forceCommand",), "would be a way around security.sftp", f"leave it out, or write {INTERNAL_SFTP}"
            )

    def warnings(self) -> Iterator[Finding]:
        if self.max_sessions == 0:
            yield Finding(("maxSessions",), "0 allows no session at all", "write -1 for no limit")
