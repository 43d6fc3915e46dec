"""A cork: what one turn of the loop sends leaves in one write, for each write is a system call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LIMIT: Final = 256 * 1024
"""Bytes that are held back for one write; more are written at once."""


class Cork:
    """Holds pieces back until the loop's turn ends, `flush` is called, or there are `LIMIT` bytes of them.

    `write` takes the pieces, in order; it is never given an empty list.
    """

    __slots__ = ("_held", "_is_due", "_loop", "_pieces", "_write")

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[list[bytes | memoryview]], None]) -> None:
        self._loop = loop
        self._write = write
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._is_due = False

    def add(self, *pieces: bytes | memoryview) -> None:
        """Send `pieces`, after all that was added before."""
        self._pieces += pieces
        self._held += sum(map(len, pieces))
        if self._held >= LIMIT:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn_ended)

    def flush(self) -> None:
        """Write what is held back."""
        if self._pieces:
            pieces, self._pieces, self._held = self._pieces, [], 0
            self._write(pieces)

    def _turn_ended(self) -> None:
        self._is_due = False
        self.flush()
