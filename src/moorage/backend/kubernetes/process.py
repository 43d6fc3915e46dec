"""A program that the cluster started by an exec: its streams over one WebSocket, its end in the server's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from moorage.agent.process import HUNG_UP
from moorage.backend.contract import lost
from moorage.backend.kubernetes.api import printable
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError
from moorage.backend.kubernetes.websocket import ERROR, RESIZE, STDERR, STDOUT, Streams
from moorage.backend.terminal import END_OF_INPUT, bounded_size
from moorage.errors import BackendError
from moorage.gateway.contract import ProcessReceiver
from moorage.gateway.model import ExitStatus, Size
from moorage.net.stream import RawStream

_STATUS_LIMIT: Final = 16 * 1024
_EARLY_LIMIT: Final = 4 * 1024 * 1024
_PID_BYTES: Final = 4
_PID_LIMIT: Final = 1 << 22
_KILLED: Final = 137

Signal = Callable[[int, str], Awaitable[None]]
"""Sends a signal to a PID in the container."""

IsGone = Callable[[], Awaitable[bool]]
"""Has the container ended?"""


class ExecProcess:
    """A running program; implements `Process`."""

    def __init__(
        self,
        stream: RawStream,
        receiver: ProcessReceiver,
        *,
        protocol: str,
        tty: bool,
        wants_pid: bool,
        signal: Signal,
        is_gone: IsGone,
    ) -> None:
        """`wants_pid`: the first four bytes of the output are the program's PID, as an image's agent puts them."""
        self._streams = Streams(stream, self, protocol=protocol)
        self._receiver = receiver
        self._tty = tty
        self._signal = signal
        self._is_gone = is_gone
        self._early: list[tuple[int, bytes]] = []
        self._first = bytearray()
        self._is_held = True
        self._is_paused = False
        self._is_closed = False
        self._cause: Exception | None = None
        self._eof_sent = False
        self._hung_up = False
        self._status = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        """The PID in the container; 0 without an agent.  `EOFError` with what was said instead."""

        self.pid.add_done_callback(lambda future: future.cancelled() or future.exception())
        if not wants_pid:
            self.pid.set_result(0)
        self._ended: asyncio.Future[ExitStatus | BackendError] = loop.create_future()
        self._streams.begin()

    def begin(self) -> None:
        """Deliver from the next turn of the loop on."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_held = False
        self._resume()

    @property
    def _is_over(self) -> bool:
        return self._hung_up or self._ended.done()

    # Process

    def write(self, data: bytes) -> None:
        """Send `data` to its standard input."""
        if not self._eof_sent:
            self._streams.write(data)

    def write_eof(self) -> None:
        """End its standard input; on a terminal by the character that does so."""
        if not self._eof_sent:
            self._eof_sent = True
            if self._tty:
                self._streams.write(END_OF_INPUT)
            else:
                self._streams.write_eof()

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``."""
        self._is_paused = True
        self._streams.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again."""
        if self._is_paused:
            self._is_paused = False
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._flush()
        if not self._is_paused:
            self._streams.resume_reading()

    def close(self) -> None:
        """Hang up."""
        if not self._is_over:
            self._hung_up = True
            self._task(self._signalled("HUP"))
            self._streams.abort()

    def resize(self, size: Size) -> None:
        """Tell the terminal its new size."""
        if self._tty and not self._is_over:
            columns, rows = bounded_size(size)
            self._streams.write(json.dumps({"Width": columns, "Height": rows}).encode(), RESIZE)

    def signal(self, name: str) -> None:
        """Send it a signal, if the image's agent can."""
        if not self._is_over and len(self._tasks) < 64:
            self._task(self._signalled(name))

    async def wait(self) -> ExitStatus:
        """How it ended, after all its output."""
        end = await asyncio.shield(self._ended)
        if isinstance(end, BackendError):
            raise lost(end) from end
        return end

    def abandon(self) -> None:
        """The guest is gone: end without asking anybody."""
        self._finish(lost(None))
        self._streams.abort()

    async def settle(self) -> None:
        """Returns when nothing of it is under way any more."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # StreamsReceiver

    def stream_received(self, stream: int, data: bytes) -> None:
        if stream == ERROR:
            self._status += data[: _STATUS_LIMIT - len(self._status)]
            return
        if stream not in (STDOUT, STDERR):
            return
        if stream == STDOUT and not self.pid.done():
            data = self._took_pid(data)
        if not data:
            return
        if self._is_held or self._is_paused or self._early:
            # Not paused while it is held, for some turns of the loop: a server that has closed must be heard.
            self._early.append((stream, data))
            if self._is_held and sum(len(piece) for _, piece in self._early) > _EARLY_LIMIT:
                self._streams.abort()
        else:
            self._deliver(stream, data)

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()

    def ended(self, cause: Exception | None) -> None:
        self._is_closed = True
        self._cause = cause
        if not self.pid.done():
            said = bytes(self._first) + b"".join(data for _, data in self._early)
            text = said.decode("utf-8", "replace") + self._status.decode("utf-8", "replace")
            self.pid.set_exception(EOFError(printable(text, 500)))
        if self._hung_up:
            self._finish(HUNG_UP)
        else:
            self._flush()

    def _took_pid(self, data: bytes) -> bytes:
        self._first += data
        found = read_pid(bytes(self._first), tty=self._tty)
        if found is None:
            return b""
        pid, size = found
        rest = bytes(self._first[size:])
        if 0 < pid <= _PID_LIMIT:  # the kernel's own limit: text is always above it
            self.pid.set_result(pid)
        else:
            self.pid.set_exception(EOFError(printable(self._first.decode("utf-8", "replace"), 500)))
        del self._first[size:]
        return rest

    def _flush(self) -> None:
        while self._early and not (self._is_held or self._is_paused or self._is_over):
            self._deliver(*self._early.pop(0))
        if self._is_closed and not (self._early or self._is_held or self._is_paused or self._is_over):
            self._task(self._conclude())

    def _deliver(self, stream: int, data: bytes) -> None:
        if stream == STDERR:
            self._receiver.stderr_received(data)
        else:
            self._receiver.data_received(data)

    async def _conclude(self) -> None:
        if self._is_over:
            return
        status, said = exit_status(bytes(self._status))
        if status is None:
            self._finish(lost(self._cause or ConnectionError(said or "the server did not say how the program ended")))
            return
        # That is also how a program ends with its container.
        if status.code == _KILLED and await self._is_gone():
            self._finish(lost(EOFError("the container has ended")))
            return
        if said and not self._is_over:
            self._deliver(STDOUT if self._tty else STDERR, f"{said}\n".encode())
        self._finish(status)

    def _finish(self, status: ExitStatus | BackendError) -> None:
        if self._ended.done():
            return
        if isinstance(status, ExitStatus) and not self._hung_up:
            self._receiver.eof_received()
        self._ended.set_result(status)
        self._receiver.connection_lost(status if isinstance(status, BackendError) else None)

    async def _signalled(self, name: str) -> None:
        try:
            if self.pid.done() and self.pid.exception() is None and self.pid.result():
                await self._signal(self.pid.result(), name)
        except (ApiError, ApiUnreachableError, OSError):
            pass  # it may just have ended; its status will tell

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="kubernetes/process")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def read_pid(data: bytes, *, tty: bool) -> tuple[int, int] | None:
    """The PID with which the image's agent begins, and its size in bytes; None before all of it is there.

    It is a little-endian number of 32 bits.  A terminal writes a line feed among its bytes as two characters.
    """
    number, at = bytearray(), 0
    while len(number) < _PID_BYTES:
        if tty and data[at : at + 2] == b"\r\n":
            at += 1
        elif at >= len(data) or (tty and data[at:] == b"\r"):
            return None
        number.append(data[at])
        at += 1
    return int.from_bytes(number, "little"), at


def exit_status(text: bytes) -> tuple[ExitStatus | None, str]:
    """What the server's last word means, and what the user is to read of it; None if it does not say how it ended."""
    try:
        value = json.loads(text)
        if value["status"] == "Success":
            return ExitStatus(code=0), ""
        message = printable(str(value.get("message") or ""), 500)
        if value.get("reason") == "NonZeroExitCode":
            for cause in value["details"]["causes"]:
                if cause["reason"] == "ExitCode":
                    return ExitStatus(code=int(cause["message"]) & 0xFF), ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""
    if "no such file" in message or "executable file not found" in message:
        return ExitStatus(code=127), "The program was not found: no such file or directory."
    if "permission denied" in message:
        return ExitStatus(code=126), "The program may not be started: permission denied."
    return None, message
