"""Records arrive in order and once; where that cannot be, their number is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import structlog.testing

from moorage.audit.stream import delivery as d
from moorage.audit.stream.delivery import Delivery, SinkError
from moorage.codes import Code


@dataclass
class Counts:
    numbers: dict[str, int] = field(default_factory=lambda: {"sent": 0, "lost": 0, "waiting": 0})

    def sent(self, count: int) -> None:
        self.numbers["sent"] += count

    def lost(self, count: int) -> None:
        self.numbers["lost"] += count

    def waiting(self, change: int) -> None:
        self.numbers["waiting"] += change


class Place:
    """A sink that can be away, slow or picky."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.failures: list[Exception] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.closed = 0

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]

    async def send(self, lines: Sequence[bytes]) -> None:
        await self.goes_on.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(lines))

    async def close(self) -> None:
        self.closed += 1


def way(place: Place, counts: Counts | None = None, **settings: int) -> tuple[Delivery, list[float]]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    made = Delivery("0:test", place, gap=lambda n: b"gap %d" % n, observer=counts, sleep=sleep, **settings)  # type: ignore[arg-type]
    made.start()
    return made, pauses


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


async def test_records_arrive_in_order_and_in_batches() -> None:
    place, counts = Place(), Counts()
    delivery, _ = way(place, counts)
    for line in numbered(0, 2500):
        delivery.put(line)
    await delivery.close()
    assert place.lines == numbered(0, 2500)
    assert [len(batch) for batch in place.batches] == [1000, 1000, 500]
    assert counts.numbers == {"sent": 2500, "lost": 0, "waiting": 0}
    assert place.closed == 1


async def test_a_batch_is_bounded_in_bytes_but_a_large_record_goes_by_itself() -> None:
    place = Place()
    delivery, _ = way(place)
    large = b"x" * (d.LARGEST_BATCH + 1)
    for line in (b"a", large, b"b", b"c"):
        delivery.put(line)
    await delivery.close()
    assert place.batches == [[b"a"], [large], [b"b", b"c"]]


async def test_a_sink_that_fails_is_tried_again_with_the_same_records() -> None:
    place, counts = Place(), Counts()
    place.failures = [OSError("down"), SinkError("busy"), OSError("down")]
    with structlog.testing.capture_logs() as logged:
        delivery, pauses = way(place, counts)
        delivery.put(b"a")
        while not place.batches:
            await asyncio.sleep(0)
        await delivery.close()
    assert place.batches == [[b"a"]]
    assert pauses == [0.5, 1.0, 2.0]
    assert [line["code"] for line in logged] == [Code.EVENTS_FAILED, Code.EVENTS_WORK]
    assert counts.numbers == {"sent": 1, "lost": 0, "waiting": 0}


async def test_records_that_are_refused_for_good_do_not_stop_the_others() -> None:
    place, counts = Place(), Counts()
    place.failures = [SinkError("too odd", is_permanent=True)]
    with structlog.testing.capture_logs() as logged:
        delivery, pauses = way(place, counts)
        delivery.put(b"a")
        while place.failures:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        delivery.put(b"b")
        await delivery.close()
    assert place.lines == [b"gap 1", b"b"]
    assert pauses == []
    assert [(line["code"], line.get("count")) for line in logged] == [(Code.EVENTS_LOST, 1)]
    assert counts.numbers == {"sent": 2, "lost": 1, "waiting": 0}


async def test_what_has_no_room_is_counted_where_it_is_missing() -> None:
    place, counts = Place(), Counts()
    place.goes_on.clear()
    with structlog.testing.capture_logs() as logged:
        delivery, _ = way(place, counts, most_waiting=10)
        for line in numbered(100, 105):  # three bytes each
            delivery.put(line)
        place.goes_on.set()
        while not place.batches:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        delivery.put(b"after")
        await delivery.close()
    assert place.lines == [b"100", b"101", b"102", b"gap 2", b"after"]
    assert [line["code"] for line in logged] == [Code.EVENTS_LOST], "one line, however many are lost"
    assert counts.numbers == {"sent": 5, "lost": 2, "waiting": 0}


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    place.goes_on.clear()
    monkeypatch.setattr(d, "LAST_SECONDS", 0.05)
    with structlog.testing.capture_logs() as logged:
        delivery, _ = way(place)
        delivery.put(b"a")
        delivery.put(b"b")
        await delivery.close()
        await delivery.close()
    assert [(line["code"], line["count"]) for line in logged] == [(Code.EVENTS_LOST, 2)]
    assert place.closed == 1
