"""The basic encoding rules as LDAP uses them (RFC 4511 §5.1): definite lengths, single-byte tags.  Pure.

What is read may come from anybody: every length is held against the bytes that are there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

INTEGER, OCTETS, ENUMERATED, BOOLEAN = 0x02, 0x04, 0x0A, 0x01
SEQUENCE, SET = 0x30, 0x31
_LONGEST_NUMBER: Final = 8

Read = Callable[[int], Awaitable[bytes]]
"""Reads exactly so many bytes; raises `EOFError` where there are fewer."""


class Malformed(ValueError):
    """The bytes are not what LDAP sends."""


def element(tag: int, *contents: bytes) -> bytes:
    """One element: tag, length, content."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def octets(value: bytes | str, tag: int = OCTETS) -> bytes:
    """A string; texts are UTF-8."""
    return element(tag, value.encode() if isinstance(value, str) else value)


def number(value: int, tag: int = INTEGER) -> bytes:
    """A number that is not negative."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


class Elements:
    """Takes elements off the front of `data`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def next(self) -> tuple[int, bytes]:
        """The tag and the content of the next element; raises `Malformed`."""
        data, at = self._data, self._at
        if len(data) < at + 2:
            raise Malformed("an element is cut off")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or len(data) < at + count:
                raise Malformed("a length cannot be read")
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if len(data) - at < size:
            raise Malformed("an element is cut off")
        self._at = at + size
        return tag, data[at : at + size]

    def take(self, tag: int) -> bytes:
        """The content of the next element, which has to have this tag."""
        found, content = self.next()
        if found != tag:
            raise Malformed(f"an element has the tag {found:#04x} instead of {tag:#04x}")
        return content

    def number(self, tag: int = INTEGER) -> int:
        """The next element as a number."""
        content = self.take(tag)
        if not 1 <= len(content) <= _LONGEST_NUMBER:
            raise Malformed("a number has an impossible length")
        return int.from_bytes(content, "big", signed=True)
