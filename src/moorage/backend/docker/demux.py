"""The engine's framing of output without a terminal, undone: 8 bytes of header, then data.

A frame is one byte of stream (0 and 1 standard output, 2 standard error), three zero bytes
and a big-endian length.  The parser keeps at most one header and never waits for a whole
frame, so a lying length costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
_HEADER: Final = 8


class FramingError(ValueError):
    """What arrived is not the engine's framing."""


class Demux:
    """An incremental parser: feed it what arrives, it yields (stream, bytes) in order."""

    __slots__ = ("_header", "_left", "_stream")

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0
        self._stream = STDOUT

    @property
    def is_between_frames(self) -> bool:
        """True where an orderly end may come."""
        return not self._header and not self._left

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces in `data`; raises `FramingError` for a header that cannot be one."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left] if at or size > self._left else data
                at += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            take = min(_HEADER - len(self._header), size - at)
            self._header += data[at : at + take]
            at += take
            if len(self._header) == _HEADER:
                if self._header[0] > STDERR or any(self._header[1:4]):
                    raise FramingError(f"not a frame of the engine: {bytes(self._header).hex()}")
                self._stream = STDERR if self._header[0] == STDERR else STDOUT
                self._left = int.from_bytes(self._header[4:], "big")
                self._header.clear()
