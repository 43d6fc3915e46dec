"""Events as records: pure, one object for each connection.  `moorage.audit.stream.kinds` says what stands in them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from moorage.audit.transfers import Fact
from moorage.gateway import events
from moorage.gateway.eventlog import key_fingerprint, shown
from moorage.gateway.model import Address, ConnectionId

LONGEST_TEXT: Final = 8192
"""Characters of one text; clients and guests choose many of them."""

Record = dict[str, Any]
"""One event, ready for JSON."""

SECRETS: Final = frozenset({"password", "answers"})
"""The fields that only a sink with ``passwords`` gets."""


class Records:
    """Makes the records of one connection."""

    def __init__(self, connection_id: ConnectionId, peer: Address, country: str, *, mark: str = "") -> None:
        """`mark` stands before the number in each record's id, where two objects tell of one connection."""
        self._common: Record = {
            "connectionId": connection_id,
            "remoteAddr": peer.host,
            "remotePort": peer.port,
            "country": country,
        }
        self._prefix = f"{connection_id}-{mark}"
        self._numbers = itertools.count()
        self._opened = 0.0

    def of(self, event: events.Event) -> Record | None:
        """The record of `event`; None if it is not told."""
        told = self._told(event)
        if told is None:
            return None
        name, fields = told
        return self._record(event.at, name, fields)

    def of_file(self, fact: Fact, at: float, channel: int) -> Record:
        """The record of what happened to a file `at` so many seconds since the epoch."""
        return self._record(at, "file.seen", {"channel": channel, **fact.as_json()})

    def logged_in(self, username: str) -> None:
        """From now on every record names the user."""
        self._common["username"] = username

    def _record(self, at: float, name: str, fields: Mapping[str, Any]) -> Record:
        number = next(self._numbers)
        record = {"time": stamp(at), "event": name, "id": f"{self._prefix}{number}", **self._common}
        record.update((key, _bounded(value)) for key, value in fields.items() if value not in (None, "", ()))
        return record

    def _told(self, event: events.Event) -> tuple[str, Record] | None:
        match event:
            case events.ConnectionOpened():
                self._opened = event.at
                return "connection.opened", {}
            case events.ConnectionRefused():
                return "connection.refused", {"reason": event.reason}
            case events.ClientIdentified():
                fields = {"version": event.version, "hassh": event.hassh, "algorithms": event.algorithms}
                return "connection.identified", fields
            case events.SourcePenalised():
                return "connection.penalised", {"reason": event.reason, "seconds": round(event.seconds, 3)}
            case events.HandshakeFailed():
                return "connection.failed", {"reason": event.reason}
            case events.TimeLimitReached():
                return "connection.expired", {"reason": event.reason}
            case events.ConnectionClosed():
                return "connection.closed", {"reason": event.reason, "seconds": round(event.at - self._opened, 3)}
            case events.AuthAttempted():
                return self._attempt(event)
            case events.QuestionsAnswered():
                return "auth.answered", {
                    "username": event.username,
                    "questions": tuple(prompt.text for prompt in event.round.prompts),
                    "answers": event.answers if any(event.answers) else (),
                }
            case events.LoginAccepted():
                self.logged_in(event.login.username)
                proved = event.login.authenticated_username
                return "login.accepted", {
                    "backend": event.login.config.backend,
                    "authenticatedUsername": proved if proved != event.login.username else "",
                }
            case events.GuestOpened():
                return "guest.opened", {"backend": event.backend, "seconds": round(event.seconds, 3)}
            case events.GuestFailed():
                return "guest.failed", {"backend": event.backend, "reason": event.reason}
            case events.ForwardOpened() | events.ForwardClosed() | events.ForwardRefused():
                return _forward(event)
            case events.ListenerOpened() | events.ListenerRefused() | events.ListenerClosed():
                return _listener(event)
            case _:
                return _session(event)

    def _attempt(self, event: events.AuthAttempted) -> tuple[str, Record]:
        fields: Record = {
            "username": event.attempt.username,
            "method": event.method,
            "key": key_fingerprint(event.key) if event.key else "",
            "password": _text(event.password),
        }
        if event.success and event.further:
            return "auth.partial", {**fields, "further": event.further}
        if event.success:
            self.logged_in(event.attempt.username)
            return "auth.succeeded", fields
        return "auth.failed" if event.available else "auth.unavailable", {**fields, "reason": event.reason}


def stamp(at: float) -> str:
    """A moment as RFC 3339 has it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _session(event: events.Event) -> tuple[str, Record] | None:
    match event:
        case events.SessionOpened():
            return "session.opened", {"channel": event.channel}
        case events.SessionClosed():
            return "session.closed", {"channel": event.channel}
        case events.RequestDecided():
            fields = {"channel": event.channel, "request": event.request, "detail": event.detail}
            if event.granted:
                return "request.granted", fields
            return "request.refused", {**fields, "reason": event.reason}
        case events.RequestNotUnderstood():
            return "request.unknown", {"channel": event.channel, "request": event.request, "reason": event.reason}
        case events.ProgramStarted():
            program = event.program
            return "program.started", {
                "channel": event.channel,
                "kind": program.kind.value,
                "command": _text(program.command),
                "terminal": program.pty is not None,
            }
        case events.ProgramExited(status=None):
            return "program.exited", {"channel": event.channel, "lost": True}
        case events.ProgramExited(status=status):
            assert status is not None
            return "program.exited", {"channel": event.channel, "exitCode": status.code, "signal": status.signal}
        case _:
            return None  # what was asked for stands in what became of it, and sizes and first bytes are of no use


def _forward(event: events.ForwardOpened | events.ForwardClosed | events.ForwardRefused) -> tuple[str, Record]:
    match event:
        case events.ForwardOpened():
            fields = {"forward": event.forward, "target": shown(event.target), "listener": event.listener}
            return "forward.opened", {**fields, "peer": str(event.peer or "")}
        case events.ForwardClosed():
            return "forward.closed", {"forward": event.forward, "sent": event.sent, "received": event.received}
        case events.ForwardRefused():
            fields = {"target": shown(event.target), "peer": str(event.peer or "")}
            return "forward.refused", {**fields, "code": str(event.code), "reason": event.reason}


def _listener(event: events.ListenerOpened | events.ListenerRefused | events.ListenerClosed) -> tuple[str, Record]:
    match event:
        case events.ListenerOpened():
            return "listener.opened", {
                "listener": event.listener,
                "target": shown(event.spec),
                "port": event.port or None,
            }
        case events.ListenerRefused():
            return "listener.refused", {
                "target": shown(event.spec),
                "code": str(event.code),
                "reason": event.reason,
            }
        case events.ListenerClosed():
            return "listener.closed", {"listener": event.listener}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    if isinstance(value, Sequence):
        return [_bounded(one) for one in value]
    return value
