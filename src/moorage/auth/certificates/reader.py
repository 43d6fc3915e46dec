"""The wire types of RFC 4251 §5, read from bytes that anybody may have made."""

from __future__ import annotations


class Malformed(ValueError):
    """The bytes are not what they claim to be."""


class Reader:
    """Takes values off the front of `data`; raises `Malformed` where there are too few bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def position(self) -> int:
        """How many bytes were taken."""
        return self._at

    @property
    def is_empty(self) -> bool:
        """True if nothing is left."""
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise Malformed("it is cut off")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        """A string: four bytes of length and as many of content."""
        return self.take(self.number(4))

    def text(self) -> str:
        """A string that is UTF-8."""
        try:
            return self.string().decode()
        except UnicodeDecodeError:
            raise Malformed("a text is not UTF-8") from None

    def end(self) -> None:
        """Raises `Malformed` unless everything was taken."""
        if not self.is_empty:
            raise Malformed("there are bytes behind its end")


def string(value: bytes) -> bytes:
    """`value` as a string on the wire."""
    return len(value).to_bytes(4, "big") + value
