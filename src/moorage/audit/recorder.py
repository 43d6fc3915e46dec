"""The recorder: every connection's messages, in order, to its file, by threads of their own.

The event loop only appends to a list.  A batch at a time is encoded, compressed and written in a thread;
when more than `FULL` bytes wait, the connection's own bytes are held back until less than `ROOM` do.

A storage that fails is tried again with the very same bytes, so that what is in the file stays whole.
Meanwhile ``audit.onFailure`` decides: *refuse* turns new connections away and holds the bytes of those that
are open back, *end* ends those too, *continue* lets everything go on.  Messages for which there is no room
are counted, and the count stands in the recording where they are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog

from moorage.audit.asciicast import AsciicastPacker
from moorage.audit.chain import Chain, private_key
from moorage.audit.codec import Entry, Packer
from moorage.audit.encryption import Encryption
from moorage.audit.entries import GAP, Entries
from moorage.audit.filestorage import FileStorage, RecordingFile
from moorage.audit.filewatch import FileWatch, Seen
from moorage.audit.recovery import close
from moorage.audit.retention import EVERY, Retention, retention
from moorage.audit.transfers import Fact, Keep
from moorage.audit.uploads import Uploads
from moorage.codes import Code
from moorage.config import read_pem
from moorage.config.sections.audit import AuditConfig
from moorage.errors import ConfigError, Refused
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId
from moorage.gateway.recording import Wanted
from moorage.metrics import Country, no_country

FULL: Final = 3 * 1024 * 1024
ROOM: Final = 2 * 1024 * 1024
"""Bytes of one connection that wait for the storage when its own are held back, and let go on."""

LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one connection that wait at most, also while a storage fails; what goes beyond is lost and counted."""

BATCH: Final = 256 * 1024
PACE: Final = 0.02
"""Bytes that are worth a thread's while, and the seconds from one batch on for which fewer wait to become more."""

MOST: Final = 512 * 1024
"""Bytes that a thread is given at a time: what is made of them takes about twice as many more."""

_ENTRY: Final = 256
"""What a message costs besides its bytes, as far as the bounds above care."""

_PAUSES: Final = (0.5, 1.0, 2.0, 5.0)
"""Seconds between tries of a storage that fails; the last for all further ones."""

_LAST_TRIES: Final = 3
"""Tries after the connection has ended; then its recording is left for the next start."""

_THREADS: Final = 4

_T = TypeVar("_T")


class FileEvents(Protocol):
    """Hears of the files of one connection, besides its recording."""

    def logged_in(self, username: str) -> None:
        """The connection has a user."""

    def seen(self, fact: Fact, at: float, channel: int) -> None:
        """Something was done with a file; called by threads, by one at a time."""


FilesOf = Callable[[ConnectionId, Address], FileEvents]


class Lines(Protocol):
    """Makes bytes of messages."""

    def begin(self) -> bytes:
        """What stands before the first."""

    def pack(self, entries: Sequence[Entry]) -> bytes:
        """These, so that who has the bytes can read all of them."""

    def end(self) -> bytes:
        """What stands after the last."""


class Binary:
    """ContainerSSH's binary format, with the proof that nothing was changed."""

    def __init__(self, connection_id: ConnectionId, key: Any | None = None) -> None:
        self._chain = Chain(connection_id, key)
        self._packer = Packer()

    def begin(self) -> bytes:
        return self._packer.begin()

    def pack(self, entries: Iterable[Entry]) -> bytes:
        packed = self._packer.pack([raw for entry in entries for raw in self._chain.of(entry)])
        self._chain.settle()
        return packed

    def end(self) -> bytes:
        return self._packer.pack([self._chain.seal()])


