"""What is kept for a reader that pauses."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from moorage.agent.frames import DATA, STDERR
from moorage.agent.kept import MAX_SMALL_RUNS, SMALL_PIECE, Kept

PIECES = st.lists(st.tuples(st.sampled_from([DATA, STDERR]), st.binary(min_size=1, max_size=3000)), max_size=60)


def taken(kept: Kept) -> list[tuple[int, bytes]]:
    result = []
    while kept:
        result.append(kept.take())
    return result


@given(PIECES)
def test_what_is_kept_comes_back_in_order(pieces: list[tuple[int, bytes]]) -> None:
    kept = Kept()
    for kind, data in pieces:
        kept.add(kind, data)
    flat = [(kind, byte) for kind, data in pieces for byte in data]
    assert [(kind, byte) for kind, data in taken(kept) for byte in data] == flat


def test_crumbs_are_joined() -> None:
    kept = Kept()
    for _ in range(1_000_000):
        kept.add(DATA, b"x")
    pieces = taken(kept)
    assert sum(len(data) for _, data in pieces) == 1_000_000
    assert len(pieces) < 20


def test_crumbs_that_alternate_are_joined_and_keep_their_own_order() -> None:
    kept = Kept()
    for number in range(100_000):
        kept.add(DATA, bytes((number % 251,)))
        kept.add(STDERR, bytes((number % 241,)))
    assert len(kept) < MAX_SMALL_RUNS + 16
    pieces = taken(kept)
    assert b"".join(data for kind, data in pieces if kind == DATA) == bytes(n % 251 for n in range(100_000))
    assert b"".join(data for kind, data in pieces if kind == STDERR) == bytes(n % 241 for n in range(100_000))


@given(st.lists(st.tuples(st.sampled_from([DATA, STDERR]), st.sampled_from([1, SMALL_PIECE - 1, SMALL_PIECE, 9000]))))
def test_keeping_costs_little_more_than_the_bytes(pieces: list[tuple[int, int]]) -> None:
    kept = Kept()
    for kind, size in pieces:
        kept.add(kind, bytes(size))
    total = sum(size for _, size in pieces)
    held = sum(sys.getsizeof(data) for _, data in kept._pieces)
    assert held <= 1.3 * total + 200 * (MAX_SMALL_RUNS + 2)
