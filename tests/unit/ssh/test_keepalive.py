"""Signs of life: asked for, counted, given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from moorage.ssh.keepalive import KeepAlive

TICK = timedelta(seconds=0.01)


async def test_after_count_unanswered_questions_it_gives_up_once() -> None:
    said: list[str] = []
    gone = asyncio.Event()

    def give_up() -> None:
        said.append("gone")
        gone.set()

    KeepAlive(TICK, 3, ask=lambda: said.append("ask"), give_up=give_up).start()
    await asyncio.wait_for(gone.wait(), 5)
    await asyncio.sleep(0)
    assert said == ["ask", "ask", "ask", "gone"]


async def test_any_sign_starts_the_count_anew() -> None:
    asked = 0
    done = asyncio.Event()

    def ask() -> None:
        nonlocal asked
        asked += 1
        keep.was_heard = asked % 2 == 0
        if asked == 10:
            done.set()

    keep = KeepAlive(TICK, 2, ask=ask, give_up=done.set)
    keep.start()
    await asyncio.wait_for(done.wait(), 5)
    keep.stop()
    assert asked == 10


async def test_an_interval_of_nothing_asks_nothing() -> None:
    keep = KeepAlive(timedelta(0), 1, ask=lambda: None, give_up=lambda: None)
    keep.start()
    keep.stop()
    keep.stop()