class AuditRecorder:
    """Records connections as `config` says; implements `moorage.gateway.recording.Recorder` and a service."""

    name = "audit"

    def __init__(
        self,
        config: AuditConfig,
        storage: FileStorage,
        *,
        country: Country = no_country,
        key: Any | None = None,
        uploads: Uploads | None = None,
        files_of: FilesOf | None = None,
        retention: Retention | None = None,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._key = key
        self._uploads = uploads
        self._files_of = files_of
        self._retention = retention
        self._retaining: asyncio.Task[None] | None = None
        self.now = clock
        self.sleep = sleep
        self._storage = storage
        self._country = country
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="audit")
        self._open: dict[AuditRecording, asyncio.Task[None]] = {}
        self._failing: set[AuditRecording] = set()
        intercept = config.intercept
        self.wanted = Wanted(
            stdin=intercept.stdin,
            stdout=intercept.stdout,
            stderr=intercept.stderr,
            passwords=intercept.passwords,
            forwarding=intercept.forwarding,
            files=intercept.files,
        )
        self.holds_on = config.on_failure == "refuse"
        """Whether connections wait for a storage that fails."""
        self._keep = Keep(Path(config.capture.directory) if config.capture.directory else None, config.capture.limit)
        self.log = structlog.get_logger()

    # -- the service

    async def start(self) -> None:
        """Finish what an earlier server has left behind."""
        loop = asyncio.get_running_loop()
        recover = partial(self._storage.recover, lambda part: close(part, self._key, self.now()))
        for name in await loop.run_in_executor(self._threads, recover):
            self.log.warning("A recording was cut by the end of its server", code=Code.AUDIT_RECOVERED, recording=name)
        if self._uploads is not None:
            self._uploads.start()
        if self._retention is not None:
            self._retaining = asyncio.create_task(self._retain(self._retention), name="audit/retention")

    async def drain(self, timeout: float) -> None:
        """Go on: what drains is recorded."""

    async def stop(self) -> None:
        """Finish all recordings.  Their connections have ended.  Idempotent."""
        if self._open:
            await asyncio.wait(self._open.values())
        if self._retaining is not None:
            self._retaining.cancel()
            await asyncio.wait({self._retaining})
        if self._uploads is not None:
            await self._uploads.stop()
        self._threads.shutdown(wait=False)

    # -- recordings

    def record(self, connection_id: ConnectionId, peer: Address, end: Callable[[str], None]) -> AuditRecording | None:
        """See `Recorder.record`."""
        on_failure = self._config.on_failure
        if self._failing and on_failure != "continue":
            raise _refused("recordings cannot be written")
        if self._uploads is not None and self._uploads.is_full:
            if on_failure != "continue":
                raise _refused("too many recordings wait for their upload")
            self.log.error(
                "A connection is not recorded: too many recordings wait for their upload",
                code=Code.AUDIT_STORAGE_FAILED,
                connectionId=connection_id,
            )
            return None
        try:
            file = self._storage.create(connection_id)
        except OSError as error:
            self.log.error(
                "A recording cannot be begun",
                code=Code.AUDIT_STORAGE_FAILED,
                connectionId=connection_id,
                cause=str(error),
            )
            if on_failure != "continue":
                raise _refused(str(error)) from error
            return None
        lines: Lines = AsciicastPacker() if self._config.format == "asciinema" else Binary(connection_id, self._key)
        recording = AuditRecording(self, file, lines, Entries(self._country), end if on_failure == "end" else None)
        if self.wanted.files:
            told = recording.file_events = self._files_of(connection_id, peer) if self._files_of is not None else None
            recording.files = FileWatch(self._keep, self._seen_by(told))
        recording.log = self.log.bind(connectionId=connection_id)
        task = asyncio.create_task(recording.run(), name=f"audit/{connection_id}")
        self._open[recording] = task
        task.add_done_callback(lambda _: self._gone(recording))
        return recording

    def _seen_by(self, told: FileEvents | None) -> Seen | None:
        """What is called for each file: tell of it, and upload what was captured."""
        uploads = self._uploads
        if uploads is None or not uploads.takes_captured:
            return None if told is None else told.seen
        loop = asyncio.get_running_loop()

        def seen(fact: Fact, at: float, channel: int) -> None:
            if told is not None:
                told.seen(fact, at, channel)
            if fact.is_kept and fact.sha256:
                try:
                    uploads.mark(fact.sha256)
                except OSError as error:
                    text = "A captured file is not uploaded"
                    self.log.error(text, code=Code.AUDIT_STORAGE_FAILED, sha256=fact.sha256, cause=str(error))
                else:
                    loop.call_soon_threadsafe(uploads.captured, fact.sha256)

        return seen

    async def _retain(self, rules: Retention) -> None:
        while True:
            await self.in_thread(rules.enforce)
            await self.sleep(EVERY)

    def full(self) -> None:
        """The spool has no room: with ``onFailure: end`` nothing goes on unrecorded."""
        for recording in tuple(self._open):
            recording.end_connection()

    def finished(self, name: str) -> None:
        """A recording is complete."""
        if self._uploads is not None:
            self._uploads.finished(name)

    def _gone(self, recording: AuditRecording) -> None:
        self._open.pop(recording, None)
        self._failing.discard(recording)

    def fails(self, recording: AuditRecording, *, is_failing: bool) -> None:
        """Whether a recording's storage works, as far as is known."""
        if is_failing:
            self._failing.add(recording)
        else:
            self._failing.discard(recording)

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, which blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _refused(reason: str) -> Refused:
    return Refused(reason, user_text="Connections cannot be recorded. Try again later.", code=Code.AUDIT_STORAGE_FAILED)


