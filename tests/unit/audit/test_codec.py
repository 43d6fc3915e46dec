"""The bytes that are written: the reference's vectors, and that what is written is what is read."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit.codec import HEADER, Entry, Packer, encode
from moorage.audit.kinds import KINDS, Field
from moorage.audit.recording import Found, Message, read

CONNECT = Entry(0, 1, {"remoteAddr": "192.0.2.7", "country": "XX"})
CONNECT_HEX = (
    "a56c636f6e6e656374696f6e49646263316974696d657374616d7001647479706500677061796c6f6164a26a72656d6f746541646472"
    "693139322e302e322e3767636f756e747279625858696368616e6e656c4964f6"
)
DISCONNECT = Entry(1, 2)
DISCONNECT_HEX = (
    "a56c636f6e6e656374696f6e49646263316974696d657374616d7002647479706501677061796c6f6164f6696368616e6e656c4964f6"
)


def file_of(*entries: Entry, level: int = 3) -> bytes:
    packer = Packer(level=level)
    return packer.begin() + b"".join(packer.pack([encode("c1", entry)]) for entry in entries)


def found(*pieces: bytes) -> list[Found]:
    return list(read(pieces))


def messages(*pieces: bytes) -> list[Message]:
    every = found(*pieces)
    assert all(isinstance(one, Message) for one in every), every
    return [one for one in every if isinstance(one, Message)]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (CONNECT, CONNECT_HEX),
        (DISCONNECT, DISCONNECT_HEX),
    ],
)
def test_a_message_has_the_reference_s_bytes(entry: Entry, expected: str) -> None:
    assert encode("c1", entry).hex() == expected


@pytest.mark.parametrize(
    ("entry", "payload"),
    [
        (Entry(202, 0, {"BindHost": "h", "BindPort": 8080}), "a26842696e64486f737461686842696e64506f7274191f90"),
        (Entry(500, 0, {"stream": 1, "data": b"hi"}, 0), "a26673747265616d016464617461426869"),
        (Entry(499, 0, {"exitStatus": 1}, 0), "a16a6578697453746174757301"),
        (Entry(100, 0, {"username": "foo", "password": None}), "a268757365726e616d6563666f6f6870617373776f7264f6"),
    ],
)
def test_a_payload_has_the_reference_s_bytes(entry: Entry, payload: str) -> None:
    assert payload in encode("c1", entry).hex()


def test_a_password_that_is_not_kept_is_an_empty_byte_string() -> None:
    payload = cbor2.loads(encode("c1", Entry(100, 0, {"username": "foo"})))["payload"]
    assert payload == {"username": "foo", "password": b""}


def test_a_file_begins_as_the_reference_s_and_is_never_closed() -> None:
    whole = file_of(CONNECT, DISCONNECT)
    assert whole[:40] == b"ContainerSSH-Auditlog" + bytes(11) + (2).to_bytes(8, "little") == HEADER
    assert whole[40:50].hex() == "1f8b08000000000000ff"
    assert whole.endswith(bytes.fromhex("0000ffff"))
    stream = zlib.decompressobj(31)
    assert stream.decompress(whole[40:]).hex() == CONNECT_HEX + DISCONNECT_HEX
    assert not stream.eof


def test_every_kind_has_its_keys_in_the_format_s_order() -> None:
    for kind in KINDS:
        message = cbor2.loads(encode("c1", Entry(kind.number, 5, channel=3)))
        assert list(message) == ["connectionId", "timestamp", "type", "payload", "channelId"]
        assert message["payload"] is None if not kind.has_payload else list(message["payload"]) == list(kind.fields)
    assert len({kind.number for kind in KINDS}) == len(KINDS)


def test_text_that_is_no_utf_8_is_repaired() -> None:
    entry = Entry(403, 0, {"requestId": 0, "program": b"echo \xff\xe9".decode("utf-8", "surrogateescape")}, 0)
    [message] = messages(file_of(entry))
    assert message.payload["program"] == "echo \ufffd\ufffd"


def test_what_a_reader_does_not_know_comes_after_the_fields() -> None:
    entry = Entry(1, 0, extra={"chain": b"x"})
    [message] = messages(file_of(entry))
    assert (message.payload, message.extra) == ({}, {"chain": b"x"})


_FIELDS: dict[Field, st.SearchStrategy[Any]] = {
    Field.TEXT: st.text(max_size=40),
    Field.BYTES: st.binary(max_size=200),
    Field.NUMBER: st.integers(0, 2**64 - 1),
    Field.NUMBER32: st.integers(0, 2**32 - 1),
    Field.FLAG: st.booleans(),
    Field.QUESTIONS: st.lists(st.fixed_dictionaries({"question": st.text(), "echo": st.booleans()}), max_size=3),
    Field.ANSWERS: st.lists(st.fixed_dictionaries({"question": st.text(), "answer": st.text()}), max_size=3),
}


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(KINDS))
    payload = {name: draw(_FIELDS[field]) for name, field in kind.fields.items()}
    channel = draw(st.none() | st.integers(0, 2**64 - 1))
    return Entry(kind.number, draw(st.integers(0, 2**63 - 1)), payload, channel)


@given(st.lists(entries(), min_size=1, max_size=8), st.integers(1, 200))
def test_what_is_written_is_what_is_read(written: list[Entry], size: int) -> None:
    whole = file_of(*written)
    again = messages(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert [Entry(one.number, one.timestamp, one.payload, one.channel) for one in again] == written
    assert {one.connection_id for one in again} == {"c1"}


@pytest.mark.parametrize("size", [20_000, 70_000, 300_000])
def test_dense_bytes_are_stored_and_come_back_among_others(size: int) -> None:
    dense, thin = os.urandom(size), b"ls -l\n" * (size // 6)

    def io(data: bytes) -> Entry:
        return Entry(500, 0, {"stream": 1, "data": data}, 0)

    def written() -> Iterable[Entry]:
        for _ in range(3):
            yield io(thin)
            yield io(dense)
            yield io(b"x")

    whole = file_of(*written())
    assert [one.payload["data"] for one in messages(whole)] == [thin, dense, b"x"] * 3
    assert 3 * size < len(whole) < 6.3 * size + 1000  # the thin ones that come after dense ones may be stored too
