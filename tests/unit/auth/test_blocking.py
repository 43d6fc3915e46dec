"""Calls that block hold up nobody but their own callers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from moorage.auth.blocking import Blocking
from moorage.errors import AuthError


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    blocking = Blocking("a service", seconds=30)
    assert await blocking.call(lambda: 42) == 42

    def fail() -> int:
        raise LookupError("as it was raised")

    with pytest.raises(LookupError, match="as it was raised"):
        await blocking.call(fail)


async def test_a_call_that_hangs_is_given_up_and_keeps_its_place() -> None:
    blocking = Blocking("a service", seconds=0.2, most=1)
    release = threading.Event()
    with pytest.raises(AuthError, match="a service gives no answer"):
        await blocking.call(lambda: release.wait(30))
    with pytest.raises(AuthError, match="no answer"):
        await blocking.call(lambda: True)
    release.set()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await blocking.call(lambda: True)
                break
            except AuthError:
                continue


async def test_a_caller_that_is_cancelled_hears_nothing_and_breaks_nothing() -> None:
    blocking = Blocking("a service", seconds=30, most=1)
    entered, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait() -> bool:
        loop.call_soon_threadsafe(entered.set)
        return release.wait(30)

    task = asyncio.create_task(blocking.call(wait))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await blocking.call(lambda: 1) == 1
