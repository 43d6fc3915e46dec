"""Windows of the week, such as ``Mon-Fri 08:00-18:00``: read, and asked whether a moment is in one.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WINDOW: Final = re.compile(r"(?:([A-Za-z,\-]+)\s*)?(?:\s*(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d))?")


@dataclass(frozen=True, slots=True)
class Window:
    """Days on which it begins (0 is Monday), its first minute of the day, and how many minutes it has."""

    days: frozenset[int]
    start: int
    minutes: int

    def rest(self, moment: datetime) -> timedelta | None:
        """How long the window still lasts at `moment`, a local time; None if that is outside."""
        minute = moment.hour * 60 + moment.minute + (moment.second + moment.microsecond / 1e6) / 60
        for back in (0, 1):  # it may have begun yesterday
            passed = minute + back * _DAY - self.start
            if (moment.weekday() - back) % 7 in self.days and 0 <= passed < self.minutes:
                return timedelta(minutes=self.minutes - passed)
        return None


def parse_window(text: str) -> Window:
    """The window that `text` describes; raises `ValueError` that says what is wrong."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None or not text.strip():
        raise ValueError("this is no window of the week")
    days = _days(match[1]) if match[1] else frozenset(range(7))
    if match[2] is None:
        return Window(days, 0, _DAY)
    start, end = _minute(match[2], match[3]), _minute(match[4], match[5])
    if start == end:
        raise ValueError("the window is empty; leave the times out for the whole day")
    return Window(days, start, (end - start) % _DAY or _DAY)


def rest_of(windows: Iterable[Window], moment: datetime) -> timedelta | None:
    """How long a moment's windows last together, as far as they join up; None if it is in none of them."""
    windows = tuple(windows)
    whole = timedelta(0)
    while whole <= timedelta(days=7):
        rests = [rest for window in windows if (rest := window.rest(moment + whole)) is not None]
        if not rests:
            break
        whole += max(rests)
    return whole or None


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        names = (first, last) if dash else (first,)
        if not all(name in DAYS for name in names):
            raise ValueError(f"days are {', '.join(day.title() for day in DAYS)}")
        begin, end = DAYS.index(names[0]), DAYS.index(names[-1])
        days |= {day % 7 for day in range(begin, (end if end >= begin else end + 7) + 1)}
    return frozenset(days)


def _minute(hour: str, minute: str) -> int:
    if int(minute) > 59 or int(hour) * 60 + int(minute) > _DAY:
        raise ValueError(f"{hour}:{minute} is no time of the day")
    return int(hour) * 60 + int(minute)
