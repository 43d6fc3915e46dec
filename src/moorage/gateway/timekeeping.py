"""How long a login may last: it ends when nothing moves, when it is old, when its hours are over; with a warning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from moorage.config.sections.access import TimeLimitsConfig

_LEAST_LOOK: Final = 0.05
_MOST_LOOK: Final = 30.0
"""Seconds between two looks at whether something has moved."""

Warn = Callable[[str], None]
"""Takes a line for the user's terminals."""


class Timekeeper:
    """Watches the time of one login."""

    def __init__(
        self,
        limits: TimeLimitsConfig,
        *,
        seconds_allowed: float | None,
        activity: Callable[[], int],
        warn: Warn,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`seconds_allowed` is how long the login's hours last, None without end; `activity` counts what moves."""
        self._idle = limits.idle.total_seconds()
        self._total = limits.total.total_seconds()
        self._warning = limits.warning.total_seconds()
        self._allowed = seconds_allowed
        self._activity = activity
        self._warn = warn
        self._clock = clock
        self._sleep = sleep

    @property
    def is_needed(self) -> bool:
        """Is there any limit?"""
        return bool(self._idle or self._total or self._allowed is not None)

    async def run(self) -> str:
        """Returns when the login's time is over: why, as a sentence for the user."""
        started = moved = self._clock()
        seen, warned = self._activity(), ""
        while True:
            now = self._clock()
            if (activity := self._activity()) != seen:
                seen, moved = activity, now
                warned = "" if warned == "idle" else warned
            end, kind, why = min(self._ends(started, moved))
            left = end - now
            if left <= 0:
                return why
            if left <= self._warning and warned != kind:
                warned = kind
                self._warn(f"{why[:-1]} in {_shown(left)}.")
                seen = self._activity()  # what we say ourselves moves nothing
            before_warning = left - self._warning if left > self._warning else left
            look = max(_LEAST_LOOK, self._idle / 20) if self._idle else _MOST_LOOK
            await self._sleep(min(before_warning, look, _MOST_LOOK))

    def _ends(self, started: float, moved: float) -> list[tuple[float, str, str]]:
        ends = []
        if self._idle:
            ends.append((moved + self._idle, "idle", "Nothing has moved for too long: the connection ends."))
        if self._total:
            ends.append((started + self._total, "total", "The time for this login is over: the connection ends."))
        if self._allowed is not None:
            ends.append((started + self._allowed, "hours", "The hours for this login are over: the connection ends."))
        return ends


def _shown(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = round(whole / 60)
    return f"{minutes} minutes"
