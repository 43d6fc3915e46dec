"""A program that the engine itself started: its standard streams over one upgraded connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from moorage.agent.process import HUNG_UP
from moorage.backend.contract import lost
from moorage.backend.docker.demux import STDERR, STDOUT, Demux, FramingError
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.backend.terminal import END_OF_INPUT, bounded_size
from moorage.errors import BackendError
from moorage.gateway.contract import ProcessReceiver
from moorage.gateway.model import ExitStatus, Program, Size
from moorage.net.stream import RawStream

RESET_GRACE: Final = 2.0
"""Seconds in which a program must turn out to have ended whose connection was reset."""


class Controls(Protocol):
    """What the engine can do with a running program."""

    async def status(self) -> ExitStatus:
        """How it ended; waits until it has.  Raises `EngineError` or `EngineUnreachableError` if the engine lost it."""

    async def resize(self, size: Size) -> None:
        """Tell its terminal the size."""

    async def signal(self, name: str) -> None:
        """Send it a signal, if that is possible here."""


class EngineProcess:
    """A running program; implements `Process`."""

    def __init__(
        self,
        stream: RawStream,
        receiver: ProcessReceiver,
        controls: Controls,
        *,
        tty: bool,
        demux: Demux | None = None,
        early: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        """`early` is output that was read before this was made; `demux` is where its reading stopped."""
        self._stream = stream
        self._receiver = receiver
        self._controls = controls
        self._demux = None if tty else demux or Demux()
        self._tty = tty
        self._early = list(early)
        self._paused = False
        self._eof = False
        self._eof_sent = False
        self._hung_up = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue(maxsize=64)
        self._worker: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[ExitStatus | BackendError] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """Deliver from the next turn of the loop on."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._flush_early()
        self._stream.attach(self)

    def _flush_early(self) -> None:
        while self._early and not (self._paused or self._is_over):
            self._deliver(*self._early.pop(0))

    @property
    def _is_over(self) -> bool:
        return self._hung_up or self._ended.done()

    # Process

    def write(self, data: bytes) -> None:
        """Send `data` to its standard input."""
        if not self._eof_sent:
            self._stream.write(data)

    def write_eof(self) -> None:
        """End its standard input; on a terminal by the character that does so."""
        if not self._eof_sent:
            self._eof_sent = True
            if self._tty:
                self._stream.write(END_OF_INPUT)
            else:
                self._stream.write_eof()

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``."""
        self._paused = True
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again."""
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._flush_early()
        if not self._paused:
            self._stream.resume_reading()

    def close(self) -> None:
        """Hang up."""
        if not self._is_over:
            self._hung_up = True
            self._later(lambda: self._controls.signal("HUP"))
            self._stream.abort()

    def resize(self, size: Size) -> None:
        """Tell the terminal its new size."""
        if self._tty and not self._is_over:
            self._later(lambda: self._controls.resize(size))

    def signal(self, name: str) -> None:
        """Send it a signal, in order with the others."""
        if not self._is_over:
            self._later(lambda: self._controls.signal(name))

    async def wait(self) -> ExitStatus:
        """How it ended, after all its output."""
        end = await asyncio.shield(self._ended)
        if isinstance(end, BackendError):
            raise lost(end) from end
        return end

    def abandon(self) -> None:
        """The guest is gone: end without asking anybody."""
        self._finish(lost(None))
        self._stream.abort()

    # StreamReceiver

    def data_received(self, data: bytes) -> None:
        if self._demux is None:
            self._deliver(STDOUT, data)
            return
        try:
            for stream, piece in self._demux.feed(data):
                # A reader that pauses between two pieces gets the rest of this chunk, and no more, when it resumes.
                if self._paused or self._early:
                    self._early.append((stream, piece))
                else:
                    self._deliver(stream, piece)
        except FramingError:
            self._stream.abort()

    def eof_received(self) -> None:
        self._eof = True
        self._stream.close()
        self._task(self._ask_status(), "docker/status")

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()

    def connection_lost(self, cause: Exception | None) -> None:
        if self._hung_up:
            self._finish(HUNG_UP)
        elif isinstance(cause, ConnectionResetError | BrokenPipeError):
            # So ends a program that has not read all its input, too: if it has ended, its output is complete.
            self._task(self._ask_status(within=RESET_GRACE), "docker/status")
        elif not self._eof:
            # Output was cut off: whatever the exit status says, this was no orderly end.
            self._finish(lost(cause or ConnectionError("the engine sent what is no output")))

    def _deliver(self, stream: int, data: bytes) -> None:
        if stream == STDERR:
            self._receiver.stderr_received(data)
        else:
            self._receiver.data_received(data)

    async def _ask_status(self, *, within: float | None = None) -> None:
        try:
            async with asyncio.timeout(within):
                status: ExitStatus | BackendError = await self._controls.status()
        except (EngineError, EngineUnreachableError, OSError) as cause:
            status = lost(cause)
        self._finish(status)

    def _finish(self, status: ExitStatus | BackendError) -> None:
        if self._ended.done():
            return
        if isinstance(status, ExitStatus) and not self._hung_up:
            self._receiver.eof_received()
        self._ended.set_result(status)
        self._receiver.connection_lost(status if isinstance(status, BackendError) else None)
        if self._worker is not None and not self._hung_up:
            self._worker.cancel()

    def _later(self, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # One after the other, and at most some waiting: who floods us with signals loses the surplus.
        if not self._work.full():
            self._work.put_nowait(action)
            if self._worker is None or self._worker.done():
                self._worker = self._task(self._run_work(), "docker/control")

    async def _run_work(self) -> None:
        while not self._work.empty():
            try:
                await self._work.get_nowait()()
            except (EngineError, EngineUnreachableError, OSError):
                continue  # it may just have ended; its status will tell

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Returns when nothing of it is under way any more."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


def console_size(program: Program) -> dict[str, list[int]]:
    """The terminal's first size, for engines that know it before the start (API 1.42)."""
    if program.pty is None:
        return {}
    columns, rows = bounded_size(program.pty.size)
    return {"ConsoleSize": [rows, columns]}


async def read_pid(stream: RawStream, *, tty: bool) -> tuple[int, Demux, list[tuple[int, bytes]]]:
    """The four bytes that an image's agent puts first (its PID), and what came with them.

    Raises `EOFError` with what was said instead, if that is no PID.
    """
    demux, first, said = Demux(), bytearray(), bytearray()
    while True:
        data = await stream.read(4096)
        early: list[tuple[int, bytes]] = []
        for kind, piece in [(STDOUT, data)] if tty and data else demux.feed(data):
            if kind == STDERR or len(first) == 4:
                early.append((kind, piece))
                said += piece
                continue
            take = 4 - len(first)
            first += piece[:take]
            if piece[take:]:
                early.append((kind, piece[take:]))
        if len(first) == 4:
            pid = int.from_bytes(first, "little")
            if not 0 < pid <= 1 << 22:  # the kernel's own limit: text is always above it
                raise EOFError(bytes(first + b"".join(piece for _, piece in early)).decode("utf-8", "replace")[:500])
            return pid, demux, early
        if not data or said:
            raise EOFError(bytes(first + said).decode("utf-8", "replace")[:500])
