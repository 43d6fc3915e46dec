"""Events as metrics: connections, handshakes, guests, and how long each stage of a login takes."""

from __future__ import annotations

from moorage import metrics as m
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId


def event_metrics(metrics: m.Metrics, *, backend: str, country: m.Country = m.no_country) -> events.ListenerFactory:
    """Makes listeners that count the life of a connection in `metrics`.

    What can be expected with `backend`, the configured one, is shown from the beginning.
    """
    for what in (m.CONNECTIONS, m.CURRENT_CONNECTIONS, m.HANDSHAKES, m.FAILED_HANDSHAKES):
        metrics.expect(what, country=m.UNKNOWN_COUNTRY)
    for stage in ("auth", "config", "guest"):
        metrics.expect(m.LOGIN_STAGE, stage=stage)
    metrics.expect(m.GUESTS, backend=backend)

    def listener(connection_id: ConnectionId, peer: Address) -> events.Listener:
        del connection_id
        return _Connection(metrics, country(peer.host)).heard

    return listener


class _Connection:
    """What has been counted for one connection."""

    __slots__ = ("_country", "_guest_of", "_is_decided", "_metrics", "_since")

    def __init__(self, metrics: m.Metrics, country: str) -> None:
        self._metrics = metrics
        self._country = country
        self._since = 0.0
        self._is_decided = False
        self._guest_of = ""

    def heard(self, event: events.Event) -> None:
        match event:
            case events.ConnectionOpened():
                self._since = event.at
                self._metrics.count(m.CONNECTIONS, country=self._country)
                self._metrics.add(m.CURRENT_CONNECTIONS, 1, country=self._country)
            case events.AuthAttempted(success=True):
                self._stage("auth", event)
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
            case _:
                pass

    def _stage(self, name: str, event: events.Event) -> None:
        self._metrics.observe(m.LOGIN_STAGE, event.at - self._since, stage=name)
        self._since = event.at

    def _decide(self, outcome: m.Definition) -> None:
        """A handshake succeeds or fails, and only once."""
        if not self._is_decided:
            self._is_decided = True
            self._metrics.count(outcome, country=self._country)
