"""Facts about a connection, past tense and immutable, and the listeners that hear them.

Nothing waits for a listener and a listener that fails is logged and dropped for that
connection: audit, metrics and logs are never in the way of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from moorage.gateway.model import Address, Attempt, ConnectionId, ExitStatus, Login, Program, Size


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
    """One attempt was decided.  `reason` is empty on success; secrets never stand here."""

    attempt: Attempt
    method: str
    success: bool
    available: bool = True
    reason: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStarted(Event):
    """A program is running on a session."""

    channel: int
    program: Program


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
class ConnectionClosed(Event):
    """The connection is gone and so is its guest."""

    reason: str


Listener = Callable[[Event], None]
"""Hears the events of one connection, in order."""

ListenerFactory = Callable[[ConnectionId, Address], Listener]
"""Makes the listener for a new connection."""
