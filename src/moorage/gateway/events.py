"""Facts about a connection, past tense and immutable, and the listeners that hear them.

Nothing waits for a listener and a listener that fails is logged and dropped for that
connection: audit, metrics and logs are never in the way of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from moorage.codes import Code
from moorage.gateway.model import (
    Address,
    Attempt,
    ConnectionId,
    ExitStatus,
    ListenSpec,
    Login,
    Program,
    ProgramKind,
    Pty,
    Round,
    Size,
    Target,
    X11Display,
)

Asked = tuple[bytes, bytes] | Pty | X11Display | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something has happened on a connection."""

    at: float = field(default=0.0)
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened(Event):
    """A TCP connection was accepted."""

    remote_address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentified(Event):
    """The client's program has said what it is and what it can do."""

    version: str
    """Its identification line (RFC 4253 §4.2)."""
    hassh: str
    """A hash of its algorithms, the same for the same program and settings."""
    algorithms: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRefused(Event):
    """A limit or a penalty turned a connection away; the only event of that connection."""

    remote_address: Address
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePenalised(Event):
    """This connection's source is refused for `seconds` from now on."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthAttempted(Event):
    """One attempt was decided.  `reason` is empty on success."""

    attempt: Attempt
    method: str
    success: bool
    available: bool = True
    reason: str = ""
    further: tuple[str, ...] = ()
    """Of a success that is not enough: the methods that may come next."""
    key: str = ""
    """The public key that was offered: type, space, base64."""
    password: bytes = field(default=b"", repr=False)
    """Empty unless the connection is recorded with its passwords."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsAsked(Event):
    """The user is shown a round of keyboard-interactive authentication."""

    username: str
    round: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsAnswered(Event):
    """The user has answered it."""

    username: str
    round: Round
    answers: tuple[str, ...] = field(repr=False)
    """Empty texts unless the connection is recorded with its passwords."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginAccepted(Event):
    """Authentication, authorisation and configuration are settled; the guest is being opened."""

    login: Login


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailed(Event):
    """The connection ended before a login: `reason` for the log."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOpened(Event):
    """The guest is ready, `seconds` after it was asked for."""

    backend: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFailed(Event):
    """The guest could not be opened."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    """A session channel was accepted."""

    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDecided(Event):
    """A channel request was granted or turned down: `request` is its RFC 4254 name."""

    channel: int
    request: str
    detail: str
    granted: bool
    reason: str = ""
    asked: Asked = None
    """What was asked for, where `detail` does not say it all: a variable's name and value, a terminal, a display."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestNotUnderstood(Event):
    """A request of a kind that is not known, or, where there is a `reason`, one that is malformed, was refused."""

    channel: int | None
    """The session's; None for a global request."""
    request: str
    payload: bytes = field(repr=False)
    """What follows the request's head, as far as it is kept."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramAsked(Event):
    """A program was asked for; `RequestDecided` says what became of it."""

    channel: int
    kind: ProgramKind
    command: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStarted(Event):
    """A program is running on a session."""

    channel: int
    program: Program


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputBegun(Event):
    """The first byte that a session's program has put out is on its way to the client."""

    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalResized(Event):
    """A session's terminal has a new size."""

    channel: int
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramExited(Event):
    """A session's program has ended and all its output was delivered."""

    channel: int
    status: ExitStatus | None
    """None when the guest was lost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """A session channel is closed."""

    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardOpened(Event):
    """A connection is being forwarded: to `target` inside the guest, or from what `listener` listens on there."""

    forward: int
    """Its number on this connection, from 0."""
    target: ListenSpec
    listener: int | None = None
    peer: Address | None = None
    """Who has connected, by the word of the client or of the guest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardClosed(Event):
    """A forwarded connection has ended in both directions."""

    forward: int
    sent: int
    """Bytes that went to the guest."""
    received: int
    """Bytes that came from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRefused(Event):
    """A connection to `target` inside the guest was asked for and there is none."""

    target: Target
    peer: Address | None
    code: Code
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOpened(Event):
    """The guest listens on behalf of the client; `port` is what is bound where that is a TCP address."""

    listener: int
    """Its number on this connection, from 0."""
    spec: ListenSpec
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerRefused(Event):
    """The client has asked for a listener and there is none."""

    spec: ListenSpec
    code: Code
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerClosed(Event):
    """A listener accepts no more; not told where it ends with its connection."""

    listener: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimitReached(Event):
    """The login's time is over and its connection is being ended: why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosed(Event):
    """The connection is gone and so is its guest."""

    reason: str


Listener = Callable[[Event], None]
"""Hears the events of one connection, in order."""

ListenerFactory = Callable[[ConnectionId, Address], Listener]
"""Makes the listener for a new connection."""
