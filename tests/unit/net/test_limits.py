"""Counts and early drop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.net.limits import EarlyDrop, Rate, Tally, source_of


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_counts_as_its_network(host: str, source: str) -> None:
    assert source_of(host) == source


def test_masks_are_chosen() -> None:
    assert source_of("192.0.2.7", 24) == source_of("192.0.2.8", 24)
    assert source_of("192.0.2.7", 24) != source_of("192.0.3.7", 24)


def test_nothing_is_dropped_below_and_everything_above() -> None:
    drop = EarlyDrop(10, 30, 100)
    assert drop.share(9) == 0
    assert drop.share(10) == pytest.approx(0.3)
    assert drop.share(55) == pytest.approx(0.65)
    assert drop.share(100) == 1
    assert EarlyDrop(5, 30, 5).share(5) == 1


@given(st.integers(1, 1000), st.integers(0, 100), st.integers(0, 1000), st.integers(0, 3000))
def test_the_share_never_falls_as_starts_grow(begin: int, rate: int, more: int, starts: int) -> None:
    drop = EarlyDrop(begin, rate, begin + more)
    assert 0 <= drop.share(starts) <= drop.share(starts + 1) <= 1


@given(st.lists(st.sampled_from("abc")))
def test_what_is_undone_leaves_nothing(keys: list[str]) -> None:
    tally = Tally()
    for key in keys:
        tally.add(key)
    assert tally.total == len(keys)
    assert all(tally[key] == keys.count(key) for key in "abc")
    for key in keys:
        tally.remove(key)
    assert (tally.total, len(tally)) == (0, 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_holds_over_time_and_allows_bursts() -> None:
    clock = Clock()
    rate = Rate(10, clock=clock)
    assert [rate.take() for _ in range(25)] == [True] * 20 + [False] * 5
    clock.now += 0.5
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now += 1000
    assert sum(rate.take() for _ in range(100)) == 20


def test_a_rate_of_nothing_is_none() -> None:
    rate = Rate(0, clock=Clock())
    assert all(rate.take() for _ in range(10_000))
