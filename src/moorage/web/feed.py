"""Feeds: what comes to pass, to whoever is watching, without ever waiting for one of them.  Pure but for the waking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

WAITING: Final = 4096
"""Facts that wait for one watcher, a few hundred bytes each; one that is further behind has lost its place."""
WATCHERS: Final = 8
"""How many may watch at the same time."""

Fact = Mapping[str, Any]
LOST: Final[Fact] = {"event": "lost"}
"""The last fact for a watcher that was too slow."""


class TooManyWatchers(Exception):
    """There are `WATCHERS` already."""


class Feed:
    """What one watcher has still to be told.  `tell` never waits; `next` waits for a fact."""

    def __init__(self) -> None:
        self._facts: deque[Fact] = deque()
        self._woken = asyncio.Event()
        self._is_over = False

    def tell(self, fact: Fact) -> None:
        """Add a fact; the one that is too many is `LOST`, and ends the feed."""
        if self._is_over:
            return
        if len(self._facts) >= WAITING:
            self._facts.append(LOST)
            self._is_over = True
        else:
            self._facts.append(fact)
        self._woken.set()

    def end(self) -> None:
        """Nothing more will come.  Idempotent."""
        self._is_over = True
        self._woken.set()

    async def next(self) -> Fact | None:
        """The oldest fact that was not yet asked for; None at the end."""
        while not self._facts:
            if self._is_over:
                return None
            self._woken.clear()
            await self._woken.wait()
        return self._facts.popleft()


class Feeds:
    """All watchers."""

    def __init__(self) -> None:
        self._feeds: set[Feed] = set()

    def __bool__(self) -> bool:
        """Is anybody watching?"""
        return bool(self._feeds)

    @contextmanager
    def opened(self) -> Iterator[Feed]:
        """A feed for the time of the block.  Raises `TooManyWatchers`."""
        if len(self._feeds) >= WATCHERS:
            raise TooManyWatchers
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    def tell(self, fact: Fact) -> None:
        """Tell all who are watching."""
        for feed in self._feeds:
            feed.tell(fact)

    def end(self) -> None:
        """End all feeds."""
        for feed in self._feeds:
            feed.end()
