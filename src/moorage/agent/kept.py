"""What arrives while a channel's reader pauses, kept in memory that is bounded by its window."""

from __future__ import annotations

from collections import deque
from typing import Final

from moorage.agent.frames import MAX_DATA

SMALL_PIECE: Final = 1_024
"""Pieces below this are joined when kept, so that keeping a window costs at most a few windows of memory."""

MAX_SMALL_RUNS: Final = 256
"""How often small pieces of output and error may alternate before only the order within each is kept."""


class Kept:
    """Output that came while its reader paused, in order.

    Its memory stays within a small multiple of its bytes, however they were cut: small pieces are joined.
    Where output and error alternate in very small pieces, only the order within each survives.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytes | bytearray]] = deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, kind: int, data: bytes) -> None:
        """Keep `data` of DATA or STDERR."""
        if len(data) < SMALL_PIECE:
            pieces = self._pieces
            reach = 2 if len(pieces) >= MAX_SMALL_RUNS else 1
            for back in range(1, min(reach, len(pieces)) + 1):
                last_kind, last = pieces[-back]
                if last_kind == kind and isinstance(last, bytearray) and len(last) < MAX_DATA:
                    last += data
                    return
            pieces.append((kind, bytearray(data)))
        else:
            self._pieces.append((kind, data))

    def take(self) -> tuple[int, bytes]:
        """The oldest piece."""
        kind, data = self._pieces.popleft()
        return kind, bytes(data)

    def clear(self) -> None:
        """Drop all of it."""
        self._pieces.clear()
