"""Files are told of from the bytes that go by, however they are cut, and nonsense ends the listening, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.audit import scp
from moorage.audit.codec import Entry
from moorage.audit.filewatch import FileWatch
from moorage.audit.scp import ScpListener
from moorage.audit.sftp import LONGEST_PACKET, MOST_BYTES, MOST_CAPTURED, MOST_HANDLES, MOST_REQUESTS, SftpListener
from moorage.audit.transfers import FILE, Fact, Keep, Listener

NOWHERE = Keep()


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def text(value: bytes) -> bytes:
    return u32(len(value)) + value


def packet(kind: int, *parts: bytes) -> bytes:
    body = bytes([kind]) + b"".join(parts)
    return u32(len(body)) + body


def request(kind: int, number: int, *parts: bytes) -> bytes:
    return packet(kind, u32(number), *parts)


def status(number: int, code: int = 0) -> bytes:
    return packet(101, u32(number), u32(code), text(b""), text(b""))


CONTENT = os.urandom(70_000)
Talk = list[tuple[str, bytes]]


def upload(content: bytes = CONTENT, *, path: bytes = b"/tmp/x", order: Iterable[int] = (0, 1, 2)) -> Talk:
    """What a client and a server say for one upload in three writes."""
    third = len(content) // 3 + 1
    talk: Talk = [
        ("c", request(3, 1, text(path), u32(0x1A), u32(4), u32(0o100755))),
        ("s", packet(102, u32(1), text(b"h"))),
    ]
    for number in order:
        at = number * third
        talk.append(("c", request(6, 10 + number, text(b"h"), at.to_bytes(8, "big"), text(content[at : at + third]))))
        talk.append(("s", status(10 + number)))
    return [*talk, ("c", request(4, 2, text(b"h"))), ("s", status(2))]


def facts(listener: Listener, talk: Talk, size: int = 1 << 30) -> list[dict[str, Any]]:
    def told() -> Iterator[Fact]:
        for side, data in talk:
            for at in range(0, len(data), size):
                piece = data[at : at + size]
                yield from listener.client(piece) if side == "c" else listener.server(piece)
        yield from listener.end()

    return [fact.as_json() for fact in told()]


UPLOADED = {
    "operation": "upload",
    "path": "/tmp/x",
    "result": "ok",
    "mode": "0755",
    "size": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "kept": False,
}


def test_an_upload_is_told_with_its_hash() -> None:
    assert facts(SftpListener(NOWHERE), upload()) == [UPLOADED]


@given(st.integers(1, 300))
def test_it_is_the_same_however_the_bytes_are_cut(size: int) -> None:
    small = CONTENT[:1000]
    assert facts(SftpListener(NOWHERE), upload(small), size) == [
        {**UPLOADED, "size": 1000, "sha256": hashlib.sha256(small).hexdigest()}
    ]


def test_content_in_another_order_has_a_hash_where_it_is_kept(tmp_path: Path) -> None:
    talk = upload(order=(0, 2, 1))
    assert facts(SftpListener(NOWHERE), talk) == [{**UPLOADED, "sha256": ""}]
    assert facts(SftpListener(Keep(tmp_path, 1 << 20)), talk) == [{**UPLOADED, "kept": True}]
    [kept] = tmp_path.iterdir()
    assert (kept.name, kept.read_bytes(), kept.stat().st_mode & 0o777) == (str(UPLOADED["sha256"]), CONTENT, 0o600)


def test_the_same_content_is_kept_once_and_what_is_too_large_not_at_all(tmp_path: Path) -> None:
    keep = Keep(tmp_path, len(CONTENT))
    facts(SftpListener(keep), upload())
    facts(SftpListener(keep), upload(path=b"/other"))
    assert len(list(tmp_path.iterdir())) == 1
    large = CONTENT + b"x"
    [fact] = facts(SftpListener(keep), upload(large))
    assert (fact["kept"], fact["sha256"]) == (False, hashlib.sha256(large).hexdigest())
    assert len(list(tmp_path.iterdir())) == 1


def test_an_upload_that_is_not_closed_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    [fact] = facts(SftpListener(Keep(tmp_path, 1 << 20)), upload()[:6])
    assert fact["result"] == "not closed"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_write_that_failed_is_no_content() -> None:
    talk = upload()
    talk[3] = ("s", status(10, 4))
    [fact] = facts(SftpListener(NOWHERE), talk)
    assert (fact["result"], fact["sha256"]) == ("failure", "")


def test_a_download_is_what_the_server_has_sent() -> None:
    talk: Talk = [
        ("c", packet(1, u32(3))),
        ("s", packet(2, u32(3), text(b"ext"), text(b"1"))),
        ("c", request(3, 1, text(b"f"), u32(1), u32(0))),
        ("s", packet(102, u32(1), text(b"h"))),
        ("c", request(5, 2, text(b"h"), (0).to_bytes(8, "big"), u32(1000))),
        ("c", request(5, 3, text(b"h"), (5).to_bytes(8, "big"), u32(1000))),
        ("s", packet(103, u32(2), text(b"hello"))),
        ("s", status(3, 1)),
        ("c", request(4, 4, text(b"h"))),
        ("s", status(4)),
    ]
    [fact] = facts(SftpListener(NOWHERE), talk)
    assert (fact["operation"], fact["size"], fact["result"]) == ("download", 5, "ok")
    assert fact["sha256"] == hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(13, 1, text(b"a")), {"operation": "remove", "path": "a"}),
        (request(14, 1, text(b"a"), u32(0)), {"operation": "mkdir", "path": "a"}),
        (request(15, 1, text(b"a")), {"operation": "rmdir", "path": "a"}),
        (request(18, 1, text(b"a"), text(b"b\xff")), {"operation": "rename", "path": "a", "target": "b\\xff"}),
        (request(20, 1, text(b"a"), text(b"b")), {"operation": "symlink", "path": "a", "target": "b"}),
        (request(9, 1, text(b"a"), u32(4), u32(0o644)), {"operation": "chmod", "path": "a", "mode": "0644"}),
        (
            request(200, 1, text(b"posix-rename@openssh.com"), text(b"a"), text(b"b")),
            {"operation": "rename", "path": "a", "target": "b"},
        ),
        (request(3, 1, text(b"a"), u32(2), u32(0)), {"operation": "upload", "path": "a"}),
    ],
)
def test_other_operations_are_told_with_their_result(asked: bytes, expected: dict[str, Any]) -> None:
    [fact] = facts(SftpListener(NOWHERE), [("c", asked), ("s", status(1, 3))])
    assert {name: fact[name] for name in expected} == expected
    assert fact["result"] == "permission denied"


@pytest.mark.parametrize(
    "talk",
    [
        [("c", u32(LONGEST_PACKET + 1))],
        [("c", u32(0))],
        [("c", request(3, 1, u32(1 << 31)))],
        [("s", packet(102, b"\0"))],
        [("c", request(4, number, text(b"h"))) for number in range(MOST_REQUESTS + 1)],
        [("c", request(15, number, text(b"x" * 200_000))) for number in range(MOST_BYTES // 200_000 + 1)],
    ],
)
def test_nonsense_is_said_once_and_ends_the_listening(talk: Talk) -> None:
    listener = SftpListener(NOWHERE)
    told = facts(listener, [*talk, *upload()])
    assert [fact["operation"] for fact in told].count("unknown") == 1
    assert "cannot be followed" in told[0]["result"] or "that can be followed" in told[0]["result"]
    assert UPLOADED not in told


def opened(number: int, path: bytes = b"p", *, flags: int = 1) -> Talk:
    return [
        ("c", request(3, number, text(path), u32(flags), u32(0))),
        ("s", packet(102, u32(number), text(u32(number)))),
    ]


def test_ten_thousand_files_that_are_open_at_once_are_all_told_of() -> None:
    count = 10_000
    talk = [one for number in range(count) for one in opened(number, b"/f/%d" % number)]
    for number in range(count):
        data = b"content of %d" % number
        talk.append(("c", request(5, number, text(u32(number)), bytes(8), u32(100))))
        talk.append(("s", packet(103, u32(number), text(data))))
    for number in range(count):
        talk += [("c", request(4, number, text(u32(number)))), ("s", status(number))]
    told = facts(SftpListener(NOWHERE), talk)
    assert [(fact["path"], fact["sha256"], fact["result"]) for fact in told] == [
        (f"/f/{number}", hashlib.sha256(b"content of %d" % number).hexdigest(), "ok") for number in range(count)
    ]


@pytest.mark.parametrize(("path", "room"), [(b"p", MOST_HANDLES), (b"x" * 200_000, MOST_BYTES // 200_004)])
def test_files_beyond_what_memory_is_for_are_told_of_and_the_rest_is_followed(path: bytes, room: int) -> None:
    talk = [one for number in range(room + 1) for one in opened(number, path)]
    told = facts(SftpListener(NOWHERE), [*talk, ("c", request(4, 1, text(u32(0)))), ("s", status(1)), *upload()])
    assert told[0]["result"] == "not followed: too many open files"
    assert told[1]["result"] == "ok"
    assert UPLOADED in told
    assert len(told) == room + 2


def test_uploads_that_are_open_at_once_take_few_descriptors(tmp_path: Path) -> None:
    count = MOST_CAPTURED + 5
    talk = [one for number in range(count) for one in opened(number, flags=2)]
    for number in range(count):
        talk.append(("c", request(6, number, text(u32(number)), bytes(8), text(b"%d" % number))))
        talk.append(("s", status(number)))
    before = len(os.listdir("/proc/self/fd"))
    listener = SftpListener(Keep(tmp_path, 1000))
    for side, data in talk:
        assert list(listener.client(data) if side == "c" else listener.server(data)) == []
    assert len(os.listdir("/proc/self/fd")) - before <= MOST_CAPTURED
    told = [fact.as_json() for fact in listener.end()]
    assert [fact["kept"] for fact in told] == [True] * MOST_CAPTURED + [False] * 5
    assert all(fact["sha256"] for fact in told)


@given(st.lists(st.tuples(st.sampled_from("cs"), st.binary(max_size=60)), max_size=20))
def test_whatever_is_said_nothing_fails(talk: Talk) -> None:
    for listener in (
        SftpListener(NOWHERE),
        ScpListener(NOWHERE, "upload", b"x"),
        ScpListener(NOWHERE, "download", b"x"),
    ):
        facts(listener, talk)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"scp -t /tmp/x", ("upload", b"/tmp/x")),
        (b"/usr/bin/scp -v -r -p -f 'a b'", ("download", b"a b")),
        (b"scp -prt -- dir", ("upload", b"dir")),
        (b"scp a b", None),
        (b"echo scp -t x", None),
        (b"scp -t 'unbalanced", None),
        (b"", None),
    ],
)
def test_scp_is_known_by_its_command(command: bytes, expected: tuple[str, bytes] | None) -> None:
    assert scp.direction(command) == expected


@given(st.integers(1, 40))
def test_a_tree_by_scp_is_told_file_by_file(size: int) -> None:
    talk = b"T1 0 1 0\nD0755 0 dir\nC0644 5 one\nhello\0C0600 0 empty\n\0E\nC0644 3 two\nabc\0"
    told = facts(ScpListener(NOWHERE, "upload", b"/t"), [("c", talk), ("s", b"\0\0\0")], size)
    assert [(fact["path"], fact["mode"], fact["size"], fact["sha256"]) for fact in told] == [
        ("/t/dir/one", "0644", 5, hashlib.sha256(b"hello").hexdigest()),
        ("/t/dir/empty", "0600", 0, hashlib.sha256(b"").hexdigest()),
        ("/t/two", "0644", 3, hashlib.sha256(b"abc").hexdigest()),
    ]


def test_what_a_command_is_given_to_read_is_a_file_but_what_is_typed_is_not() -> None:
    def io(channel: int, data: bytes) -> Entry:
        return Entry(500, 5, {"stream": 0, "data": data}, channel, is_kept=False)

    entries = [
        Entry(403, 1, {"requestId": 0, "program": "cat > x"}, 0),
        io(0, b"mal"),
        io(0, b"ware"),
        Entry(404, 1, {}, 1),
        Entry(403, 2, {"requestId": 0, "program": "cat > y"}, 1),
        io(1, b"typed"),
        Entry(496, 6, channel=0),
        Entry(1, 7),
    ]
    told = list(FileWatch(NOWHERE).of(entries))
    assert [one.number for one in told] == [403, 404, 403, 496, 400, 1]
    fact = told[4]
    assert (fact.payload["requestType"], fact.channel) == (FILE, 0)
    assert json.loads(fact.payload["payload"]) == {
        "operation": "stdin",
        "path": "cat > x",
        "result": "ok",
        "size": 7,
        "sha256": hashlib.sha256(b"malware").hexdigest(),
        "kept": False,
    }
