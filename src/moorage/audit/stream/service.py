"""The stream of events: what listens to connections, and the sinks behind it, as one service."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from moorage import metrics as m
from moorage.audit.stream.delivery import Delivery
from moorage.audit.stream.records import SECRETS, Record, Records, stamp
from moorage.audit.stream.sinks import sink_of
from moorage.audit.transfers import Fact
from moorage.config.sections.events import EventSinkConfig
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId
from moorage.metrics import Country, Metrics, no_country

_FILES: Final = "f"
"""Marks the ids of what recordings tell of files: they come on a way of their own."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One sink, and what it wants."""

    delivery: Delivery
    only: frozenset[str]
    has_secrets: bool


class EventStream:
    """Tells the sinks of `config` of all connections; a service, and a factory of listeners."""

    name = "event stream"

    def __init__(
        self,
        config: Sequence[EventSinkConfig],
        *,
        country: Country = no_country,
        metrics: Metrics | None = None,
    ) -> None:
        """Raises `ConfigError` for a sink that cannot be had; nothing is opened yet."""
        self._country = country
        self._ways = [
            _Way(
                Delivery(
                    f"{index}:{one.sink}",
                    sink_of(one),
                    gap=_gap,
                    observer=SinkMetrics(metrics, f"{index}:{one.sink}") if metrics else None,
                ),
                frozenset(one.only),
                one.passwords,
            )
            for index, one in enumerate(config)
        ]

    async def start(self) -> None:
        """Begin to send."""
        for way in self._ways:
            way.delivery.start()

    async def drain(self, timeout: float) -> None:
        """Go on: what drains is told."""

    async def stop(self) -> None:
        """Send what waits, within bounds.  Idempotent."""
        await asyncio.gather(*(way.delivery.close() for way in self._ways))

    def listener(self, connection_id: ConnectionId, peer: Address) -> events.Listener:
        """A listener for one connection."""
        records = Records(connection_id, peer, self._country(peer.host))

        def heard(event: events.Event) -> None:
            record = records.of(event)
            if record is not None:
                self._tell(record)

        return heard

    def files(self, connection_id: ConnectionId, peer: Address) -> Files:
        """What tells of the files of one connection, for the recorder."""
        loop = asyncio.get_running_loop()
        records = Records(connection_id, peer, self._country(peer.host), mark=_FILES)
        return Files(records, lambda record: loop.call_soon_threadsafe(self._tell, record))

    def _tell(self, record: Record) -> None:
        group = record["event"].partition(".")[0]
        lines: dict[bool, bytes] = {}
        for way in self._ways:
            if way.only and group not in way.only:
                continue
            if way.has_secrets not in lines:
                lines[way.has_secrets] = _line(record, has_secrets=way.has_secrets)
            way.delivery.put(lines[way.has_secrets])


class Files:
    """Tells of the files of one connection; implements `moorage.audit.recorder.FileEvents`."""

    def __init__(self, records: Records, tell: Callable[[Record], object]) -> None:
        self._records = records
        self._tell = tell

    def logged_in(self, username: str) -> None:
        """The connection has a user."""
        self._records.logged_in(username)

    def seen(self, fact: Fact, at: float, channel: int) -> None:
        """Something was done with a file; may be called by any thread, by one at a time."""
        self._tell(self._records.of_file(fact, at, channel))


class SinkMetrics:
    """Counts what goes to the sink called `sink`."""

    def __init__(self, metrics: Metrics, sink: str) -> None:
        self._metrics = metrics
        self._sink = sink
        for what in (m.EVENTS_SENT, m.EVENTS_LOST, m.EVENTS_WAITING):
            metrics.expect(what, sink=sink)

    def sent(self, count: int) -> None:
        """See `Observer.sent`."""
        self._metrics.count(m.EVENTS_SENT, count, sink=self._sink)

    def lost(self, count: int) -> None:
        """See `Observer.lost`."""
        self._metrics.count(m.EVENTS_LOST, count, sink=self._sink)

    def waiting(self, change: int) -> None:
        """See `Observer.waiting`."""
        self._metrics.add(m.EVENTS_WAITING, change, sink=self._sink)


def _line(record: Record, *, has_secrets: bool) -> bytes:
    shown = record if has_secrets else {key: value for key, value in record.items() if key not in SECRETS}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _gap(count: int) -> bytes:
    record = {"time": stamp(time.time()), "event": "events.lost", "id": str(uuid.uuid4()), "count": count}
    return _line(record, has_secrets=False)
