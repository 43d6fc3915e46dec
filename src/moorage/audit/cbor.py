"""CBOR (RFC 8949) as recordings hold it, with a bound on everything that a broken file could claim.

Definite and indefinite lengths, any width of integers and any tag are taken.  Texts that are no UTF-8 keep
their bytes as lone surrogates (``surrogateescape``).
"""

from __future__ import annotations

import struct
from typing import Any, Final

LONGEST_STRING: Final = 16 * 1024 * 1024
"""Bytes of one text or byte string."""

MOST_ELEMENTS: Final = 4096
"""Elements of one array, pairs of one map, pieces of one string."""

DEEPEST: Final = 8

BREAK: Final = 0xFF
_INDEFINITE: Final = 31
_END: Final = object()


class Malformed(ValueError):
    """What stands at `at` is no CBOR, or more of it than a message can hold."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


class Incomplete(Exception):
    """The buffer ends inside the item, which needs `size` bytes of buffer at least."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Pairs(list[tuple[Any, Any]]):
    """A map as it was written: its order and repeated keys are kept."""


def item(buffer: bytes, at: int, deepest: int = DEEPEST) -> tuple[Any, int]:
    """The item at `at`, and where the next one begins.  Raises `Malformed` and `Incomplete`."""
    start = at
    try:
        head = buffer[at]
        minor = head & 31
        at += 1
        if minor < 24:
            count = minor
        elif minor == 24:
            count = buffer[at]
            at += 1
        elif minor < 28:
            width = 1 << (minor - 24)
            if len(buffer) < at + width:
                raise Incomplete(at + width)
            count = int.from_bytes(buffer[at : at + width], "big")
            at += width
        elif minor == _INDEFINITE:
            count = -1
        else:
            raise Malformed("a reserved length", start)
    except IndexError:
        raise Incomplete(at + 1) from None
    major = head >> 5
    if major in {2, 3}:
        if count < 0:
            return _pieces(buffer, at, major)
        if count > LONGEST_STRING:
            raise Malformed("a string that is too long", start)
        end = at + count
        if len(buffer) < end:
            raise Incomplete(end)
        raw = buffer[at:end]
        return (raw.decode("utf-8", "surrogateescape") if major == 3 else raw), end
    if major == 0:
        if count < 0:
            raise Malformed("an integer without a length", start)
        return count, at
    if major in {4, 5}:
        if deepest == 0 or count > MOST_ELEMENTS:
            raise Malformed("too much in one place", start)
        return (_map if major == 5 else _array)(buffer, at, count, deepest - 1)
    if major == 7:
        return _simple(minor, count, buffer, at, start)
    if count < 0:
        raise Malformed("an integer or a tag without a length", start)
    if major == 1:
        return -1 - count, at
    if deepest == 0:
        raise Malformed("too many tags", start)
    return item(buffer, at, deepest - 1)  # major 6: a tag says nothing that is needed


def _map(buffer: bytes, at: int, count: int, deepest: int) -> tuple[Pairs, int]:
    pairs = Pairs()
    while len(pairs) != count:
        key, at = item(buffer, at, deepest)
        if key is _END and count < 0:
            return pairs, at
        value, at = item(buffer, at, deepest)
        if key is _END or value is _END or len(pairs) == MOST_ELEMENTS:
            raise Malformed("a map that does not end well", at - 1)
        pairs.append((key, value))
    return pairs, at


def _array(buffer: bytes, at: int, count: int, deepest: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while len(values) != count:
        value, at = item(buffer, at, deepest)
        if value is _END:
            if count < 0:
                return values, at
            raise Malformed("an array that ends early", at - 1)
        if len(values) == MOST_ELEMENTS:
            raise Malformed("too much in one place", at - 1)
        values.append(value)
    return values, at


def _pieces(buffer: bytes, at: int, major: int) -> tuple[Any, int]:
    start, size = at, 0
    pieces: list[bytes] = []
    while True:
        if at >= len(buffer):
            raise Incomplete(at + 1)
        if buffer[at] == BREAK:
            raw = b"".join(pieces)
            return (raw.decode("utf-8", "surrogateescape") if major == 3 else raw), at + 1
        if buffer[at] >> 5 != major or buffer[at] & 31 == _INDEFINITE:
            raise Malformed("a string with a piece that is none", at)
        piece, at = item(buffer, at)
        pieces.append(piece.encode("utf-8", "surrogateescape") if major == 3 else piece)
        size += len(pieces[-1])
        if size > LONGEST_STRING or len(pieces) > MOST_ELEMENTS:
            raise Malformed("a string that is too long", start)


def _simple(minor: int, count: int, buffer: bytes, at: int, start: int) -> tuple[Any, int]:
    if minor in {20, 21}:
        return minor == 21, at
    if minor in {22, 23}:
        return None, at
    if minor in {25, 26, 27}:
        width = 1 << (minor - 24)
        return struct.unpack({2: ">e", 4: ">f", 8: ">d"}[width], buffer[at - width : at])[0], at
    if minor == _INDEFINITE:
        return _END, at
    raise Malformed("a simple value that means nothing", start)


def is_end(value: object) -> bool:
    """True for the mark that ends an indefinite array."""
    return value is _END
