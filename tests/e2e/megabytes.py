"""Much data of which no piece is like another, so that what is lost, doubled or moved is seen."""

from __future__ import annotations

import hashlib

from hypothesis import settings

MB = 1024 * 1024
IS_NIGHTLY = settings.get_current_profile_name() == "nightly"
BLOCK = hashlib.shake_256(b"block").digest(MB)


def block(number: int) -> bytes:
    """A megabyte that is like no other."""
    return number.to_bytes(8, "big") + BLOCK[8:]


def digest_of(count: int, *, before: bytes = b"") -> str:
    """The SHA-256 of `before` and the first `count` blocks, in hexadecimal digits."""
    digest = hashlib.sha256(before)
    for number in range(count):
        digest.update(block(number))
    return digest.hexdigest()