class AuditRecording:
    """One connection's recording; implements `moorage.gateway.recording.Recording`."""

    def __init__(
        self,
        recorder: AuditRecorder,
        file: RecordingFile,
        lines: Lines,
        entries: Entries,
        end: Callable[[str], None] | None,
    ) -> None:
        self.wanted = recorder.wanted
        self.log = recorder.log
        self.files: FileWatch | None = None
        self.file_events: FileEvents | None = None
        self._recorder = recorder
        self._kept = (recorder.wanted.stdin, recorder.wanted.stdout, recorder.wanted.stderr)
        self._file = file
        self._lines = lines
        self._entries = entries
        self._end = end
        self._waiting: list[Entry] = []
        self._size = 0
        self._lost = self._lost_bytes = 0
        self._lost_since = 0
        self._is_over = False
        self._is_failing = False
        self._holds_on = recorder.holds_on
        self._something = asyncio.Event()
        self._much = asyncio.Event()
        self._written = 0.0
        """When the last batch was begun."""
        self._when_room: list[Callable[[], None]] = []

    @property
    def is_full(self) -> bool:
        return self._size >= FULL and (self._holds_on or not self._is_failing)

    def when_not_full(self, call: Callable[[], None]) -> None:
        self._when_room.append(call)

    def heard(self, event: events.Event) -> None:
        for entry in self._entries.of(event):
            self._add(entry)
        if isinstance(event, events.LoginAccepted) and self.file_events is not None:
            self.file_events.logged_in(event.login.username)
        if isinstance(event, events.ConnectionClosed):
            self._is_over = True
            self._something.set()
        self._much.set()  # facts are few, and do not wait; nor does what came before them

    def session_bytes(self, channel: int, stream: int, data: bytes) -> None:
        self._bytes(self._entries.session_channel(channel), stream, data, is_kept=self._kept[stream])

    def forward_bytes(self, forward: int, stream: int, data: bytes) -> None:
        self._bytes(self._entries.forward_channel(forward), stream, data)

    def _bytes(self, channel: int, stream: int, data: bytes, *, is_kept: bool = True) -> None:
        payload = {"stream": stream, "data": bytes(data)}
        self._add(Entry(500, self._recorder.now(), payload, channel, is_kept=is_kept))

    def _add(self, entry: Entry) -> None:
        if self._is_over:
            return
        size = _size(entry)
        if self._size + size > LIMIT:
            self._lost += 1
            self._lost_bytes += size - _ENTRY
            self._lost_since = self._lost_since or entry.timestamp
            return
        if self._lost:
            self._tell_lost(entry.timestamp)
        self._waiting.append(entry)
        self._size += size
        self._something.set()
        if self._size >= BATCH:
            self._much.set()

    def _tell_lost(self, at: int) -> None:
        extra = {"messages": self._lost, "bytes": self._lost_bytes, "since": self._lost_since}
        self._waiting.append(Entry(200, at, {"requestType": GAP}, extra=extra))
        self._size += _ENTRY
        self._lost = self._lost_bytes = self._lost_since = 0

    def _taken(self) -> tuple[list[Entry], int]:
        """What is to be written next, taken from what waits, and its size."""
        size = count = 0
        for entry in self._waiting:
            if size >= MOST:
                break
            size += _size(entry)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch, size

    # -- the task

    async def run(self) -> None:
        """Write what is heard until the connection is over, then finish the file."""
        await self._store(self._lines.begin())
        while True:
            await self._something.wait()
            await self._more()
            self._something.clear()
            self._much.clear()
            is_last = self._is_over
            batch, size = self._taken()
            if batch and not await self._write(batch):
                self._file.abandon()
                return
            self._size -= size
            self._make_room()
            if self._waiting:
                self._something.set()
                if is_last or self._size >= BATCH:
                    self._much.set()
            elif is_last:
                break
        if self._lost:
            self._tell_lost(self._recorder.now())
            await self._store(self._lines.pack(self._waiting))
        if await self._store(self._lines.end()) and await self._persist(self._file.finish):
            self._recorder.finished(self._file.name)
        else:
            self._file.abandon()

    async def _more(self) -> None:
        """Wait for a batch that is worth its way to a thread and back, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._written + PACE):
                await self._much.wait()
        self._written = asyncio.get_running_loop().time()

    async def _write(self, batch: list[Entry]) -> bool:
        """Pack `batch` and write it; False if that is given up after the end of the connection."""
        packed, error = await self._recorder.in_thread(partial(self._packed_and_written, batch))
        if error is not None:
            return await self._persist(lambda: self._file.write(packed), error)
        self._worked()
        return True

    def _packed_and_written(self, batch: list[Entry]) -> tuple[bytes, OSError | None]:
        """The bytes of `batch`, and why they are not in the file; called in a thread, one batch after the other."""
        packed = self._lines.pack(batch if self.files is None else list(self.files.of(batch)))
        try:
            self._file.write(packed)
        except OSError as error:
            return packed, error
        return packed, None

    def _make_room(self) -> None:
        if self._size < ROOM and self._when_room:
            calls, self._when_room = self._when_room, []
            for call in calls:
                call()

    async def _store(self, data: bytes) -> bool:
        """Write `data`, however often it takes; False if that is given up after the end of the connection."""
        return not data or await self._persist(lambda: self._file.write(data))

    async def _persist(self, work: Callable[[], None], failure: OSError | None = None) -> bool:
        """Do `work`, which was tried once before if there is a `failure`, until it succeeds."""
        tries = tries_after_end = 0
        while True:
            if failure is None:
                try:
                    await self._recorder.in_thread(work)
                except OSError as error:
                    failure = error
                else:
                    self._worked()
                    return True
            self._failed(failure)
            failure = None
            tries_after_end += self._is_over
            if tries_after_end >= _LAST_TRIES:
                self.log.error("A recording is left for the next start", code=Code.AUDIT_STORAGE_FAILED)
                return False
            await self._recorder.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    def _failed(self, error: OSError) -> None:
        if self._is_failing:
            return
        self._is_failing = True
        self._recorder.fails(self, is_failing=True)
        self.log.error("A recording cannot be written", code=Code.AUDIT_STORAGE_FAILED, cause=str(error))
        if not self._holds_on:
            self._when_room, calls = [], self._when_room
            for call in calls:
                call()  # nobody waits for a storage that does not work
        self.end_connection()

    def end_connection(self) -> None:
        """End the connection, if that is what is to be done when it cannot be recorded."""
        if self._end is not None:
            self._end("Connections cannot be recorded.")

    def _worked(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._recorder.fails(self, is_failing=False)
            self.log.warning("Recordings can be written again", code=Code.AUDIT_STORAGE_WORKS, lost=self._lost)


def _size(entry: Entry) -> int:
    return _ENTRY + (len(entry.payload["data"]) if entry.number == 500 else 0)


def recorder(
    config: AuditConfig, *, country: Country = no_country, files_of: FilesOf | None = None
) -> AuditRecorder | None:
    """The recorder that `config` asks for; None if nothing is to be recorded."""
    if not config.is_recording:
        return None
    is_s3 = config.storage == "s3"
    captured = Path(config.capture.directory) if config.s3.captured else None
    uploads = Uploads(config.s3, captured=captured) if is_s3 else None
    encryption = None
    if config.recipients:
        encryption = Encryption(config.recipients, about=None if uploads is None else uploads.about)
    directory = Path(config.s3.local if is_s3 else config.file.directory)
    storage = FileStorage(directory, sync_each=config.file.sync, encryption=encryption)
    rules = retention(config)
    key = _signing_key(config.signing_key.get_secret_value())
    made = AuditRecorder(config, storage, country=country, uploads=uploads, key=key, files_of=files_of, retention=rules)
    if uploads is not None:
        uploads.when_full = made.full
    return made


def _signing_key(setting: str) -> Any | None:
    if not setting:
        return None
    try:
        return private_key(read_pem(setting))
    except (OSError, ValueError) as error:
        raise ConfigError(f"audit.signingKey: {error}", code=Code.CORE_CONFIG_ERROR) from error
