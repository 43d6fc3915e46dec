"""A login's time: what it is told and when, and when it is over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.config.sections.access import TimeLimitsConfig
from moorage.gateway.timekeeping import Timekeeper


class World:
    """A clock that moves while somebody sleeps, and a user who does something at given moments."""

    def __init__(self, *busy: float) -> None:
        self.now = 0.0
        self.busy = busy
        self.said: list[tuple[float, str]] = []
        self.looks = 0

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.looks += 1

    def activity(self) -> int:
        return len(self.said) + sum(moment <= self.now for moment in self.busy)

    def keeper(self, *, hours: float | None = None, **limits: float) -> Timekeeper:
        config = TimeLimitsConfig(**{name: timedelta(seconds=value) for name, value in limits.items()})
        return Timekeeper(
            config,
            seconds_allowed=hours,
            activity=self.activity,
            warn=lambda line: self.said.append((self.now, line)),
            clock=lambda: self.now,
            sleep=self.sleep,
        )


async def test_a_login_is_warned_once_and_ends_on_time() -> None:
    world = World()
    why = await world.keeper(total=3600, warning=60).run()
    assert why == "The time for this login is over: the connection ends."
    assert world.now == pytest.approx(3600)
    assert world.said == [(3540, "The time for this login is over: the connection ends in 60 seconds.")]


async def test_what_moves_puts_the_end_off_and_another_warning_comes() -> None:
    world = World(100, 595, 5000)
    why = await world.keeper(idle=600, warning=60).run()
    assert why.startswith("Nothing has moved")
    assert 1195 <= world.now <= 1195 + 2 * 30
    assert [line for _, line in world.said] == ["Nothing has moved for too long: the connection ends in 60 seconds."]


async def test_the_first_limit_that_is_reached_counts() -> None:
    world = World()
    why = await world.keeper(total=3600, idle=7200, hours=1800, warning=0).run()
    assert why.startswith("The hours")
    assert world.now == pytest.approx(1800)
    assert world.said == []


async def test_a_limit_shorter_than_its_warning_is_warned_of_at_once() -> None:
    world = World()
    await world.keeper(total=30, warning=60).run()
    assert world.said == [(0, "The time for this login is over: the connection ends in 30 seconds.")]


async def test_a_long_time_costs_few_looks() -> None:
    world = World()
    await world.keeper(total=24 * 3600, warning=300).run()
    assert world.looks <= 24 * 3600 / 30 + 10


def test_without_limits_nobody_need_watch() -> None:
    assert not World().keeper().is_needed
    assert World().keeper(hours=1).is_needed
