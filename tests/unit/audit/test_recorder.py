"""The recorder keeps order, holds its connection back while the storage is slow, and loses nothing in silence."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moorage.audit import recorder as r
from moorage.audit.chain import CUT, SEAL
from moorage.audit.entries import GAP
from moorage.audit.filestorage import FileStorage, RecordingFile
from moorage.audit.recorder import AuditRecorder, AuditRecording
from moorage.audit.recording import Message, read
from moorage.config.sections.audit import AuditConfig
from moorage.errors import Refused
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId

ID = ConnectionId("5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e")
PEER = Address("192.0.2.7", 40000)
OPENED = events.ConnectionOpened(at=1.0, remote_address=PEER)
CLOSED = events.ConnectionClosed(at=9.0, reason="")


class Disk(FileStorage):
    """A directory whose disk can be made full, or slow."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.is_full = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def create(self, name: str) -> RecordingFile:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        disk, file = self, super().create(name)
        write = file.write

        def written(data: bytes) -> None:
            assert disk.goes_on.wait(20)
            if disk.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(data)

        file.write = written  # type: ignore[method-assign]
        return file


@dataclass
class Recorded:
    """A recorder, one recording of it, and what has become of the connection."""

    recorder: AuditRecorder
    disk: Disk
    ended: list[str] = field(default_factory=list)

    def begin(self, name: ConnectionId = ID) -> AuditRecording:
        recording = self.recorder.record(name, PEER, self.ended.append)
        assert recording is not None
        recording.heard(OPENED)
        return recording

    def messages(self, name: str = ID) -> list[Message]:
        found = list(read([(self.disk.directory / name).read_bytes()]))
        assert all(isinstance(one, Message) for one in found), found
        return [one for one in found if isinstance(one, Message) and one.payload.get("requestType") != SEAL]


Make = Callable[..., Recorded]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    async def no_pause(seconds: float) -> None:
        del seconds
        await asyncio.sleep(0.001)

    def made(**config: object) -> Recorded:
        settings = AuditConfig.model_validate({"enable": True, "format": "binary", "storage": "file", **config})
        disk = Disk(tmp_path)
        return Recorded(AuditRecorder(settings, disk, clock=lambda: 5_000_000_000, sleep=no_pause), disk)

    return made


