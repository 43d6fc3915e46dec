"""A pool is full when it can be, gives each guest away once, and never keeps what is old, lost or unwanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from moorage import metrics as m
from moorage.backend.observer import RequestMetrics
from moorage.backend.pool import KINDS, Pool
from moorage.config.sections.pool import PoolConfig
from moorage.metrics import Metrics

TWO = PoolConfig(size=2)


class Made:
    """A guest that ends when it is told to."""

    def __init__(self) -> None:
        self.end = asyncio.get_running_loop().create_future()
        self.closed = ""

    @property
    def is_alive(self) -> bool:
        return not self.end.done()

    async def lost(self) -> BaseException | None:
        await asyncio.shield(self.end)
        return None

    async def close(self, reason: str) -> None:
        self.closed = self.closed or reason


class Maker:
    """Makes guests, or fails so many times first; holds them back while `gate` is closed."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.made: list[Made] = []
        self.tries = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Made:
        self.tries += 1
        await self.gate.wait()
        if self.tries <= self.failures:
            raise OSError("no engine")
        self.made.append(Made())
        return self.made[-1]

    @property
    def open(self) -> int:
        """How many live and were not closed."""
        return sum(not made.closed for made in self.made)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pool(clock: Clock) -> AsyncIterator[Pool[Made]]:
    pool: Pool[Made] = Pool(clock=clock)
    yield pool
    await asyncio.wait_for(pool.close(), 5)


async def until(fact: Callable[[], object]) -> None:
    """Returns when `fact` holds; what a pool does takes no time here, only turns of the loop."""
    for _ in range(200):
        if fact():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came true")


async def test_a_pinned_kind_is_filled_without_being_asked_for(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    assert maker.tries == 2


async def test_what_is_taken_is_given_once_and_replaced(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    taken = [pool.take("a", TWO, maker) for _ in range(3)]
    assert taken == [*maker.made[:2], None]
    await until(lambda: pool.ready("a") == 2)
    assert maker.tries == 4
    assert not any(one.closed for one in maker.made)


async def test_a_kind_that_is_asked_for_is_kept_from_then_on(pool: Pool[Made]) -> None:
    maker = Maker()
    assert pool.take("a", TWO, maker) is None
    await until(lambda: pool.ready("a") == 2)
    assert pool.take("b", TWO, maker) is None


async def test_a_guest_that_is_lost_is_replaced_and_never_given_away(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    maker.made[0].end.set_result(None)
    await until(lambda: maker.tries == 3 and pool.ready("a") == 2)
    assert maker.made[0].closed
    assert [pool.take("a", TWO, maker) for _ in range(2)] == maker.made[1:3]


async def test_a_guest_that_has_just_ended_is_not_given_away(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    maker.made[0].end.set_result(None)
    assert pool.take("a", TWO, maker) is maker.made[1], "before anybody has noticed"


async def test_a_guest_that_was_taken_is_not_the_pools_any_more(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    taken = pool.take("a", TWO, maker)
    assert taken is not None
    taken.end.set_result(None)
    await pool.close()
    assert not taken.closed
    assert maker.open == 1


async def test_what_is_too_old_is_replaced(pool: Pool[Made], clock: Clock) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    clock.now += TWO.max_age.total_seconds()
    assert pool.take("a", TWO, maker) is None
    await until(lambda: pool.ready("a") == 2 and maker.made[1].closed)
    clock.now += TWO.max_age.total_seconds()
    pool._tidy()
    await until(lambda: pool.ready("a") == 2 and maker.made[3].closed)
    assert maker.open == 2


async def test_a_kind_that_nobody_wants_any_more_goes_unless_it_is_pinned(pool: Pool[Made], clock: Clock) -> None:
    pinned, passing = Maker(), Maker()
    config = PoolConfig(size=2, idle=timedelta(minutes=10))
    pool.pin("a", config, pinned)
    pool.take("b", config, passing)
    await until(lambda: pool.ready("a") == pool.ready("b") == 2)
    clock.now += 601
    pool._tidy()
    await until(lambda: passing.open == 0)
    assert pool.ready("a") == 2
    pool.unpin()
    pool._tidy()
    await until(lambda: pinned.open == 0)


async def test_the_kinds_are_bounded(pool: Pool[Made]) -> None:
    makers = [Maker() for _ in range(KINDS + 3)]
    pool.pin(0, TWO, makers[0])
    for kind, maker in enumerate(makers):
        pool.take(kind, TWO, maker)
    await until(lambda: pool.ready(len(makers) - 1) == 2)
    assert [kind for kind in range(len(makers)) if pool.ready(kind)] == [0, *range(4, len(makers))]


async def test_a_smaller_size_takes_effect_at_once(pool: Pool[Made]) -> None:
    maker = Maker()
    pool.pin("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    pool.pin("a", PoolConfig(size=0), maker)
    await until(lambda: maker.open == 0)
    assert pool.ready("a") == 0


async def test_failures_are_tried_again_after_a_pause(pool: Pool[Made], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    maker = Maker(failures=6)
    sleep = asyncio.sleep
    monkeypatch.setattr("moorage.backend.pool.asyncio.sleep", pause)
    pool.pin("a", TWO, maker)
    for _ in range(200):
        await sleep(0)
    assert pool.ready("a") == 2
    assert pauses == [1, 2, 4]


async def test_closing_gives_up_what_is_being_made(pool: Pool[Made]) -> None:
    maker = Maker()
    maker.gate.clear()
    pool.pin("a", TWO, maker)
    await until(lambda: maker.tries == 2)
    await asyncio.wait_for(pool.close(), 5)
    assert maker.made == []
    assert pool.take("a", TWO, maker) is None
    await asyncio.wait_for(pool.close(), 5)


async def test_it_tells_how_many_stand_ready_and_who_found_one(pool: Pool[Made]) -> None:
    metrics = Metrics()
    pool.observer = RequestMetrics(metrics, "docker")
    maker: Callable[[], Awaitable[Made]] = Maker()
    pool.take("a", TWO, maker)
    await until(lambda: pool.ready("a") == 2)
    pool.take("a", TWO, maker)

    def shown() -> dict[str, float]:
        lines = dict(line.rsplit(" ", 1) for line in metrics.exposition()[0].decode().splitlines())
        return {name: float(value) for name, value in lines.items() if name.startswith("moorage_pool")}

    assert shown() == {
        f'{m.POOL_CLAIMS.name}{{backend="docker",result="none"}}': 1,
        f'{m.POOL_CLAIMS.name}{{backend="docker",result="ready"}}': 1,
        f'{m.POOL_SPARES.name}{{backend="docker"}}': 1,
    }


async def test_a_pool_that_is_half_full_waits_for_a_lull(
    pool: Pool[Made], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lull = asyncio.Event()
    sleep = asyncio.sleep

    async def later(_: float) -> None:
        await lull.wait()

    monkeypatch.setattr("moorage.backend.pool.asyncio.sleep", later)
    maker, four = Maker(), PoolConfig(size=4)
    pool.pin("a", four, maker)
    while pool.ready("a") < 4:
        await sleep(0)
    pool.take("a", four, maker)
    for _ in range(20):
        await sleep(0)
    assert maker.tries == 4
    clock.now += 1
    lull.set()
    while pool.ready("a") < 4:
        await sleep(0)
    assert maker.tries == 5
