"""Recordings of every age and state are read as far as they can be; what is wrong is told with its place."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit.codec import HEADER, Entry, Packer, encode
from moorage.audit.reading.referencejson import line
from moorage.audit.recording import MAGIC, Found, Message, Trouble, read

SAMPLE = Path(__file__).parent / "samples" / "containerssh-0.4.0"
ID = "5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e"
ENTRIES = (
    Entry(0, 1_000, {"remoteAddr": "192.0.2.7", "country": "XX"}),
    Entry(199, 2_000, {"username": "alice"}),
    Entry(301, 3_000, {"channelType": "session"}, 0),
    Entry(403, 4_000, {"requestId": 0, "program": "echo <in> & out"}, 0),
    Entry(500, 5_000, {"stream": 1, "data": b"hi" * 100}, 0),
    Entry(499, 6_000, {"exitStatus": 0}, 0),
    Entry(1, 7_000),
)


def packed(*maps: Any, version: int = 2, closed: bool = False) -> bytes:
    """A file of whatever CBOR."""
    body = b"".join(one if isinstance(one, bytes) else cbor2.dumps(one) for one in maps)
    head = MAGIC + version.to_bytes(8, "little")
    if closed:
        return head + gzip.compress(body, mtime=0)
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    return head + deflate.compress(body) + deflate.flush(zlib.Z_SYNC_FLUSH)


def whole() -> bytes:
    packer = Packer()
    return packer.begin() + b"".join(packer.pack([encode(ID, entry)]) for entry in ENTRIES)


def found(data: bytes) -> list[Found]:
    return list(read([data]))


def numbers(data: bytes) -> list[int]:
    return [one.number for one in found(data) if isinstance(one, Message)]


def troubles(data: bytes) -> list[Trouble]:
    return [one for one in found(data) if isinstance(one, Trouble)]


def message(**changed: Any) -> dict[str, Any]:
    return {
        "connectionId": ID,
        "timestamp": 5,
        "type": 499,
        "payload": {"exitStatus": 3},
        "channelId": 7,
        **changed,
    }


def only(value: Any) -> Message:
    [one] = found(packed(value))
    assert isinstance(one, Message), one
    return one


def test_the_real_sample_of_version_1_is_printed_as_the_reference_does() -> None:
    lines = [line(one) for one in found(SAMPLE.read_bytes()) if isinstance(one, Message)]
    assert len(lines) == 11
    start = '{"connectionId":"b55b141aab3741d7b7858db45aa129e8","timestamp":'
    assert lines[0] == (
        f'{start}1625081015047410200,"type":0,"typeId":"connect","typeName":"Connect",'
        '"payload":{"remoteAddr":"::1","country":"XX"},"channelId":null}'
    )
    assert lines[1] == (
        f'{start}1625081015850043300,"type":100,"typeId":"auth_password","typeName":"Password authentication",'
        '"payload":{"username":"foo","password":"YmFy"},"channelId":null}'
    )
    assert lines[3] == (
        f'{start}1625081015861923300,"type":199,"typeId":"invalid","typeName":"invalid",'
        '"payload":{"username":"foo"},"channelId":null}'
    )
    assert lines[5] == (
        f'{start}1625081030192995300,"type":404,"typeId":"pty","typeName":"Request interactive terminal",'
        '"payload":{"requestId":0,"term":"xterm-256color","columns":120,"rows":30,"width":640,"height":480,'
        '"modelist":"gQAAJYCAAAAlgAA="},"channelId":0}'
    )
    assert lines[10].endswith('"type":1,"typeId":"disconnect","typeName":"Disconnect","payload":null,"channelId":null}')
    assert troubles(SAMPLE.read_bytes()) == []


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            Entry(0, 1700000000000000001, {"remoteAddr": "192.0.2.7", "country": "XX"}),
            (
                '"timestamp":1700000000000000001,"type":0,"typeId":"connect","typeName":"Connect",'
                '"payload":{"remoteAddr":"192.0.2.7","country":"XX"},"channelId":null}'
            ),
        ),
        (
            Entry(
                303,
                1700000002000000000,
                {"HostToConnect": "db", "PortToConnect": 5432, "OriginatorHost": "127.0.0.1", "OriginatorPort": 50112},
                7,
            ),
            (
                '"timestamp":1700000002000000000,"type":303,"typeId":"new_channel_direct_tcpip",'
                '"typeName":"New client-to-server port forwarding channel","payload":{"HostToConnect":"db",'
                '"PortToConnect":5432,"OriginatorHost":"127.0.0.1","OriginatorPort":50112},"channelId":7}'
            ),
        ),
        (
            Entry(500, 1700000003000000000, {"stream": 1, "data": b"hi"}, 6),
            (
                '"timestamp":1700000003000000000,"type":500,"typeId":"io","typeName":"I/O",'
                '"payload":{"stream":1,"data":"aGk="},"channelId":6}'
            ),
        ),
        (
            Entry(403, 1, {"requestId": 0, "program": 'a<b>&"\\\n\t\b\f\x01\u2028\x7fé'}, 0),
            (
                '"timestamp":1,"type":403,"typeId":"exec","typeName":"Execute program","payload":{"requestId":0,'
                '"program":"a\\u003cb\\u003e\\u0026\\"\\\\\\n\\t\\b\\f\\u0001\\u2028\x7fé"},"channelId":0}'
            ),
        ),
    ],
)
def test_a_line_is_the_reference_s(made: Entry, expected: str) -> None:
    [one] = found(packed(encode(ID, made)))
    assert isinstance(one, Message)
    assert line(one) == f'{{"connectionId":"{ID}",{expected}'


def test_names_that_the_reference_lacks_are_given_when_asked_for() -> None:
    one = only(message(type=199, payload={"username": "a"}, channelId=None))
    assert '"typeId":"handshake_successful"' in line(one, names_all=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"payload": cbor2.CBORTag(1000, {"exitStatus": 3})},
        {"payload": {"EXITSTATUS": 3}},
        {"payload": {"exitStatus": 1, "ExitStatus": 3}},
        {"payload": {"exitStatus": 3.9}},
        {"payload": {"exitStatus": 3 + 2**32}},
        {"new": "key"},
        {"payload": {"exitStatus": 3, "new": [1, 2]}},
    ],
)
def test_what_the_reference_s_decoder_takes_is_taken(changed: dict[str, Any]) -> None:
    assert only(message(**changed)).payload == {"exitStatus": 3}


def test_indefinite_lengths_and_pieces_are_taken() -> None:
    body = (
        b"\xbf\x6cconnectionId\x7f\x62c1\x61x\xff\x69timestamp\x1b" + bytes(7) + b"\x05\x64type\x19\x01\xf4"
        b"\x67payload\xbf\x66stream\x01\x64data\x5f\x42hi\x41!\xff\xff\x69channelId\xf7\xff"
    )
    one = only(body)
    assert (one.connection_id, one.payload, one.channel) == ("c1x", {"stream": 1, "data": b"hi!"}, None)


def test_what_is_missing_is_empty() -> None:
    one = only({"type": 404})
    assert (one.connection_id, one.timestamp, one.channel) == ("", 0, None)
    assert one.payload == {
        "requestId": 0,
        "term": "",
        "columns": 0,
        "rows": 0,
        "width": 0,
        "height": 0,
        "modelist": None,
    }


def test_snapshots_called_the_data_otherwise() -> None:
    assert only(message(type=500, payload={"stream": 1, "testdata": b"x"})).payload == {"stream": 1, "data": b"x"}


def test_text_that_is_no_utf_8_hides_nothing() -> None:
    bad = cbor2.dumps(message(type=403, payload={"requestId": 1, "program": "XX"})).replace(b"XX", b"\xff\xe9")
    first, second = found(packed(bad, message()))
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert first.payload["program"] == "\udcff\udce9"
    assert '"program":"\ufffd\ufffd"' in line(first)


def test_a_kind_that_is_not_known_is_kept_and_the_rest_too() -> None:
    first, second = found(packed(message(type=777, payload={"x": 1}), message()))
    assert isinstance(first, Message)
    assert (first.kind, first.payload) == (None, {"x": 1})
    assert line(first) == '{"error":"failed to decode messages (invalid message type: 777)"}'
    assert isinstance(second, Message)


@pytest.mark.parametrize(
    "bad",
    [
        message(payload={"exitStatus": -1}),
        message(payload={"exitStatus": "x"}),
        message(payload={1: 2}),
        message(payload=[1]),
        message(type=403, payload={"program": b"bytes"}),
        message(type=500, payload={"data": "text"}),
        message(channelId=-1),
        message(timestamp=1.5),
        message(connectionId=5),
        [1, 2, 3],
        "text",
        b"\x1c",
        b"\xff",
        b"\x9b" + b"\x7f" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\x9f" * 1000,
        b"\xc1" * 1000,
        b"\x5f\x61a\xff",
        b"\x5f\x5f\xff\xff",
        b"\xf8\xff",
        b"\x3f",
    ],
)
def test_a_message_that_is_none_is_told_and_the_next_one_read(bad: Any) -> None:
    first, *between, last = found(packed(message(timestamp=1), bad, message(timestamp=2)))
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert (first.timestamp, last.timestamp) == (1, 2)
    assert between
    start = len(cbor2.dumps(message(timestamp=1)))
    told = between[0]
    assert isinstance(told, Trouble)
    assert told.offset == start
    assert not told.is_packed


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_closed_or_not(version: int, closed: bool) -> None:
    body: list[Any] = [b"\x9f", message(), message(), b"\xff"] if version == 1 else [message(), message()]
    assert numbers(packed(*body, version=version, closed=closed)) == [499, 499]
    assert troubles(packed(*body, version=version, closed=closed)) == []


def test_members_in_a_row_are_one_recording() -> None:
    two = packed(message(), closed=True) + packed(message(), closed=True)[40:]
    assert numbers(two) == [499, 499]
    assert troubles(two) == []


def test_bytes_after_the_end_are_told() -> None:
    [trouble] = troubles(packed(message(), closed=True) + b"more")
    assert trouble.is_packed
    assert "damaged" in trouble.text


def test_a_cut_array_of_version_1_gives_what_it_has() -> None:
    cut = packed(b"\x9f", message(), cbor2.dumps(message())[:20], version=1)
    assert numbers(cut) == [499]
    assert [trouble.is_cut for trouble in troubles(cut)] == [True]


@pytest.mark.parametrize(
    ("data", "text", "is_cut"),
    [
        (b"", "the file is empty", True),
        (HEADER[:20], "the header is cut", True),
        (HEADER, "there is no message in it yet", True),
        (b"x" * 100, "this is no recording", False),
        (MAGIC + (3).to_bytes(8, "little"), "version 3 of the format is not known", False),
        (MAGIC + bytes(8), "version 0 of the format is not known", False),
        (HEADER + b"no gzip at all", "the compressed bytes are damaged (incorrect header check)", False),
    ],
)
def test_what_is_no_recording_is_told_in_one_sentence(data: bytes, text: str, is_cut: bool) -> None:
    [trouble] = troubles(data)
    assert (trouble.text, trouble.is_cut) == (text, is_cut)


def test_a_recording_cut_anywhere_gives_a_beginning_and_is_never_called_damaged() -> None:
    full, every = whole(), numbers(whole())
    for size in range(len(full)):
        cut = full[:size]
        got = numbers(cut)
        assert got == every[: len(got)]
        assert all(trouble.is_cut for trouble in troubles(cut)), size


def test_a_flipped_bit_costs_no_message_before_it() -> None:
    full, every = whole(), numbers(whole())
    ends = [len(full)]
    packer = Packer()
    size = len(packer.begin())
    ends = [size := size + len(packer.pack([encode(ID, entry)])) for entry in ENTRIES]
    for index in range(40, len(full)):
        broken = bytearray(full)
        broken[index] ^= 0x10
        before = sum(1 for end in ends if end <= index)
        assert numbers(bytes(broken))[:before] == every[:before], index


@given(st.binary(max_size=400))
def test_whatever_a_file_holds_reading_it_ends_well(body: bytes) -> None:
    for data in (body, HEADER + body, packed(body), packed(body, message()), packed(b"\x9f", body, version=1)):
        for one in found(data):
            assert isinstance(one, Message | Trouble)
            assert str(one)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8), st.integers(1, 64))
def test_damage_anywhere_ends_well_however_the_bytes_come(place: int, damage: bytes, size: int) -> None:
    broken = bytearray(whole())
    place %= len(broken)
    broken[place : place + len(damage)] = damage
    once = found(bytes(broken))
    pieces = [bytes(broken[at : at + size]) for at in range(0, len(broken), size)]
    again = list(read(pieces))
    assert [one for one in once if isinstance(one, Message)] == [one for one in again if isinstance(one, Message)]


def test_a_flood_packed_small_is_read_piece_by_piece() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    one = cbor2.dumps(message(type=500, payload={"stream": 1, "data": b"a" * 1_000_000}))
    data = HEADER + b"".join(deflate.compress(one) for _ in range(100)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 200_000
    total = 0
    for got in read([data]):
        assert isinstance(got, Message)
        total += len(got.payload["data"])
    assert total == 100_000_000
