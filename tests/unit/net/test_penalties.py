"""Penalties add up, decay and are forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.net.penalties import Cause, Penalties, Penalty


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_they_are_enforced_once_they_have_added_up_and_until_they_have_decayed() -> None:
    clock = Clock()
    penalties = Penalties(clock=clock, size=10)
    for _ in range(2):
        assert penalties.add("a", Cause.AUTH_FAILED, 5, least=15, most=600) is None
        assert penalties.of("a") is None
    enforced = Penalty(Cause.AUTH_FAILED, 15)
    assert penalties.add("a", Cause.AUTH_FAILED, 5, least=15, most=600) == enforced
    assert penalties.of("a") == enforced
    assert penalties.of("b") is None
    clock.now += 14
    assert penalties.of("a") == Penalty(Cause.AUTH_FAILED, 1)
    clock.now += 1
    assert penalties.of("a") is None
    assert len(penalties) == 0
    assert penalties.add("a", Cause.NO_AUTH, 1, least=15, most=600) is None


def test_what_decays_as_fast_as_it_comes_is_never_enforced() -> None:
    clock = Clock()
    penalties = Penalties(clock=clock, size=10)
    for _ in range(100):
        assert penalties.add("a", Cause.NO_AUTH, 1, least=15, most=600) is None
        clock.now += 1


def test_a_cause_may_cost_nothing() -> None:
    penalties = Penalties(clock=Clock(), size=10)
    assert penalties.add("a", Cause.NO_AUTH, 0, least=0, most=600) is None
    assert len(penalties) == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100), st.integers(0, 50))))
def test_memory_and_length_are_bounded(steps: list[tuple[int, int, int]]) -> None:
    clock = Clock()
    penalties = Penalties(clock=clock, size=5)
    for source, seconds, passed in steps:
        clock.now += passed
        penalties.add(str(source), Cause.NO_AUTH, seconds, least=10, most=60)
        assert len(penalties) <= 5
        found = penalties.of(str(source))
        assert found is None or 0 < found.seconds <= 60
