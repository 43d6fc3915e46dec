"""Durations and sizes as configuration files write them, both ways.

Durations follow Go: ``1h30m``, ``1.5s``, ``500µs``, a sign, no days.  A number
without a unit counts nanoseconds.  Sizes are bytes with an optional binary or
decimal suffix: ``512Mi``, ``1G``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Final

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_LONGEST: Final = 2**63 - 1
_DURATION: Final = re.compile(r"[+-]?(?:(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:ns|us|µs|μs|ms|s|m|h)){1,20}")
_TERM: Final = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")

_SIZE: Final = re.compile(r"([0-9]{1,18})\s?([kKMGT]i?)?B?")
_FACTOR: Final = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "ki": 2**10,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def parse_nanoseconds(text: str) -> int:
    """The nanoseconds that `text` says; raises `ValueError` with the forms that would do."""
    if _WHOLE.fullmatch(text):
        nanoseconds = int(text)
    elif _DURATION.fullmatch(text):
        total = sum((Fraction(number) * _NANOSECONDS[unit] for number, unit in _TERM.findall(text)), Fraction(0))
        nanoseconds = int(-total if text.startswith("-") else total)
    else:
        raise ValueError("is not a duration")
    if abs(nanoseconds) > _LONGEST:
        raise ValueError("is longer than 292 years")
    return nanoseconds


def duration_of(nanoseconds: float) -> timedelta:
    """A duration of so many nanoseconds; less than a microsecond is rounded up, so that it never turns into zero."""
    if abs(nanoseconds) > _LONGEST:
        raise ValueError("is longer than 292 years")
    whole = int(nanoseconds)
    return timedelta(microseconds=-(-whole // 1000))


def parse_duration(text: str) -> timedelta:
    """The duration that `text` says; raises `ValueError` with the forms that would do."""
    return duration_of(parse_nanoseconds(text))


def format_nanoseconds(nanoseconds: int) -> str:
    """The way Go prints a duration: ``1m0s``, ``2s``, ``1h30m0s``, ``500µs``, ``0s``."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 10**9:
        unit = "ns" if rest < 10**3 else "µs" if rest < 10**6 else "ms"
        return f"{sign}{_decimal(rest, _NANOSECONDS[unit])}{unit}"
    minutes, seconds = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds, 10**9)}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def format_duration(duration: timedelta) -> str:
    """The way Go prints `duration`."""
    return format_nanoseconds(duration // timedelta(microseconds=1) * 1000)


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


def parse_size(text: str) -> int:
    """The bytes that `text` says; raises `ValueError` with the forms that would do."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("is not a size")
    return int(match[1]) * _FACTOR[match[2] or ""]


def format_size(size: int) -> str:
    """`size` with the largest binary suffix that loses nothing: ``512Mi``, ``1Gi``, ``1000``."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % _FACTOR[suffix] == 0:
            return f"{size // _FACTOR[suffix]}{suffix}"
    return str(size)