async def happens(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not fact():
            await asyncio.sleep(0.002)


async def test_a_recording_holds_all_in_order_under_its_name(make: Make) -> None:
    recorded = make(intercept={"stdout": True})
    recording = recorded.begin()
    recording.heard(events.SessionOpened(at=2.0, channel=0))
    for number in range(100):
        recording.session_bytes(0, 1, f"line {number}\n".encode())
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    first, session, *lines, last = recorded.messages()
    assert (first.number, session.number, last.number) == (0, 301, 1)
    assert (first.timestamp, session.timestamp, last.timestamp) == (1_000_000_000, 2_000_000_000, 9_000_000_000)
    assert [one.payload["data"] for one in lines] == [f"line {number}\n".encode() for number in range(100)]
    assert [path.name for path in recorded.disk.directory.iterdir()] == [ID]
    assert (recorded.disk.directory / ID).stat().st_mode & 0o777 == 0o600


async def test_what_was_written_can_be_read_while_the_connection_goes_on(make: Make) -> None:
    recorded = make()
    recording = recorded.begin()
    part = recorded.disk.directory / f"{ID}.part"
    await happens(lambda: [type(one) for one in read([part.read_bytes()])] == [Message])
    recording.heard(CLOSED)
    await recorded.recorder.stop()


async def test_a_slow_storage_holds_the_connection_back_and_lets_it_go_on(make: Make) -> None:
    recorded = make()
    recording = recorded.begin()
    recorded.disk.goes_on.clear()
    calls: list[str] = []
    sent = 0
    while not recording.is_full:
        recording.session_bytes(0, 1, b"x" * 32768)
        sent += 1
    assert sent * 32768 <= r.FULL + 32768
    recording.when_not_full(lambda: calls.append("room"))
    await asyncio.sleep(0)
    assert calls == []
    recorded.disk.goes_on.set()
    await happens(lambda: calls == ["room"])
    assert not recording.is_full
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert sum(one.number == 500 for one in recorded.messages()) == sent


async def test_while_a_disk_is_full_what_has_no_room_is_counted_and_the_count_is_in_the_recording(make: Make) -> None:
    recorded = make(onFailure="continue")
    recording = recorded.begin()
    await happens(lambda: recording._size == 0)
    recorded.disk.is_full = True
    recording.session_bytes(0, 1, b"first")
    await happens(lambda: recording._is_failing)
    assert not recording.is_full
    for number in range(200):
        recording.session_bytes(0, 1, bytes([number]) * 32768)
    recorded.disk.is_full = False
    await happens(lambda: not recording._is_failing)
    await happens(lambda: recording._size == 0)
    recording.session_bytes(0, 1, b"last")
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    messages = recorded.messages()
    data = [one for one in messages if one.number == 500]
    [gap] = [one for one in messages if one.payload.get("requestType") == GAP]
    kept = len(data) - 2
    assert 100 < kept < 200
    assert gap.extra == {"messages": 200 - kept, "bytes": (200 - kept) * 32768, "since": 5_000_000_000}
    assert messages.index(gap) == messages.index(data[-1]) - 1
    assert [one.payload["data"][:1] for one in data[1:-1]] == [bytes([number]) for number in range(kept)]
    assert recorded.ended == []


async def test_a_gap_at_the_end_is_told_too(make: Make) -> None:
    recorded = make(onFailure="continue")
    recording = recorded.begin()
    recorded.disk.is_full = True
    recording.session_bytes(0, 1, b"x")
    await happens(lambda: recording._is_failing)
    for _ in range(200):
        recording.session_bytes(0, 1, b"x" * 32768)
    recorded.disk.is_full = False
    recording._is_over = True
    recording._something.set()
    await recorded.recorder.stop()
    assert recorded.messages()[-1].payload == {"requestType": GAP}


async def test_by_refuse_new_connections_are_turned_away_until_it_works_again(make: Make) -> None:
    recorded = make(onFailure="refuse")
    recording = recorded.begin()
    recorded.disk.is_full = True
    recording.session_bytes(0, 1, b"x")
    await happens(lambda: recording._is_failing)
    other = ConnectionId("1" * 32)
    with pytest.raises(Refused, match="cannot be written"):
        recorded.recorder.record(other, PEER, recorded.ended.append)
    recorded.disk.is_full = False
    await happens(lambda: not recording._is_failing)
    recorded.begin(other).heard(CLOSED)
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert recorded.ended == []
    assert [one.number for one in recorded.messages()] == [0, 500, 1]


async def test_by_refuse_open_connections_wait_for_a_storage_that_fails_and_nothing_is_lost(make: Make) -> None:
    recorded = make(onFailure="refuse")
    recording = recorded.begin()
    recorded.disk.is_full = True
    calls: list[str] = []
    sent = 0
    while not recording.is_full:
        recording.session_bytes(0, 1, b"x" * 32768)
        sent += 1
    recording.when_not_full(lambda: calls.append("room"))
    await happens(lambda: recording._is_failing)
    assert recording.is_full
    assert calls == []
    recorded.disk.is_full = False
    await happens(lambda: calls == ["room"])
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert [one.number for one in recorded.messages()].count(500) == sent
    assert not any(one.payload.get("requestType") == GAP for one in recorded.messages())


async def test_by_end_the_connection_is_ended_and_what_was_before_is_kept(make: Make) -> None:
    recorded = make(onFailure="end")
    recording = recorded.begin()
    recorded.disk.is_full = True
    recording.session_bytes(0, 1, b"x")
    await happens(lambda: recorded.ended == ["Connections cannot be recorded."])
    recorded.disk.is_full = False
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert [one.number for one in recorded.messages()] == [0, 500, 1]


@pytest.mark.parametrize("on_failure", ["refuse", "end"])
async def test_a_recording_that_cannot_begin_is_a_connection_that_does_not(make: Make, on_failure: str) -> None:
    recorded = make(onFailure=on_failure)
    recorded.disk.is_full = True
    with pytest.raises(Refused):
        recorded.recorder.record(ID, PEER, recorded.ended.append)
    await recorded.recorder.stop()


async def test_by_continue_a_recording_that_cannot_begin_is_none(make: Make) -> None:
    recorded = make(onFailure="continue")
    recorded.disk.is_full = True
    assert recorded.recorder.record(ID, PEER, recorded.ended.append) is None
    await recorded.recorder.stop()


async def test_a_storage_that_never_works_again_leaves_the_recording_for_the_next_start(make: Make) -> None:
    recorded = make()
    recording = recorded.begin()
    await happens(lambda: recording._size == 0)
    recorded.disk.is_full = True
    recording.session_bytes(0, 1, b"x")
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert [path.name for path in recorded.disk.directory.iterdir()] == [f"{ID}.part"]
    again = make()
    await again.recorder.start()
    await again.recorder.stop()
    first, last = again.messages()
    assert (first.number, last.payload["requestType"]) == (0, CUT)


async def test_what_another_server_writes_to_is_left_alone(make: Make) -> None:
    recorded, other = make(), make()
    recording = recorded.begin()
    part = recorded.disk.directory / f"{ID}.part"
    await happens(lambda: part.stat().st_size > 60)
    assert other.disk.recover() == []
    recording.heard(CLOSED)
    await recorded.recorder.stop()
    assert [one.number for one in recorded.messages()] == [0, 1]


async def test_nothing_is_kept_after_the_last_fact(make: Make) -> None:
    recorded = make()
    recording = recorded.begin()
    recording.heard(CLOSED)
    recording.session_bytes(0, 1, b"late")
    recording.heard(events.SessionClosed(at=10.0, channel=0))
    await recorded.recorder.stop()
    assert [one.number for one in recorded.messages()] == [0, 1]
