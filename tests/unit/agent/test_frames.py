"""Frames, against the vectors that the agent's own tests read, and against splits and garbage."""

from __future__ import annotations

import json
import tracemalloc
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.agent import frames
from moorage.agent.frames import Decoder, Frame, ProtocolError

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "guest" / "testdata" / "vectors.json").read_text("utf-8")
)
VALID = [vector for vector in VECTORS if "error" not in vector]
BROKEN = [vector for vector in VECTORS if "error" in vector]
NUMBERS = {rule.name: kind for kind, rule in frames.FRAMES.items()}
JSON_TYPES = {NUMBERS[name] for name in ["HELLO", "ERROR", "OPEN", "OPENED", "REFUSED", "RESIZE", "SIGNAL", "EXIT"]}


def read(*chunks: bytes) -> list[Frame]:
    decoder = Decoder()
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


def joined(pieces: list[Frame]) -> list[Frame]:
    """Neighbouring pieces of DATA and STDERR of one channel as one."""
    result = []
    for (kind, channel), group in groupby(pieces, lambda frame: (frame.type, frame.channel)):
        if kind in (frames.DATA, frames.STDERR):
            result.append(Frame(kind, channel, b"".join(frame.payload for frame in group)))
        else:
            result += group
    return result


def judge(data: bytes) -> Decoder:
    """Read `data` as a link would: headers, then what the payloads say."""
    decoder = Decoder()
    for frame in decoder.feed(data):
        if frame.type in JSON_TYPES:
            frames.decode_json(frame)
        elif frame.type == frames.WINDOW:
            frames.decode_window(frame)
    return decoder


def test_there_are_vectors_of_both_kinds() -> None:
    assert len(VALID) > 20
    assert len(BROKEN) > 20


@pytest.mark.parametrize("vector", VALID, ids=[vector["name"] for vector in VALID])
def test_a_valid_vector_is_read(vector: dict[str, Any]) -> None:
    got = read(bytes.fromhex(vector["hex"]))
    wanted = vector["frames"]
    assert [(frame.type, frame.channel) for frame in got] == [(NUMBERS[w["type"]], w["channel"]) for w in wanted]
    for frame, want in zip(got, wanted, strict=True):
        if "json" in want:
            assert frames.decode_json(frame) == want["json"]
        else:
            assert frame.payload.hex() == want.get("payload_hex", "")


@pytest.mark.parametrize("vector", VALID, ids=[vector["name"] for vector in VALID])
def test_a_valid_vector_is_written(vector: dict[str, Any]) -> None:
    data = b""
    for frame in vector["frames"]:
        kind = NUMBERS[frame["type"]]
        if "json" in frame:
            # A writer may order and space JSON as it likes: what it wrote must read the same.
            written = frames.encode_json(kind, frame["channel"], frame["json"])
            assert frames.decode_json(read(written)[0]) == frame["json"]
            return
        data += frames.encode(kind, frame["channel"], bytes.fromhex(frame.get("payload_hex", "")))
    assert data.hex() == vector["hex"]


@pytest.mark.parametrize("vector", BROKEN, ids=[vector["name"] for vector in BROKEN])
def test_a_broken_vector_is_an_error(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    if vector["error"] == "truncated":
        assert not judge(data).is_between_frames
    else:
        with pytest.raises(ProtocolError) as caught:
            judge(data)
        assert str(caught.value)


@given(st.data())
def test_frames_are_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    stream = b"".join(
        [
            frames.encode_json(frames.HELLO, 0, {"version": 1}),
            frames.encode(frames.DATA, 1, b"a" * 300),
            frames.encode(frames.EOF, 1),
            frames.encode(frames.STDERR, 3, b"e"),
            frames.encode_window(1, 77),
            frames.encode(frames.PING, 0),
            frames.encode_json(frames.EXIT, 1, {"code": 0}),
        ]
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert joined(read(*chunks)) == read(stream)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_garbage_is_read_or_refused_and_never_anything_else(chunks: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                rule = frames.FRAMES[frame.type]
                assert rule.of_stream == (frame.channel == 0)
                assert len(frame.payload) <= rule.longest
    except ProtocolError:
        pass


@given(st.sampled_from(sorted(frames.FRAMES)), st.integers(0, 3), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_any_header_is_judged_before_its_payload(kind: int, channel: int, length: int, payload: bytes) -> None:
    rule = frames.FRAMES[kind]
    good = rule.of_stream == (channel == 0) and rule.shortest <= length <= rule.longest
    try:
        read(frames.header(kind, channel, length) + payload[:length])
        assert good
    except ProtocolError:
        # The rest of `payload`, read as a next frame, is cut off above.
        assert not good


def test_big_payloads_are_handed_on_as_they_come() -> None:
    stream = frames.encode(frames.DATA, 5, bytes(range(256)) * 1024)
    got = read(*(stream[at : at + 10_000] for at in range(0, len(stream), 10_000)))
    assert len(got) == 27
    assert joined(got) == [Frame(frames.DATA, 5, bytes(range(256)) * 1024)]


def test_a_length_from_a_guest_allocates_nothing() -> None:
    decoder = Decoder()
    tracemalloc.start()
    try:
        assert list(decoder.feed(frames.header(frames.OPEN, 2, frames.MAX_PAYLOAD))) == []
        assert list(decoder.feed(frames.header(frames.DATA, 2, 1)[:4])) == []
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


def test_pieces_are_copies() -> None:
    """The buffer that was read into is used again."""
    buffer = bytearray(frames.encode(frames.DATA, 1, b"abc") + frames.encode(frames.PING, 0, b"xyz"))
    got = list(Decoder().feed(memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert [frame.payload for frame in got] == [b"abc", b"xyz"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"a":Infinity}',
        b"[" * 5000,
        b'{"a":' * 3000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\xff"}',
        b"[]",
        b'"text"',
        b"12",
        b"{}{}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_is_read_strictly(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.decode_json(Frame(frames.EXIT, 1, payload))


def test_a_message_that_is_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="OPEN of"):
        frames.encode_json(frames.OPEN, 1, {"command": "x" * frames.MAX_PAYLOAD})
