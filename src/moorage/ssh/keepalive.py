"""Asking a silent client for a sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta


class KeepAlive:
    """Calls `ask` every `interval`; calls `give_up` once, when `count` of the asked-for signs failed to come.

    Any byte from the client is a sign of life, whatever it was sent for.  An interval of 0 switches it off.
    """

    def __init__(
        self, interval: timedelta, count: int, *, ask: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        self._interval = interval.total_seconds()
        self._count = count
        self._ask = ask
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None
        self._missed = 0
        self.was_heard = True

    def start(self) -> None:
        """Ask for the first time after one interval."""
        if self._interval:
            self.was_heard = True
            self._rearm()

    def stop(self) -> None:
        """Ask no more.  Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rearm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)

    def _due(self) -> None:
        self._missed = 0 if self.was_heard else self._missed + 1
        self.was_heard = False
        if self._missed >= self._count:
            self._timer = None
            self._give_up()
            return
        self._rearm()
        self._ask()
