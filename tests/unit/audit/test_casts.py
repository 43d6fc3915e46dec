"""Asciicasts are read as recordings, whatever is in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit import casts
from moorage.audit.asciicast import AsciicastPacker
from moorage.audit.codec import Entry
from moorage.audit.reading.exporting import asciicast, channel_of
from moorage.audit.reading.source import S3Access, sources
from moorage.audit.reading.summary import State, summary
from moorage.audit.recording import Found, Message, Trouble, read

V2 = b"""{"version":2,"width":100,"height":30,"timestamp":1700000000,"command":"top","env":{"TERM":"xterm"}}
[0.5,"o","h\\u00e9llo\\r\\n"]
[0.75,"i","q"]
[1,"r","120x40"]
[1.25,"m","a mark"]
"""
V3 = b"""{"version":3,"term":{"cols":100,"rows":30,"type":"xterm"},"timestamp":1700000000,"command":"top"}
# a comment
[0.5,"o","one"]
[0.25,"o","two"]
[0.25,"x","3"]
"""


def messages(data: bytes) -> list[Message]:
    every = list(read([data]))
    assert all(isinstance(one, Message) for one in every), every
    return [one for one in every if isinstance(one, Message)]


def told(data: bytes) -> list[tuple[float, int, object]]:
    value = {500: "data", 403: "program", 404: "columns", 408: "columns", 499: "exitStatus", 402: "value"}
    return [((one.timestamp - 17 * 10**17) / 1e9, one.number, one.payload[value[one.number]]) for one in messages(data)]


def test_version_2() -> None:
    begun = [(0, 402, "xterm"), (0, 404, 100), (0, 403, "top")]
    assert told(V2) == [*begun, (0.5, 500, "héllo\r\n".encode()), (0.75, 500, b"q"), (1.0, 408, 120)]
    assert [one.payload["stream"] for one in messages(V2) if one.number == 500] == [1, 0]


def test_version_3_counts_time_from_event_to_event() -> None:
    assert told(V3)[2:] == [(0.5, 500, b"one"), (0.75, 500, b"two"), (1.0, 499, 3)]


def test_what_we_write_is_what_we_read_and_export() -> None:
    packer = AsciicastPacker()
    entries = [
        Entry(0, 10**18, {}),
        Entry(404, 10**18, {"term": "vt100", "columns": 90, "rows": 20}, 0),
        Entry(405, 10**18, {}, 0),
        Entry(500, 10**18 + 2 * 10**9, {"stream": 1, "data": b"shown"}, 0),
    ]
    every = messages(packer.begin() + packer.pack(entries) + packer.end())
    *_, last = every
    assert (last.timestamp, last.payload) == (10**18 + 2 * 10**9, {"stream": 1, "data": b"shown"})
    assert channel_of(every) == 0
    head, event = list(asciicast(every, 0))
    assert (json.loads(head)["width"], json.loads(event)) == (90, [2.0, "o", "shown"])


def test_a_cast_in_a_directory_is_found_and_never_called_complete(tmp_path: Path) -> None:
    (tmp_path / "session.cast").write_bytes(V2)
    (tmp_path / "notes.txt").write_bytes(b"x")
    [source] = sources([str(tmp_path)], S3Access())
    found = summary(source)
    assert (found.state, found.bytes_in, found.bytes_out, found.programs) == (State.UNPROVED, 1, 8, ["top"])


@pytest.mark.parametrize("version", [1, 4, True, None, "2"])
def test_another_version_is_refused_by_name(version: object) -> None:
    [trouble] = read([json.dumps({"version": version}).encode()])
    assert isinstance(trouble, Trouble)
    assert "version 2 or 3" in trouble.text


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"{}",
        b"nonsense",
        b"[" * 100_000,
        b'[-1,"o","x"]',
        b'[NaN,"o","x"]',
        b'[1e99,"o","x"]',
        b"[true,1,2]",
        b"[" + b"9" * 5000 + b',"o","x"]',
        b'[1,"o",2]',
        b"\xff\xfe",
    ],
)
def test_a_line_that_is_none_is_told_and_passed_over(line: bytes) -> None:
    every = list(read([V2 + line + b'\n[2,"o","after"]\n']))
    [trouble] = [one for one in every if isinstance(one, Trouble)]
    assert trouble.offset == len(V2)
    last = every[-1]
    assert isinstance(last, Message)
    assert last.payload["data"] == b"after"


def test_a_line_that_is_too_long_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casts, "LONGEST_LINE", 200)
    pieces = [V2, *[b"x" * 100] * 50, b'\n[2,"o","after"]']
    every = list(read(pieces))
    assert [one.text for one in every if isinstance(one, Trouble)] == ["this is no event: a line that is too long"]
    assert isinstance(every[-1], Message)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_nothing_in_a_file_makes_the_reader_fail(data: bytes, width: int) -> None:
    whole = V2[:-1] + data
    every: list[Found] = list(read(whole[at : at + width] for at in range(0, len(whole), width)))
    assert sum(isinstance(one, Message) for one in every) >= 5
