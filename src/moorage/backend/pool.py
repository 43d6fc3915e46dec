"""Guests kept ready: a login takes one that runs already, and another takes its place.

What a pool holds has never seen a user.  Guests that would be made alike are of one *kind*; how alike is the
backend's to say.  A pool is never the only way to a guest: `take` returns None at once if there is none.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import structlog

from moorage.backend.contract import CleanUps
from moorage.backend.observer import RequestObserver, Unobserved
from moorage.codes import Code
from moorage.config.sections.pool import PoolConfig
from moorage.errors import Failure

KINDS: Final = 16
"""Kinds kept at the same time; the one that was wanted longest ago goes first."""

_AT_ONCE: Final = 2
"""Guests that a pool starts at the same time: logins that find none are to get the engine too."""

_LULL: Final = 0.5
"""Seconds without a login after which a pool that is half full or more is filled: not while a whole class comes in."""

_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 60.0
"""Seconds between tries while guests cannot be started."""


class Poolable(Protocol):
    """What a pool can hold: a guest, or something around one."""

    @property
    def is_alive(self) -> bool:
        """It has not ended, as far as is known now."""

    async def lost(self) -> BaseException | None:
        """Returns when it has ended."""

    async def close(self, reason: str) -> None:
        """End it; idempotent; returns when nothing is left."""


T = TypeVar("T", bound=Poolable)


@dataclass(eq=False, slots=True)
class _Spare(Generic[T]):
    guest: T
    born: float
    watch: asyncio.Task[None] | None = None


class _Shelf(Generic[T]):
    """The guests of one kind."""

    def __init__(self, make: Callable[[], Awaitable[T]], config: PoolConfig) -> None:
        self.make = make
        self.config = config
        self.ready: deque[_Spare[T]] = deque()
        self.filling: asyncio.Task[None] | None = None
        self.wanted = 0.0
        self.taken = float("-inf")


class Pool(Generic[T]):
    """Keeps guests of some kinds ready, each kind at its configured size."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.observer: RequestObserver = Unobserved()
        self._clock = clock
        self._shelves: OrderedDict[Hashable, _Shelf[T]] = OrderedDict()
        self._pinned: Hashable | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._work = CleanUps()
        self._is_closed = False
        self._tidying: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger()

    def pin(self, kind: Hashable, config: PoolConfig, make: Callable[[], Awaitable[T]]) -> None:
        """Keep `kind` from now on although nobody asks for it; what was pinned before may go."""
        self._pinned = kind
        self._want(kind, config, make)

    def unpin(self) -> None:
        """Keep no kind that nobody asks for."""
        self._pinned = None

    def take(self, kind: Hashable, config: PoolConfig, make: Callable[[], Awaitable[T]]) -> T | None:
        """A guest of `kind` that is ready now; it is the caller's to close.  None if there is none.

        `make` makes one more of that kind, and is called for as long as the kind is wanted; it cleans up after
        itself when it fails or is cancelled.
        """
        shelf = self._want(kind, config, make)
        spare = None
        while shelf.ready and spare is None:
            candidate = shelf.ready.popleft()
            if candidate.guest.is_alive and self._is_fresh(candidate, shelf):
                spare = candidate
                shelf.taken = self._clock()
                self.observer.spares(-1)
                _stop_watching(spare)
            else:
                self._discard(candidate)
        self.observer.claimed(ready=spare is not None)
        self._fill(shelf)
        return spare.guest if spare is not None else None

    def ready(self, kind: Hashable) -> int:
        """How many guests of `kind` stand ready."""
        shelf = self._shelves.get(kind)
        return len(shelf.ready) if shelf is not None else 0

    async def close(self) -> None:
        """End all guests that nobody has taken; idempotent; returns when nothing of them is left."""
        self._is_closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        while self._shelves:
            self._drop(next(iter(self._shelves)))
        await self._work.wait()

    def _want(self, kind: Hashable, config: PoolConfig, make: Callable[[], Awaitable[T]]) -> _Shelf[T]:
        shelf = self._shelves.get(kind)
        if shelf is None:
            shelf = self._shelves[kind] = _Shelf(make, config)
        shelf.make, shelf.config, shelf.wanted = make, config, self._clock()
        self._shelves.move_to_end(kind)
        while len(self._shelves) > KINDS:
            self._drop(next(kind for kind in self._shelves if kind != self._pinned))
        self._fill(shelf)
        self._tidy_later(config)
        return shelf

    # Making them.

    def _fill(self, shelf: _Shelf[T]) -> None:
        while len(shelf.ready) > shelf.config.size:
            self._discard(shelf.ready.popleft())
        if self._is_closed or len(shelf.ready) >= shelf.config.size:
            return
        if shelf.filling is None or shelf.filling.done():
            shelf.filling = self._work.begin(self._filled(shelf), name="pool/fill")

    async def _filled(self, shelf: _Shelf[T]) -> None:
        pause = _FIRST_PAUSE
        while len(shelf.ready) < shelf.config.size:
            if len(shelf.ready) > shelf.config.size / 2 and self._clock() - shelf.taken < _LULL:
                await asyncio.sleep(_LULL / 4)
                continue
            missing = shelf.config.size - len(shelf.ready)
            made = await asyncio.gather(*(self._one(shelf) for _ in range(min(missing, _AT_ONCE))))
            if all(made):
                pause = _FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _one(self, shelf: _Shelf[T]) -> bool:
        try:
            async with self._at_once:
                guest = await shelf.make()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one may succeed
            code = error.code if isinstance(error, Failure) else Code.SSH_INTERNAL_ERROR
            self._log.warning("A guest could not be started ahead of its login", code=code, cause=str(error))
            return False
        spare = _Spare(guest, self._clock())
        spare.watch = asyncio.get_running_loop().create_task(self._watched(shelf, spare), name="pool/watch")
        shelf.ready.append(spare)
        self.observer.spares(1)
        return True

    async def _watched(self, shelf: _Shelf[T], spare: _Spare[T]) -> None:
        """A guest that ends by itself is replaced."""
        await spare.guest.lost()
        if spare in shelf.ready:
            shelf.ready.remove(spare)
            self._discard(spare)
            self._fill(shelf)

    # Ending them.

    def _is_fresh(self, spare: _Spare[T], shelf: _Shelf[T]) -> bool:
        return self._clock() - spare.born < shelf.config.max_age.total_seconds()

    def _discard(self, spare: _Spare[T]) -> None:
        self.observer.spares(-1)
        _stop_watching(spare)
        self._work.begin(spare.guest.close("nobody has asked for it"), name="pool/discard")

    def _drop(self, kind: Hashable) -> None:
        shelf = self._shelves.pop(kind)
        shelf.config = PoolConfig(size=0)
        if shelf.filling is not None:
            shelf.filling.cancel()
        while shelf.ready:
            self._discard(shelf.ready.popleft())

    def _tidy_later(self, config: PoolConfig) -> None:
        if self._tidying is None and not self._is_closed and config.size:
            soon = min(config.max_age, config.idle).total_seconds() / 2
            self._tidying = asyncio.get_running_loop().call_later(soon, self._tidy)

    def _tidy(self) -> None:
        """Replace what is too old, and forget the kinds that nobody has wanted for long."""
        self._tidying = None
        for kind, shelf in tuple(self._shelves.items()):
            if kind != self._pinned and self._clock() - shelf.wanted > shelf.config.idle.total_seconds():
                self._drop(kind)
                continue
            while shelf.ready and not self._is_fresh(shelf.ready[0], shelf):
                self._discard(shelf.ready.popleft())
            self._fill(shelf)
            self._tidy_later(shelf.config)


def _stop_watching(spare: _Spare[T]) -> None:
    if spare.watch is not None and spare.watch is not asyncio.current_task():
        spare.watch.cancel()
