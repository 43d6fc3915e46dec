"""Password hashes: argon2id and bcrypt, verified in few threads and in equal time for every user.

A verification costs up to a second of CPU and 64 MiB of memory, and anybody on the
network may ask for one.  So there is a fixed number of worker threads: whatever waits,
no more memory than theirs is in use, and what was cancelled while it waited is never run.

Users of one file may have hashes of different cost.  To answer in the same time for each
of them, and for a name that does not exist, every attempt runs one verification for *each*
kind of hash in use: the user's own where he has one, one that cannot match for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import string
import sys
import threading
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_ARGON2ID: Final = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,172}"
)
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""The salt's last character carries two bits: only four values of it are canonical."""
_BCRYPT_ALPHABET: Final = "./" + string.ascii_letters + string.digits

_MOST_MEMORY_KIB: Final = 1024 * 1024
_MOST_PASSES: Final = 32
_MOST_LANES: Final = 32
_BCRYPT_ROUNDS: Final = range(4, 17)

_WEAK: Final = (
    ("$apr1$", "Apache's MD5"),
    ("{SHA}", "unsalted SHA-1"),
    ("{SSHA}", "SHA-1"),
    ("$1$", "MD5"),
    ("$5$", "SHA-256 crypt"),
    ("$6$", "SHA-512 crypt"),
    ("$y$", "yescrypt"),
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
    ("$2x$", "bcrypt of a faulty release"),
)


class Cost(NamedTuple):
    """What makes two verifications take equally long: the algorithm and its parameters."""

    algorithm: str
    parameters: tuple[int, ...]


DEFAULT_COST: Final = Cost("argon2id", (65536, 3, 4))
"""What `hash_password` makes: 64 MiB and three passes, the second choice of RFC 9106 §4."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A hash that `parse_hash` has found sound."""

    cost: Cost
    text: str = field(repr=False)


def parse_hash(text: str) -> PasswordHash:
    """The hash `text`; raises `ValueError`, without the text, if it is weak, malformed or absurdly costly."""
    if match := _ARGON2ID.fullmatch(text):
        memory, passes, lanes = (int(number) for number in match.groups())
        if not (8 * lanes <= memory <= _MOST_MEMORY_KIB and 1 <= passes <= _MOST_PASSES and 1 <= lanes <= _MOST_LANES):
            raise ValueError(
                "the argon2id parameters are out of bounds (memory up to 1 GiB, up to 32 passes and lanes)"
            )
        return PasswordHash(Cost("argon2id", (memory, passes, lanes)), text)
    if match := _BCRYPT.fullmatch(text):
        rounds = int(match.group(1))
        if rounds not in _BCRYPT_ROUNDS:
            raise ValueError("the bcrypt cost is out of bounds (4 to 16)")
        return PasswordHash(Cost("bcrypt", (rounds,)), text)
    for prefix, name in _WEAK:
        if text.startswith(prefix):
            raise ValueError(f"{name} is not accepted, only argon2id and bcrypt; set the password anew")
    raise ValueError("this is neither an argon2id nor a bcrypt hash; a password itself must not stand here")


def hash_password(password: bytes) -> PasswordHash:
    """An argon2id hash of `password` with a fresh salt; takes a tenth of a second."""
    from argon2 import PasswordHasher

    memory, passes, lanes = DEFAULT_COST.parameters
    return parse_hash(PasswordHasher(passes, memory, lanes).hash(password))


def unmatched(cost: Cost) -> PasswordHash:
    """A hash that costs `cost` to verify and that no password matches (but for a chance of 1 : 2^184)."""
    if cost.algorithm == "argon2id":
        memory, passes, lanes = cost.parameters
        salt, tag = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
        return PasswordHash(cost, f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${tag}")
    filler = "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(21 + 31))
    return PasswordHash(cost, f"$2b${cost.parameters[0]:02d}${filler[:21]}.{filler[21:]}")


def verify(expected: PasswordHash, password: bytes) -> bool:
    """Does `password` match?  Blocks for as long as the cost says."""
    if expected.cost.algorithm == "argon2id":
        from argon2.exceptions import Argon2Error
        from argon2.low_level import Type, verify_secret

        try:
            return verify_secret(expected.text.encode(), password, Type.ID)
        except Argon2Error:
            return False
    import bcrypt

    # bcrypt reads 72 bytes; every implementation that wrote such hashes ignored the rest.
    return bcrypt.checkpw(password[:72], expected.text.encode())


def _verify_all(own: PasswordHash | None, others: Iterable[PasswordHash], password: bytes) -> bool:
    matched = own is not None and verify(own, password)
    for other in others:
        verify(other, password)
    return matched


def _step_back() -> None:
    """Let this thread, and those that argon2 starts from it, have what the event loop leaves of the processors."""
    if sys.platform == "linux":  # elsewhere this would be about the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Verifier:
    """Verifies passwords away from the event loop, at most `workers` at a time."""

    def __init__(self, workers: int | None = None) -> None:
        count = workers or min(4, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="password", initializer=_step_back)
        self._unmatched: dict[Cost, PasswordHash] = {}

    async def matches(self, own: PasswordHash | None, password: bytes, costs: Iterable[Cost]) -> bool:
        """Does `password` match `own`?  False for None; takes one verification of each of `costs` either way."""
        others = [self._of(cost) for cost in costs if own is None or cost != own.cost]
        return await asyncio.get_running_loop().run_in_executor(self._threads, _verify_all, own, others, password)

    def _of(self, cost: Cost) -> PasswordHash:
        if cost not in self._unmatched:
            self._unmatched[cost] = unmatched(cost)
        return self._unmatched[cost]

    def close(self) -> None:
        """Run nothing more; what is being verified is let go.  Idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
