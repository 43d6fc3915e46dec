"""Frames as RFC 6455 has them, and a hostile server that ends its own stream and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.backend.kubernetes.websocket import PROTOCOLS, Streams, accepted, encode
from moorage.net.stream import RawStream, StreamReceiver


class Below(RawStream):
    """A stream that remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def attach(self, receiver: StreamReceiver) -> None:
        self.calls.append("attach")

    async def wait_closed(self) -> None:
        pass

    def _want(self, reading: bool) -> None:
        pass


class Above:
    """Remembers what is delivered."""

    def __init__(self) -> None:
        self.streams: dict[int, bytearray] = {}
        self.end: list[Exception | None] = []

    def stream_received(self, stream: int, data: bytes) -> None:
        assert data
        self.streams.setdefault(stream, bytearray()).extend(data)

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def ended(self, cause: Exception | None) -> None:
        self.end.append(cause)


async def made(protocol: str = PROTOCOLS[0]) -> tuple[Below, Above, Streams]:
    below, above = Below(), Above()
    return below, above, Streams(below, above, protocol=protocol)


def frame(payload: bytes, opcode: int = 2, *, final: bool = True) -> bytes:
    """A frame of a server."""
    first = bytes(((0x80 if final else 0) | opcode,))
    size = len(payload)
    if size < 126:
        return first + bytes((size,)) + payload
    if size < 1 << 16:
        return first + b"\x7e" + size.to_bytes(2, "big") + payload
    return first + b"\x7f" + size.to_bytes(8, "big") + payload


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a client: opcode and payload."""
    found, at = [], 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1] & 0x7F
        assert data[at] & 0x80
        assert data[at + 1] & 0x80
        at += 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        mask, at = data[at : at + 4], at + 4
        found.append((opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data[at : at + size]))))
        at += size
    return found


def test_the_answer_to_a_key_is_the_rfc_s() -> None:
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(st.binary(max_size=70_000))
def test_a_frame_is_masked_and_whole(payload: bytes) -> None:
    assert unmasked(encode(2, payload)) == [(2, payload)]


@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=300)), max_size=8), st.data())
async def test_streams_are_told_apart_however_the_bytes_arrive(
    messages: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    _, above, streams = await made()
    wire = b"".join(frame(bytes((channel,)) + payload) for channel, payload in messages)
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        streams.data_received(wire[:size])
        wire = wire[size:]
    wanted: dict[int, bytes] = {}
    for channel, payload in messages:
        if payload:
            wanted[channel] = wanted.get(channel, b"") + payload
    assert {channel: bytes(got) for channel, got in above.streams.items()} == wanted


async def test_a_message_in_pieces_with_a_ping_between_them_is_one() -> None:
    below, above, streams = await made()
    streams.data_received(frame(b"\x01ab", final=False) + frame(b"hi", 9) + frame(b"cd", 0))
    assert above.streams == {1: bytearray(b"abcd")}
    assert unmasked(bytes(below.written)) == [(10, b"hi")]


async def test_much_is_sent_in_messages_of_bounded_size() -> None:
    below, _, streams = await made()
    streams.write(b"x" * 100_000)
    frames = unmasked(bytes(below.written))
    assert max(len(payload) for _, payload in frames) <= 32 * 1024 + 1
    assert b"".join(payload[1:] for _, payload in frames) == b"x" * 100_000
    assert {payload[0] for _, payload in frames} == {0}


@pytest.mark.parametrize(("protocol", "told"), [(PROTOCOLS[0], [(2, b"\xff\x00")]), (PROTOCOLS[1], [])])
async def test_the_end_of_input_is_told_where_it_can_be(protocol: str, told: list[tuple[int, bytes]]) -> None:
    below, _, streams = await made(protocol)
    streams.write_eof()
    streams.write_eof()
    streams.write(b"late")
    assert unmasked(bytes(below.written)) == told


async def test_an_orderly_end_has_no_cause() -> None:
    below, above, streams = await made()
    streams.data_received(frame((1000).to_bytes(2, "big"), 8))
    assert unmasked(bytes(below.written)) == [(8, b"\x03\xe8")]
    streams.connection_lost(None)
    assert above.end == [None]


async def test_an_end_without_a_word_has_one() -> None:
    _, above, streams = await made()
    streams.connection_lost(None)
    assert isinstance(above.end[0], ConnectionError)


@pytest.mark.parametrize(
    "bad",
    [
        b"\xf2\x01\x01",
        b"\x82\x81\0\0\0\0\x01",
        b"\x83\x00",
        b"\x89\x7e\x00\x80",
        b"\x09\x00",
    ],
    ids=["reserved bits", "masked", "unknown kind", "long ping", "ping in pieces"],
)
async def test_what_is_no_frame_ends_the_stream(bad: bytes) -> None:
    below, above, streams = await made()
    streams.data_received(bad)
    streams.data_received(frame(b"\x01more"))
    assert below.calls == ["abort"]
    assert above.streams == {}
    streams.connection_lost(None)
    assert isinstance(above.end[0], ValueError)


async def test_a_lying_length_costs_nothing() -> None:
    _, above, streams = await made()
    streams.data_received(b"\x82\x7f" + b"\xff" * 8 + b"\x01data")
    assert above.streams == {1: bytearray(b"data")}
