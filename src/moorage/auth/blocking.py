"""Calls that block — of C libraries, of directories — in a bounded number of threads, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from moorage.errors import AuthError

_T = TypeVar("_T")
MOST_THREADS: Final = 16


class Blocking:
    """Runs functions in threads of their own, at most `most` at a time.

    A thread that does not come back keeps its place, so that a service that hangs costs a bounded number of
    threads and not one for each attempt.  The threads end with the process: nothing waits for them.
    """

    def __init__(self, what: str, *, seconds: float, most: int = MOST_THREADS) -> None:
        """`what` names the service in errors; `seconds` bounds each call, the wait for a thread included."""
        self._what = what
        self._seconds = seconds
        self._free = asyncio.Semaphore(most)

    async def call(self, function: Callable[[], _T]) -> _T:
        """What `function` returns or raises; `AuthError` if it takes too long.

        When the caller is cancelled, or the time is up, the thread goes on until its call returns; what it brings is
        dropped.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
                return await self._started(function)
        except TimeoutError:
            raise AuthError(f"{self._what} gives no answer in {self._seconds:g} s") from None

    def _started(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[_T] = loop.create_future()

        def ended(result: _T | None, error: BaseException | None) -> None:
            self._free.release()
            if outcome.done():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:  # noqa: BLE001 - it belongs to who asked
                error = caught
            with contextlib.suppress(RuntimeError):  # a loop that is closed: nobody waits any more
                loop.call_soon_threadsafe(ended, result, error)

        threading.Thread(target=run, name=f"auth {self._what}", daemon=True).start()
        return outcome
