"""Lines, words, searches and exports of recordings."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit.reading import exporting, showing
from moorage.audit.reading.searching import hits
from moorage.audit.reading.summary import Lines
from moorage.audit.reading.words import duration, jsonable, moment, plain, safe, size
from moorage.audit.recording import Message


def message(number: int, at: float = 0, channel: int | None = 0, **payload: Any) -> Message:
    return Message("c1", int(at * 1e9), number, payload, channel, 0, {})


def shown(data: bytes, *, at: float = 0, stream: int = 1, channel: int = 0) -> Message:
    return message(500, at, channel, stream=stream, data=data)


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_nothing_that_is_shown_can_drive_a_terminal(text: str) -> None:
    for one in (safe(text), showing.as_text(message(403, program=text), 0), showing.as_text(message(777, x=text), 0)):
        assert one.isprintable() or one.strip().isprintable()
        assert "\x1b" not in one


def test_what_cannot_be_printed_can_be_told_apart() -> None:
    assert safe("a\n\x1b[2J\udcff\u202e\x9b") == "a\\n\\e[2J\\xff\\u202e\\x9b"


@given(st.recursive(st.text() | st.binary() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_every_value_can_be_json(value: Any) -> None:
    json.dumps(jsonable(value), ensure_ascii=False).encode()


def test_times_and_sizes_are_for_people() -> None:
    assert moment(1700000000123000000) == "2023-11-14T22:13:20.123Z"
    assert moment(2**63 - 1).startswith("2262-")
    assert [duration(seconds * 10**9) for seconds in (0, 61, 3723)] == ["0:00", "1:01", "1:02:03"]
    assert [size(count) for count in (0, 1023, 1024, 1_500_000, 10**13)] == [
        "0 B",
        "1023 B",
        "1.0 KB",
        "1.4 MB",
        "9.1 TB",
    ]


def test_plain_text_has_no_sequences() -> None:
    assert plain(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b(B\x1bMy") == b"red xy"


def test_lines_are_put_together_for_each_stream() -> None:
    lines, found = Lines(), []
    for one in (
        shown(b"he"),
        shown(b"in", stream=0),
        shown(b"llo\r\nwor"),
        shown(b"put\r", stream=0),
        shown(b"x", channel=1),
    ):
        found += [(stream, line) for _, stream, line in lines.of(one)]
    assert found == [(1, "hello"), (0, "input")]
    assert [(stream, line) for _, stream, line in lines.rest()] == [(1, "wor"), (1, "x")]


def test_a_line_without_an_end_and_streams_without_number_are_bounded() -> None:
    lines = Lines()
    for number in range(3000):
        assert list(lines.of(shown(b"x" * 100_000 if number < 3 else b"x", channel=number % 2000))) == []
    assert len(lines._begun) <= 1024
    assert all(len(rest) <= 65536 for _, rest in lines._begun.values())


def test_a_search_finds_lines_across_pieces_without_colours_and_facts() -> None:
    recording = [
        message(403, program="wget http://x"),
        shown(b"sav\x1b[1mi"),
        shown(b"ng to: \x1b[0mwget.log\n"),
        shown(b"nothing\n"),
        message(104, key="ssh-ed25519 wget", username="root"),
        shown(b"an end with wget", stream=0),
    ]
    found = [(hit.where, hit.text) for hit in hits(recording, re.compile("wget"))]
    assert found == [
        ("exec program", "wget http://x"),
        ("stdout", "saving to: wget.log"),
        ("stdin", "an end with wget"),
    ]


TERMINAL = [
    message(301, 1, 3, channelType="session"),
    message(402, 1, 3, requestId=0, name="LANG", value="C"),
    message(404, 1, 3, requestId=1, term="xterm", columns=120, rows=40, width=0, height=0, modelist=b""),
    message(405, 1.5, 3, requestId=2),
    shown(b"\xc3", at=2, channel=3),
    shown(b"\xa9\x1b[1mx\r\n", at=2.25, channel=3),
    message(408, 3, 3, requestId=3, columns=80, rows=24, width=0, height=0),
    shown(b"typed", at=3.5, stream=0, channel=3),
    shown(b"\xffend", at=4, stream=2, channel=3),
]


def test_an_asciicast_has_the_output_the_sizes_and_the_times() -> None:
    header, *lines = exporting.asciicast([shown(b"other", channel=1), *TERMINAL], 3)
    assert json.loads(header) == {
        "version": 2,
        "width": 120,
        "height": 40,
        "timestamp": 1,
        "command": "",
        "title": "",
        "env": {"LANG": "C", "TERM": "xterm"},
    }
    assert [json.loads(line) for line in lines] == [
        [1.25, "o", "é\x1b[1mx\r\n"],
        [2.0, "r", "80x24"],
        [3.0, "o", "\ufffdend"],
    ]


def test_a_recording_without_output_is_an_empty_asciicast() -> None:
    assert len(list(exporting.asciicast([message(1, channel=None)], None))) == 1


def test_text_is_what_was_shown() -> None:
    assert "".join(exporting.text(TERMINAL[5:], 3)) == "x\nend"


@pytest.mark.parametrize(
    ("recording", "channel"),
    [
        ([shown(b"x", channel=5), *TERMINAL], 3),
        ([shown(b"x", channel=5), shown(b"y", channel=6)], 5),
        ([shown(b"x", stream=0)], None),
    ],
)
def test_the_channel_to_watch_is_a_terminal_or_the_first_with_output(
    recording: list[Message], channel: int | None
) -> None:
    assert exporting.channel_of(recording) == channel
