"""A recording is played in its time, as is wished, and cannot do to the terminal what is not for showing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit.reading.playing import Harmless, Wishes, play
from moorage.audit.recording import Message

SECOND = 1_000_000_000


def output(at: float, data: bytes, *, stream: int = 1, channel: int = 0) -> Message:
    return Message("c1", int(at * SECOND), 500, {"stream": stream, "data": data}, channel, 0, {})


RECORDING = (
    output(10, b"a"),
    output(10.5, b"typed", stream=0),
    output(11, b"b"),
    output(11.5, b"other", channel=1),
    output(21, b"c", stream=2),
    output(21.1, b"d"),
)


class Screen:
    """What was shown after which waiting, with keys pressed at chosen waits."""

    def __init__(self, *keys: str) -> None:
        self.shown: list[tuple[float, bytes]] = []
        self.waited = 0.0
        self._keys = iter(keys)

    def write(self, data: bytes) -> None:
        self.shown.append((round(self.waited, 3), data))

    def key(self, seconds: float) -> str:
        pressed = next(self._keys, "")
        if not pressed:
            self.waited += seconds
        return pressed


def played(wishes: Wishes, *keys: str, channel: int = 0) -> list[tuple[float, bytes]]:
    screen = Screen(*keys)
    play(RECORDING, channel, wishes, write=screen.write, key=screen.key)
    return screen.shown


@pytest.mark.parametrize(
    ("wishes", "times"),
    [
        (Wishes(), [0, 1, 11, 11.1]),
        (Wishes(speed=10), [0, 0.1, 1.1, 1.11]),
        (Wishes(skip_idle=2), [0, 1, 3, 3.1]),
        (Wishes(start=11), [0, 0, 0, 0.1]),
        (Wishes(start=1000), [0, 0, 0, 0]),
    ],
)
def test_output_comes_in_its_time(wishes: Wishes, times: list[float]) -> None:
    assert played(wishes) == list(zip(times, [b"a", b"b", b"c", b"d"], strict=True))


def test_only_the_channel_that_is_watched_is_shown() -> None:
    assert played(Wishes(), channel=1) == [(0, b"other")]


def test_keys_pause_speed_up_skip_and_end() -> None:
    screen = Screen(" ", "", "", " ")
    assert play(RECORDING, 0, Wishes(skip_idle=1), write=screen.write, key=screen.key)
    assert screen.shown[1] == (1.5, b"b")
    assert played(Wishes(), "+")[1] == (0.5, b"b")
    assert played(Wishes(), "-")[1] == (2.0, b"b")
    assert [at for at, _ in played(Wishes(), ">")] == [0, 0, 0, 0.1]
    assert [at for at, _ in played(Wishes(), " ", ".", ".", ".")] == [0, 0, 0, 0]
    screen = Screen("q")
    assert not play(RECORDING, 0, Wishes(), write=screen.write, key=screen.key)
    assert screen.shown == [(0, b"a")]


KEPT = [
    b"plain text\r\n\ttab",
    b"\x1b[31mred\x1b[0m",
    b"\x1b[2J\x1b[10;20H\x1b[?1049h\x1b[?25l",
    b"\x1b(0lqk\x1b(B",
    b"\x1b7\x1b8\x1bM\x1b=",
    "é ß 漢 🚢".encode(),
    b"\xff\xfe no utf-8",
]
DROPPED = [
    b"\x1b]0;a title\x07",
    b"\x1b]52;c;aGFja2Vk\x1b\\",
    b'\x1bP$q"p\x1b\\',
    b"\x1bPq#0;2;0\x1b\\",
    b"\x1b_apc\x1b\\",
    b"\x1b^pm\x1b\\",
    b"\x1b[c",
    b"\x1b[>0c",
    b"\x1b[5n",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[21t",
    b"\x1b[?1$p",
    b"\x1bZ",
    b"\x05",
    b"\xc2\x9b6n"[:2],
    b"\x1b[5i",
]


@pytest.mark.parametrize("data", KEPT)
def test_what_is_for_showing_is_shown(data: bytes) -> None:
    assert Harmless().of(data) == data


@pytest.mark.parametrize("data", DROPPED)
def test_what_is_more_than_showing_is_taken_out(data: bytes) -> None:
    assert Harmless().of(b"a" + data + b"b") == b"ab"


@given(st.lists(st.sampled_from([*KEPT, *DROPPED]), max_size=6), st.integers(1, 7))
def test_it_is_the_same_however_the_pieces_are_cut(parts: list[bytes], size: int) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]

    data = b"".join(parts) + b"."
    whole, cut = Harmless(), Harmless()
    assert b"".join(map(cut.of, pieces())) == whole.of(data)


@given(st.binary(max_size=300))
def test_whatever_comes_no_question_or_device_string_gets_through(data: bytes) -> None:
    shown = Harmless().of(data + b"\x1b\\ end")
    assert not any(sign in shown for sign in (b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX", b"\x05", b"\x1bZ"))


def test_a_sequence_without_an_end_is_bounded() -> None:
    harmless = Harmless()
    for _ in range(100):
        harmless.of(b"\x1b]0;" + b"x" * 65536)
    assert len(harmless._held) <= 65536
