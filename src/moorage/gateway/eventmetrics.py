"""Events as metrics: connections, handshakes, guests, sessions, forwards, and how long each stage of a login takes."""

from __future__ import annotations

import re
from typing import Final

from moorage import metrics as m
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId, ProgramKind
from moorage.net.penalties import Cause

_METHODS: Final = ("publickey", "password", "keyboard-interactive")
_LIMITS: Final = ("maxConnections", "maxConnectionsPerSource", "maxStartupsPerSource", "maxStartups")
_REQUESTS: Final = (
    *("env", "pty-req", "x11-req", "auth-agent-req@openssh.com", "shell", "exec", "subsystem", "signal"),
    "window-change",
)
"""Requests that have a series of their own; a client may invent any other."""

_KEY: Final = re.compile(r"ssh\.([A-Za-z]+)")


def event_metrics(metrics: m.Metrics, *, backend: str, country: m.Country = m.no_country) -> events.ListenerFactory:
    """Makes listeners that count the life of a connection in `metrics`.

    What can be expected with `backend`, the configured one, is shown from the beginning.
    """
    for what in (m.CONNECTIONS, m.CURRENT_CONNECTIONS, m.HANDSHAKES, m.FAILED_HANDSHAKES):
        metrics.expect(what, country=m.UNKNOWN_COUNTRY)
    for stage in ("auth", "config", "guest"):
        metrics.expect(m.LOGIN_STAGE, stage=stage)
    metrics.expect(m.GUESTS, backend=backend)
    for limit in (*_LIMITS, "penalty"):
        metrics.expect(m.REFUSED_CONNECTIONS, limit=limit)
    for cause in Cause:
        metrics.expect(m.PENALTIES, cause=_word(cause))
    for method in _METHODS:
        for outcome in ("accepted", "refused", "unavailable"):
            metrics.expect(m.AUTH_ATTEMPTS, method=method, outcome=outcome)
    for program in ProgramKind:
        metrics.expect(m.PROGRAMS, kind=program.value)
    for request in (*_REQUESTS, "other"):
        metrics.expect(m.REQUESTS_REFUSED, request=request)
    for kind in ("dial", "listen"):
        for outcome in ("opened", "refused"):
            metrics.expect(m.FORWARDS, kind=kind, outcome=outcome)
    for direction in ("sent", "received"):
        metrics.expect(m.FORWARDED_BYTES, direction=direction)

    def listener(connection_id: ConnectionId, peer: Address) -> events.Listener:
        del connection_id
        return _Connection(metrics, country(peer.host)).heard

    return listener


class _Connection:
    """What has been counted for one connection."""

    __slots__ = ("_country", "_forwards", "_guest_of", "_is_decided", "_metrics", "_sessions", "_since")

    def __init__(self, metrics: m.Metrics, country: str) -> None:
        self._metrics = metrics
        self._country = country
        self._since = 0.0
        self._is_decided = False
        self._guest_of = ""
        self._sessions = 0
        self._forwards = 0

    def heard(self, event: events.Event) -> None:
        match event:
            case events.ConnectionOpened():
                self._since = event.at
                self._metrics.count(m.CONNECTIONS, country=self._country)
                self._metrics.add(m.CURRENT_CONNECTIONS, 1, country=self._country)
            case events.AuthAttempted():
                outcome = "accepted" if event.success else "refused" if event.available else "unavailable"
                self._metrics.count(m.AUTH_ATTEMPTS, method=event.method, outcome=outcome)
                if event.success and not event.further:
                    self._stage("auth", event)
            case events.ConnectionRefused():
                self._metrics.count(m.REFUSED_CONNECTIONS, limit=_limit(event.reason))
            case events.SourcePenalised():
                self._metrics.count(m.PENALTIES, cause=_word(event.reason))
            case events.LoginAccepted():
                self._stage("config", event)
            case events.GuestOpened():
                self._stage("guest", event)
                self._guest_of = event.backend
                self._metrics.add(m.GUESTS, 1, backend=event.backend)
                self._decide(m.HANDSHAKES)
            case events.HandshakeFailed() | events.GuestFailed():
                self._decide(m.FAILED_HANDSHAKES)
            case events.ConnectionClosed():
                self._decide(m.FAILED_HANDSHAKES)
                self._metrics.add(m.CURRENT_CONNECTIONS, -1, country=self._country)
                if self._guest_of:
                    self._metrics.add(m.GUESTS, -1, backend=self._guest_of)
                self._open_sessions(-self._sessions)
                self._open_forwards(-self._forwards)
            case _:
                self._used(event)

    def _used(self, event: events.Event) -> None:
        """What a login does with its guest."""
        match event:
            case events.SessionOpened():
                self._open_sessions(1)
            case events.SessionClosed():
                self._open_sessions(-1)
            case events.ProgramStarted():
                self._metrics.count(m.PROGRAMS, kind=event.program.kind.value)
            case events.RequestDecided(granted=False):
                request = event.request if event.request in _REQUESTS else "other"
                self._metrics.count(m.REQUESTS_REFUSED, request=request)
            case events.ForwardOpened():
                self._metrics.count(m.FORWARDS, kind="dial" if event.listener is None else "listen", outcome="opened")
                self._open_forwards(1)
            case events.ForwardClosed():
                self._metrics.count(m.FORWARDED_BYTES, event.sent, direction="sent")
                self._metrics.count(m.FORWARDED_BYTES, event.received, direction="received")
                self._open_forwards(-1)
            case events.ForwardRefused():
                self._metrics.count(m.FORWARDS, kind="dial", outcome="refused")
            case events.ListenerRefused():
                self._metrics.count(m.FORWARDS, kind="listen", outcome="refused")
            case _:
                pass

    def _open_sessions(self, more: int) -> None:
        self._sessions += more
        self._metrics.add(m.SESSIONS, more)

    def _open_forwards(self, more: int) -> None:
        self._forwards += more
        self._metrics.add(m.FORWARDS_OPEN, more)

    def _stage(self, name: str, event: events.Event) -> None:
        self._metrics.observe(m.LOGIN_STAGE, event.at - self._since, stage=name)
        self._since = event.at

    def _decide(self, outcome: m.Definition) -> None:
        """A handshake succeeds or fails, and only once."""
        if not self._is_decided:
            self._is_decided = True
            self._metrics.count(outcome, country=self._country)


def _limit(reason: str) -> str:
    """The key that `reason` names; anything else is the penalty."""
    found = _KEY.search(reason)
    return found[1] if found else "penalty"


def _word(text: str) -> str:
    return text.replace(" ", "_")
