"""Windows of the week: what they say, and how long they last."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config.hours import Window, parse_window, rest_of


def at(text: str) -> datetime:
    """A moment of the week that begins on Monday, 5 January 2026."""
    day, _, time = text.partition(" ")
    number = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun").index(day)
    return datetime(2026, 1, 5 + number, int(time[:2]), int(time[3:]))  # noqa: DTZ001 - a local time


@pytest.mark.parametrize(
    ("window", "moment", "minutes"),
    [
        ("Mon-Fri 08:00-18:00", "Mon 08:00", 600),
        ("Mon-Fri 08:00-18:00", "Fri 17:59", 1),
        ("Mon-Fri 08:00-18:00", "Fri 18:00", None),
        ("Mon-Fri 08:00-18:00", "Sat 12:00", None),
        ("22:00-06:00", "Tue 23:00", 420),
        ("22:00-06:00", "Wed 05:00", 60),
        ("22:00-06:00", "Wed 06:00", None),
        ("Sun 22:00-06:00", "Mon 05:59", 1),
        ("Sun 22:00-06:00", "Sun 05:59", None),
        ("Fri-Mon", "Sun 12:00", 720),
        ("Fri-Mon", "Tue 00:00", None),
        ("sat, sun 10:00-24:00", "Sun 23:30", 30),
        ("08:30 - 09:00", "Thu 08:45", 15),
    ],
)
def test_a_window_lasts_to_its_end(window: str, moment: str, minutes: int | None) -> None:
    rest = parse_window(window.replace(", ", ",")).rest(at(moment))
    assert rest == (None if minutes is None else timedelta(minutes=minutes))


def test_windows_that_join_up_last_together() -> None:
    windows = [parse_window("08:00-12:00"), parse_window("12:00-14:00"), parse_window("15:00-16:00")]
    assert rest_of(windows, at("Mon 11:00")) == timedelta(hours=3)
    assert rest_of(windows, at("Mon 14:30")) is None
    assert rest_of([], at("Mon 14:30")) is None


def test_a_week_without_end_is_told_as_more_than_a_week() -> None:
    rest = rest_of([parse_window("Mon-Sun")], at("Mon 11:00"))
    assert rest is not None
    assert rest > timedelta(days=7)


@pytest.mark.parametrize(
    "text", ["", "Mo", "Mon 8-18", "Mon 08:00", "25:00-26:00", "08:61-09:00", "08:00-08:00", "Mon-"]
)
def test_what_is_no_window_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|days|time"):
        parse_window(text)


@given(st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440), st.datetimes())
def test_a_moment_in_a_window_stays_in_it_until_its_rest_is_over(
    days: frozenset[int], start: int, minutes: int, moment: datetime
) -> None:
    window = Window(days, start, minutes)
    if moment.year < 9999 and (rest := window.rest(moment)) is not None:
        assert timedelta(0) < rest <= timedelta(minutes=minutes)
        assert window.rest(moment + rest / 2) is not None
