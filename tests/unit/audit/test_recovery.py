"""A recording that was cut is closed as such, loses nothing that could be read, and is never called complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moorage.audit import recovery
from moorage.audit.chain import CUT
from moorage.audit.codec import Entry
from moorage.audit.reading.source import FileSource
from moorage.audit.reading.summary import State, Summary, summary
from moorage.audit.recorder import Binary
from moorage.audit.recording import Message, read
from moorage.audit.recovery import close
from moorage.gateway.model import ConnectionId

ID = ConnectionId("5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e")


def written(*, batches: int = 3, key: Any = None) -> tuple[bytes, bytes]:
    """A recording without its end, and the end."""
    lines = Binary(ID, key)
    parts = [lines.begin(), lines.pack([Entry(0, 1, {"remoteAddr": "192.0.2.7", "country": "XX"})])]
    for number in range(batches):
        text = b"line %d of some text\r\n" % number
        parts.append(lines.pack([Entry(500, 2 + number, {"stream": 1, "data": text * 3}, 0) for _ in range(3)]))
        parts.append(lines.pack([Entry(500, 2 + number, {"stream": 1, "data": os.urandom(9000)}, 0)]))
    return b"".join(parts), lines.pack([Entry(1, 99)]) + lines.end()


def messages(path: Path) -> list[Message]:
    return [one for one in read([path.read_bytes()]) if isinstance(one, Message)]


def about(path: Path, key: Any = None) -> Summary:
    return summary(FileSource(path), key)


def test_what_was_cut_between_batches_gets_its_word_in_place(tmp_path: Path) -> None:
    path, (body, _) = tmp_path / ID, written()
    path.write_bytes(body)
    before = messages(path)
    assert close(path, None, 77)
    assert path.read_bytes().startswith(body)
    *kept, last = messages(path)
    assert kept == before
    assert last.payload == {"requestType": CUT}
    assert (last.timestamp, last.extra["recovered"], last.extra["messages"]) == (before[-1].timestamp, 77, len(before))
    found = about(path)
    assert (found.state, found.is_sealed, found.troubles, found.altered) == (State.RECOVERED, True, [], "")


def test_what_was_cut_at_any_byte_keeps_every_message_that_could_be_read(tmp_path: Path) -> None:
    path, (body, _) = tmp_path / ID, written(batches=1)
    closed = 0
    for size in range(50, len(body), 7):
        path.write_bytes(body[:size])
        before = messages(path)
        if not close(path, None, 77):
            assert not before
            continue
        closed += 1
        assert messages(path)[:-1] == before
        found = about(path)
        assert (found.state, found.troubles, found.altered) == (State.RECOVERED, [], ""), size
    assert closed > 100


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    path, (body, _) = tmp_path / ID, written()
    path.write_bytes(body)
    assert close(path, None, 77)
    once = path.read_bytes()
    assert not close(path, None, 78)
    assert path.read_bytes() == once


def test_what_has_its_seal_is_complete_and_left_alone(tmp_path: Path) -> None:
    path, parts = tmp_path / ID, written()
    path.write_bytes(b"".join(parts))
    assert not close(path, None, 77)
    assert about(path).state is State.COMPLETE


def test_the_end_without_its_seal_is_not_complete(tmp_path: Path) -> None:
    path, parts = tmp_path / ID, written()
    path.write_bytes(b"".join(parts)[:-30])
    assert close(path, None, 77)
    assert about(path).state is State.RECOVERED


def test_what_is_damaged_is_not_closed(tmp_path: Path) -> None:
    path, (body, _) = tmp_path / ID, written()
    place = body.rindex(b"connectionId") - 2
    path.write_bytes(body[:place] + b"\x1c" + body[place + 1 :])
    assert about(path).state is State.DAMAGED
    assert not close(path, None, 77)
    assert about(path).state is State.DAMAGED


@pytest.mark.parametrize("data", [b"", b"short", b'{"version":2,"width":80}\n[1,"o","x"]\n', bytes(100)])
def test_what_is_no_binary_recording_is_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / ID
    path.write_bytes(data)
    assert not close(path, None, 77)
    assert path.read_bytes() == data


def test_what_is_cut_after_it_was_closed_is_cut_and_what_is_changed_is_altered(tmp_path: Path) -> None:
    path, (body, _) = tmp_path / ID, written()
    path.write_bytes(body)
    close(path, None, 77)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert about(path).state is State.CUT
    place = whole.rindex(b"sha256") + 20
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert about(path).state is State.ALTERED


def test_the_word_is_signed_and_its_signature_is_none_of_a_seal(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path, (body, _) = tmp_path / ID, written(key=key)
    path.write_bytes(body)
    close(path, key, 77)
    found = about(path, key.public_key())
    assert (found.state, found.is_signed) == (State.RECOVERED, True)
    assert about(path, Ed25519PrivateKey.generate().public_key()).state is State.ALTERED
    path.write_bytes(path.read_bytes().replace(b"kcut@moorage", b"lseal@moorage"))
    assert about(path, key.public_key()).state in {State.ALTERED, State.DAMAGED}


def test_a_disk_without_room_leaves_the_recording_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> None:
        os.pwrite(file, data[:10], os.fstat(file).st_size)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recovery, "_write", full)
    path, (body, _) = tmp_path / ID, written()
    for data in (body, body[:-5]):
        path.write_bytes(data)
        with pytest.raises(OSError, match="No space"):
            close(path, None, 77)
        assert path.read_bytes() == data
        assert [one.name for one in tmp_path.iterdir()] == [ID]
