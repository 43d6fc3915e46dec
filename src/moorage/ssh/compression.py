"""Compression of packets (RFC 4253 §6.2), where it is switched on, without its bombs."""

from __future__ import annotations

import zlib
from typing import Final

from asyncssh.compression import Decompressor

LARGEST: Final = 256 * 1024
"""Bytes that one packet may unfold to; the same as for a packet that came uncompressed."""

NAMES: Final = ("zlib@openssh.com", "none")
"""Only what begins after authentication: zlib is no business of strangers."""


class BoundedDecompressor(Decompressor):
    """Undoes zlib, one packet at a time; a packet that would unfold to more than `LARGEST` is an error."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def decompress(self, data: bytes) -> bytes | None:
        """The payload, or None where there is none: this ends the connection."""
        try:
            payload = self._stream.decompress(data, LARGEST)
        except zlib.error:
            return None
        return None if self._stream.unconsumed_tail or not payload else payload
