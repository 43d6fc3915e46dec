"""How long a refusal takes, so that its time says nothing about why: rounded up, and the same for each user name.

OpenSSH's idea (``ensure_minimum_time_since`` in its ``auth2.c``): each name has a time of its own, which nobody can
tell from outside; a decision that took longer is rounded up to twice, four times, … as much.
"""

from __future__ import annotations

import hashlib
from typing import Final

LONGEST: Final = 5.0
"""Seconds; a decision that took longer is not delayed any more."""


class RefusalTimes:
    """The least times of refusals, from `base` seconds to almost twice as much, by user name and `secret`."""

    def __init__(self, base: float, secret: bytes) -> None:
        self._base = base
        self._secret = secret

    def least(self, username: bytes) -> float:
        """The least time of a refusal of `username`."""
        digest = hashlib.blake2b(username, key=self._secret, digest_size=4).digest()
        return self._base * (1 + int.from_bytes(digest, "big") / 2**32)

    def owed(self, username: bytes, spent: float) -> float:
        """Seconds to wait before a refusal is sent whose decision took `spent` seconds."""
        least = self.least(username)
        if not least > 0 or spent > LONGEST:
            return 0.0
        while least < spent:
            least *= 2
        return least - spent
