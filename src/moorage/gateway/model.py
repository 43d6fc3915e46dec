"""The nouns of a login: frozen values that every room may hold and none may change.

Byte strings stay bytes: SSH carries commands, names and values in no particular
encoding (RFC 4254 §6), and so do processes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from moorage.config import AppConfig

ConnectionId = NewType("ConnectionId", str)
"""32 lower-case hex digits, the same in logs, hooks, audit and labels."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection comes from: an IP address (no zone, IPv4-mapped shown as IPv4) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TextValue:
    """A text that an authentication service attached to a login, and whether it is secret."""

    value: str
    sensitive: bool = False

    def __repr__(self) -> str:
        return f"TextValue({'…' if self.sensitive else repr(self.value)})"


@dataclass(frozen=True, slots=True)
class FileValue:
    """The content of a file to be placed in the guest, and whether it is secret."""

    value: bytes
    sensitive: bool = False

    def __repr__(self) -> str:
        return f"FileValue({len(self.value)} bytes)"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the services said about a login; later answers win key by key (`merged`)."""

    metadata: Mapping[str, TextValue] = field(default_factory=dict)
    environment: Mapping[str, TextValue] = field(default_factory=dict)
    files: Mapping[str, FileValue] = field(default_factory=dict)

    def merged(self, later: Metadata) -> Metadata:
        """Both, where `later` wins for a key that stands in both."""
        return Metadata(
            {**self.metadata, **later.metadata},
            {**self.environment, **later.environment},
            {**self.files, **later.files},
        )


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a credential keeps its holder from, beside the configuration; no restriction lifts another."""

    force_command: str | None = None
    """Runs instead of whatever is asked for; None where the credential names none."""
    terminal: bool = True
    forwarding: bool = True
    """TCP and unix sockets, both ways."""
    x11_forwarding: bool = True
    agent_forwarding: bool = True
    touch_required: bool = True
    """A security key must have been touched."""
    verify_required: bool = False
    """A security key must have verified its user."""
    targets: tuple[str, ...] | None = None
    """Where TCP may be forwarded to, written as in ``security.forwarding.allowedTargets``; None: as configured."""
    listeners: tuple[str, ...] | None = None
    """Where the client may listen, in the same way."""

    def both(self, other: Restrictions) -> Restrictions:
        """What is left under both; of two commands the first counts."""
        return Restrictions(
            self.force_command if self.force_command is not None else other.force_command,
            self.terminal and other.terminal,
            self.forwarding and other.forwarding,
            self.x11_forwarding and other.x11_forwarding,
            self.agent_forwarding and other.agent_forwarding,
            self.touch_required and other.touch_required,
            self.verify_required or other.verify_required,
            _common(self.targets, other.targets),
            _common(self.listeners, other.listeners),
        )


def _common(ours: tuple[str, ...] | None, theirs: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if ours is None or theirs is None:
        return ours if theirs is None else theirs
    return tuple(entry for entry in ours if entry in theirs)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to authenticate: who is asking, from where, under which name."""

    connection_id: ConnectionId
    remote_address: Address
    client_version: str
    username: str
    authenticated_username: str = ""
    metadata: Metadata = Metadata()
    restrictions: Restrictions = Restrictions()


@dataclass(frozen=True, slots=True)
class Verdict:
    """An authentication service's answer: yes or no, and what it attached."""

    success: bool
    authenticated_username: str = ""
    metadata: Metadata = Metadata()
    restrictions: Restrictions = Restrictions()
    further: tuple[str, ...] = ()
    """Methods that must succeed as well, in this order, whatever the configuration asks for."""
    reason: str = ""
    """Why not, for the log; never a secret."""

    def after(self, earlier: Verdict) -> Verdict:
        """Both answers as one: yes if both are, names and metadata of this one before those of `earlier`."""
        if not (self.success and earlier.success):
            return Verdict(False, reason=self.reason or earlier.reason)
        return Verdict(
            True,
            self.authenticated_username or earlier.authenticated_username,
            earlier.metadata.merged(self.metadata),
            earlier.restrictions.both(self.restrictions),
            (*earlier.further, *self.further),
        )

    def applied(self, attempt: Attempt) -> Attempt:
        """The attempt as it stands after this answer: names kept unless replaced, metadata merged."""
        return replace(
            attempt,
            authenticated_username=self.authenticated_username or attempt.authenticated_username,
            metadata=attempt.metadata.merged(self.metadata),
            restrictions=attempt.restrictions.both(self.restrictions),
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a user (RFC 4256 §3.2); `echo` says whether the answer may be seen while it is typed."""

    text: str
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """What a user is shown at once: a name, a text, and any number of questions, also none."""

    name: str = ""
    instruction: str = ""
    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """A connection that has passed authentication and authorisation, with the configuration in force for it."""

    attempt: Attempt
    method: str
    config: AppConfig

    @property
    def connection_id(self) -> ConnectionId:
        return self.attempt.connection_id

    @property
    def username(self) -> str:
        """The name given in the SSH protocol."""
        return self.attempt.username

    @property
    def authenticated_username(self) -> str:
        """The name that the services vouch for; empty when they named none."""
        return self.attempt.authenticated_username

    @property
    def metadata(self) -> Metadata:
        return self.attempt.metadata


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size in character cells and, where known, in pixels (RFC 4254 §6.2)."""

    columns: int = 80
    rows: int = 24
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Pty:
    """A pseudo-terminal as asked for; `modes` holds opcode → argument (RFC 4254 §8)."""

    term: bytes
    size: Size
    modes: Mapping[int, int] = field(default_factory=dict)


class ProgramKind(enum.Enum):
    """What a session asks for (RFC 4254 §6.5)."""

    SHELL = "shell"
    EXEC = "exec"
    SUBSYSTEM = "subsystem"


@dataclass(frozen=True, slots=True)
class Jail:
    """What an SFTP client may see and do; see ``security.sftp``."""

    root: str = ""
    read_only: bool = False
    hidden: tuple[str, ...] = ()
    quota_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What a session wants started.  `command` is the exec text or the subsystem's name; empty for a shell."""

    kind: ProgramKind
    command: bytes = b""
    environment: Mapping[bytes, bytes] = field(default_factory=dict)
    pty: Pty | None = None
    jail: Jail | None = None
    """For the subsystem ``sftp``: a guest that cannot hold the client to it refuses."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: a code 0–255, or the signal that ended it (a name without ``SIG``, RFC 4254 §6.10)."""

    code: int | None = None
    signal: str | None = None
    core_dumped: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A TCP address as the guest sees it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixTarget:
    """A unix socket's path in the guest's file system."""

    path: bytes


Target = TcpTarget | UnixTarget


@dataclass(frozen=True, slots=True)
class X11Display:
    """A display to be offered inside the guest, as asked for (RFC 4254 §6.3.1)."""

    protocol: bytes
    cookie: bytes = field(repr=False)
    """The fake cookie, in hexadecimal as the client sent it."""
    screen: int = 0
    single_connection: bool = False


@dataclass(frozen=True, slots=True)
class AgentSocket:
    """A socket to be offered inside the guest that leads to the user's ssh-agent."""


ListenSpec = TcpTarget | UnixTarget | X11Display | AgentSocket
"""What a guest can be asked to listen on; port 0 lets it choose."""
