"""Brings records to one sink, in order: what waits is bounded, a sink that fails is tried again.

Nothing waits for a sink: records for which there is no room are counted, and the count stands where they are missing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from moorage.codes import Code

MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes of records that wait for one sink at most."""

LARGEST_BATCH: Final = 1024 * 1024
LONGEST_BATCH: Final = 1000
"""Bytes and records that a sink is given at a time; one record may be larger by itself."""

LAST_SECONDS: Final = 5.0
"""For which a sink is still tried when the server ends."""

_PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries of a sink that fails; the last for all further ones."""


class SinkError(Exception):
    """A sink could not take records.  `is_permanent` says that it will not take these, however often it is asked."""

    def __init__(self, explanation: str, *, is_permanent: bool = False) -> None:
        super().__init__(explanation)
        self.is_permanent = is_permanent


class Sink(Protocol):
    """Takes records."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Take `lines`, each a JSON text without a line end; all or none.  Raises `SinkError` or `OSError`."""

    async def close(self) -> None:
        """Let go.  Idempotent."""


class Observer(Protocol):
    """Hears how it goes.  No method may raise or block."""

    def sent(self, count: int) -> None:
        """So many records have arrived."""

    def lost(self, count: int) -> None:
        """So many never will."""

    def waiting(self, change: int) -> None:
        """So many more wait; fewer, if it is negative."""


class Unobserved:
    """An observer that counts nothing."""

    def sent(self, count: int) -> None:
        pass

    def lost(self, count: int) -> None:
        pass

    def waiting(self, change: int) -> None:
        pass


class Delivery:
    """The way of records to one sink."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        gap: Callable[[int], bytes],
        observer: Observer | None = None,
        most_waiting: int = MOST_WAITING,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gap` makes the record that tells how many are missing before it."""
        self._sink = sink
        self._gap = gap
        self._observer: Observer = observer or Unobserved()
        self._most_waiting = most_waiting
        self._sleep = sleep
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._missing = 0
        self._something = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger().bind(sink=name)

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run(), name="events")

    def put(self, line: bytes) -> None:
        """Send `line` some time soon.  Never blocks."""
        if self._size + len(line) > self._most_waiting:
            self._miss(1)
            return
        self._tell_missing()
        self._append(line)

    async def close(self) -> None:
        """Send what waits, if that can be done soon; what cannot is counted in the log.  Idempotent."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._is_closing = True
        self._tell_missing()
        self._something.set()
        await asyncio.wait({task}, timeout=LAST_SECONDS)
        task.cancel()
        await asyncio.wait({task})
        if self._waiting or self._missing:
            count = len(self._waiting) + self._missing
            self._log.error("Events were not delivered before the end", code=Code.EVENTS_LOST, count=count)
        await self._sink.close()

    def _miss(self, count: int) -> None:
        if not self._missing:
            self._log.error("There is no room for more events", code=Code.EVENTS_LOST)
        self._missing += count
        self._observer.lost(count)

    def _tell_missing(self) -> None:
        if self._missing:
            missing, self._missing = self._missing, 0
            self._append(self._gap(missing))

    def _append(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)
        self._observer.waiting(1)
        self._something.set()

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self._is_closing:
                    return
                self._something.clear()
                await self._something.wait()
            await self._deliver(self._batch())

    def _batch(self) -> list[bytes]:
        """What is to be sent next; it stays in the queue until it has arrived."""
        batch: list[bytes] = []
        size = 0
        for line in self._waiting:
            size += len(line)
            if batch and (size > LARGEST_BATCH or len(batch) == LONGEST_BATCH):
                break
            batch.append(line)
        return batch

    async def _deliver(self, batch: list[bytes]) -> None:
        tries, failing_since = 0, None
        while True:
            try:
                await self._sink.send(batch)
                break
            except (OSError, SinkError) as error:
                if isinstance(error, SinkError) and error.is_permanent:
                    self._log.error("Events were refused", code=Code.EVENTS_LOST, count=len(batch), cause=str(error))
                    self._done(batch, is_lost=True)
                    return
                if failing_since is None:
                    failing_since = self._clock()
                    self._log.error("Events cannot be delivered", code=Code.EVENTS_FAILED, cause=str(error))
            await self._sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1
        self._done(batch)
        if failing_since is not None:
            seconds = round(self._clock() - failing_since, 3)
            self._log.warning("Events are delivered again", code=Code.EVENTS_WORK, seconds=seconds)

    def _done(self, batch: list[bytes], *, is_lost: bool = False) -> None:
        for line in batch:
            self._waiting.popleft()
            self._size -= len(line)
        self._observer.waiting(-len(batch))
        if is_lost:
            self._observer.lost(len(batch))
            self._missing += len(batch)
        else:
            self._observer.sent(len(batch))
