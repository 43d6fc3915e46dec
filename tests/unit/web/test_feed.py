"""Feeds: order, bounds, and the end."""

from __future__ import annotations

import asyncio

import pytest

from moorage.web.feed import LOST, WAITING, WATCHERS, Feeds, TooManyWatchers


async def test_every_watcher_is_told_everything_in_order() -> None:
    feeds = Feeds()
    with feeds.opened() as one, feeds.opened() as two:
        for number in range(3):
            feeds.tell({"n": number})
        feeds.end()
        for feed in (one, two):
            assert [await feed.next() for _ in range(4)] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
    assert not feeds


async def test_a_watcher_that_waits_is_woken() -> None:
    feeds = Feeds()
    with feeds.opened() as feed:
        waiting = asyncio.ensure_future(feed.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        feeds.tell({"n": 1})
        assert await waiting == {"n": 1}
        ending = asyncio.ensure_future(feed.next())
        await asyncio.sleep(0)
        feed.end()
        assert await ending is None


async def test_a_watcher_that_is_too_slow_is_told_so_and_holds_no_more_than_its_bound() -> None:
    feeds = Feeds()
    with feeds.opened() as feed:
        for number in range(WAITING * 2):
            feeds.tell({"n": number})
        told = []
        while (fact := await feed.next()) is not None:
            told.append(fact)
    assert len(told) == WAITING + 1
    assert (told[-2], told[-1]) == ({"n": WAITING - 1}, LOST)


async def test_there_is_room_for_so_many_and_again_when_one_goes() -> None:
    feeds = Feeds()
    opened = [feeds.opened() for _ in range(WATCHERS)]
    for feed in opened:
        feed.__enter__()
    with pytest.raises(TooManyWatchers), feeds.opened():
        pass
    opened.pop().__exit__(None, None, None)
    with feeds.opened():
        pass
    for feed in opened:
        feed.__exit__(None, None, None)
