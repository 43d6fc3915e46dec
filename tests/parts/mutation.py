"""Packets of SSH made wrong in the ways that break parsers, and how many of them a run tries."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Final

CASES: Final = int(os.environ.get("MOORAGE_FUZZ_CASES", "1000"))
"""Cases of each fuzzer; there are two."""

_LENGTHS: Final = (0, 1, 4, 5, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(rng: random.Random, payload: bytes) -> bytes:
    """`payload` with one to four faults."""
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _FAULTS[rng.randrange(len(_FAULTS))](rng, data)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _set_length(rng: random.Random, data: bytearray) -> None:
    """Most lengths of strings stand right behind the message number or another string."""
    if len(data) >= 5:
        at = rng.choice((1, 5, rng.randrange(len(data) - 3)))
        data[at : at + 4] = rng.choice(_LENGTHS).to_bytes(4, "big")


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))


def _repeat(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = data[start : start + rng.randrange(64)] * rng.choice((1, 2, 50))


def _renumber(rng: random.Random, data: bytearray) -> None:
    if data:
        data[0] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 34, 50, 51, 52, 60, 61, 80, 90, 94, 98, 192, 255))


_FAULTS: Final = (_flip, _set, _set_length, _set_length, _cut, _insert, _repeat, _renumber)


def sequence(rng: random.Random, packets: Sequence[bytes]) -> list[bytes]:
    """The recorded `packets` in order, some left out, some twice, and at least one of them made wrong."""
    chosen = [packet for packet in packets for _ in range(rng.choices((0, 1, 2), (5, 90, 5))[0])]
    if not chosen:
        chosen = [rng.choice(packets)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(chosen))
        chosen[at] = mutated(rng, chosen[at])
    return chosen
