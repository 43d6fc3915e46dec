"""The cork: one write a turn, in order, bounded."""

import asyncio

from moorage.net.cork import LIMIT, Cork


def corked() -> tuple[Cork, list[bytes]]:
    written: list[bytes] = []
    return Cork(asyncio.get_running_loop(), lambda pieces: written.append(b"".join(pieces))), written


async def test_what_one_turn_adds_is_written_once_and_in_order() -> None:
    cork, written = corked()
    cork.add(b"a", memoryview(b"b"))
    cork.add(b"c")
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"abc"]
    cork.add(b"d")
    await asyncio.sleep(0)
    assert written == [b"abc", b"d"]


async def test_no_more_than_the_limit_is_held_back() -> None:
    cork, written = corked()
    cork.add(bytes(LIMIT - 1))
    assert written == []
    cork.add(b"x")
    assert [len(data) for data in written] == [LIMIT]
    await asyncio.sleep(0)
    assert len(written) == 1


async def test_a_flush_does_not_wait_for_the_turn_to_end() -> None:
    cork, written = corked()
    cork.add(b"now")
    cork.flush()
    cork.flush()
    assert written == [b"now"]


async def test_what_is_added_while_it_writes_comes_after() -> None:
    written: list[bytes] = []

    def write(pieces: list[bytes | memoryview]) -> None:
        written.append(b"".join(pieces))
        if len(written) == 1:
            cork.add(b"second")

    cork = Cork(asyncio.get_running_loop(), write)
    cork.add(b"first")
    cork.flush()
    await asyncio.sleep(0)
    assert written == [b"first", b"second"]
