"""A report counts what was done, in bounded memory, and its page is safe whatever it counts."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit.reading import report as module
from moorage.audit.reading.report import Report
from moorage.audit.recording import Message


def message(number: int, channel: int | None = None, extra: dict[str, Any] | None = None, **payload: Any) -> Message:
    return Message("c1", 1_700_000_000_000_000_000, number, payload, channel, 0, extra or {})


def typed(data: bytes, channel: int = 0) -> Message:
    return message(500, channel, stream=0, data=data)


def test_every_number_is_what_was_done() -> None:
    report = Report()
    fact = {"operation": "upload", "path": "/tmp/x", "result": "ok", "size": 1, "sha256": "ab" * 32, "kept": True}
    report.add(
        [
            message(0, remoteAddr="192.0.2.7", country="CH"),
            message(200, requestType="client@moorage", extra={"version": "SSH-2.0-Go", "hassh": "h"}),
            message(100, username="root", password=b"1"),
            message(102, username="root", password=b"1"),
            message(104, username="root", key="ssh-ed25519 A"),
            message(199, username="root"),
            message(404, 0, term="x"),
            typed(b"wge"),
            typed(b"t http://x\r\x1b[Aid\runfinished"),
            message(403, 1, program="uname"),
            typed(b"not typed\n", 1),
            message(303, 2, HostToConnect="h", PortToConnect=25, OriginatorHost="", OriginatorPort=0),
            message(400, 1, requestType="file@moorage", payload=json.dumps(fact).encode()),
            message(400, 1, requestType="file@moorage", payload=b"no json"),
        ]
    )
    report.add([message(0, remoteAddr="192.0.2.8", country="CH")])
    report.add([])
    found = report.as_json(10)
    top = {title: {row["value"]: row["count"] for row in rows} for title, rows in found.pop("top").items()}
    assert found == {
        "from": "2023-11-14T22:13:20.000Z",
        "to": "2023-11-14T22:13:20.000Z",
        "connections": 2,
        "logins": 1,
        "attempts": 2,
        "hours": {"2023-11-14T22": 2},
    }
    assert top == {
        "Sources": {"192.0.2.7": 1, "192.0.2.8": 1},
        "Countries": {"CH": 2},
        "User names": {"root": 2},
        "Passwords": {"1": 1},
        "User names and passwords": {"root:1": 1},
        "Commands": {"wget http://x": 1, "id": 1, "unfinished": 1, "uname": 1},
        "Files": {f"{'ab' * 32} /tmp/x": 1},
        "Tunnels asked for": {"h:25": 1},
        "Client programs": {"SSH-2.0-Go": 1},
        "Client fingerprints (HASSH)": {"h": 1},
        "Public keys": {"ssh-ed25519 A": 1},
    }


def test_counting_is_bounded_and_keeps_what_is_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 100)
    count = module.Count()
    for number in range(1000):
        count.note("often")
        count.note(f"rare {number}" + "x" * 10_000)
    assert count["often"] == 1000
    assert len(count) <= 101
    assert max(map(len, count)) == 200


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@given(st.text(max_size=40) | st.sampled_from(["<script>alert(1)</script>", '"><img src=x onerror=y>', "</code>'"]))
def test_nothing_that_was_typed_becomes_a_part_of_the_page(text: str) -> None:
    report = Report()
    report.add(
        [
            message(0, remoteAddr=text, country=text),
            message(100, username=text, password=text.encode("utf-8", "surrogatepass")),
            message(403, 0, program=text),
            message(200, requestType="client@moorage", extra={"version": text, "hassh": text}),
        ]
    )
    page, seen = report.as_html(10), Seen()
    page.encode()
    seen.feed(page)
    assert seen.tags <= {
        *("html", "meta", "title", "style", "h1", "h2", "small", "div", "b", "section", "table", "tr", "td", "svg"),
        *("rect", "code"),
    }
    assert not seen.attributes & {"src", "href", "onerror", "onload", "action"}
    assert all(line.isprintable() for line in report.as_text(10).splitlines())


def test_no_recordings_are_a_report_too() -> None:
    report = Report()
    assert "0 connections" in report.as_text(10)
    assert "<h1>" in report.as_html(10)
    json.dumps(report.as_json(10))


def test_a_password_that_was_asked_for_as_a_question_counts_as_one() -> None:
    report = Report()
    answers = [{"question": "Password: ", "answer": "123456"}, {"question": "Your pet?", "answer": "cat"}, "odd"]
    report.add([message(109, username="root", answers=answers), message(109, username="root", answers=None)])
    found = report.as_json(10)
    assert found["attempts"] == 2
    assert found["top"]["Passwords"] == [{"value": "123456", "count": 1}]
    assert found["top"]["User names and passwords"] == [{"value": "root:123456", "count": 1}]
