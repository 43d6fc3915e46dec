"""Durations and sizes mean what they say, both ways."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config.quantities import (
    duration_of,
    format_duration,
    format_nanoseconds,
    format_size,
    parse_duration,
    parse_nanoseconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("60", 60),
        ("60s", 60 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2ms", 2_000_000),
        ("3us", 3000),
        ("3µs", 3000),
        ("3μs", 3000),
        ("-1m", -60 * 10**9),
        ("+1m", 60 * 10**9),
        ("1m1m", 120 * 10**9),
    ],
)
def test_a_duration_is_read(text: str, nanoseconds: int) -> None:
    assert parse_nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "s", "1", "1d", "1 s", "1s ", "1.s2", "s1", "1e3s", "--1s", "1h-1m", "٣s", "9" * 40]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    if text == "1":
        assert parse_nanoseconds(text) == 1
    else:
        with pytest.raises(ValueError, match="is "):
            parse_nanoseconds(text)


def test_a_duration_longer_than_the_format_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="292 years"):
        parse_nanoseconds("2562048h")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5µs"),
        (500_000, "500µs"),
        (2_000_000, "2ms"),
        (2 * 10**9, "2s"),
        (1_500_000_000, "1.5s"),
        (60 * 10**9, "1m0s"),
        (5400 * 10**9, "1h30m0s"),
        (-90 * 10**9, "-1m30s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert format_nanoseconds(nanoseconds) == text


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1))
def test_every_duration_is_read_back(nanoseconds: int) -> None:
    assert parse_nanoseconds(format_nanoseconds(nanoseconds)) == nanoseconds


@given(st.timedeltas(min_value=timedelta(days=-100_000), max_value=timedelta(days=100_000)))
def test_every_timedelta_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_less_than_a_microsecond_is_not_zero() -> None:
    assert duration_of(1) > timedelta(0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1000", 1000), ("1k", 1000), ("1Ki", 1024), ("512Mi", 512 * 2**20), ("1Gi", 2**30), ("2G", 2 * 10**9)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "-1", "1.5Gi", "1 000", "1mi", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_every_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size
