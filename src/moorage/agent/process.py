"""A process, an SFTP server or a file at the end of a channel."""

from __future__ import annotations

import asyncio
from typing import Final

from moorage.agent.channel import Channel, State, Stream
from moorage.agent.frames import RESIZE, SIGNAL, ProtocolError
from moorage.agent.messages import resize
from moorage.codes import Code
from moorage.errors import BackendError
from moorage.gateway.contract import ProcessReceiver
from moorage.gateway.model import ExitStatus, Size

HUNG_UP: Final = ExitStatus(signal="HUP", message="The session was closed.")
"""The status of a process whose end we did not wait for."""

LOST: Final = "The connection to your environment was lost."
"""What a user is told when a guest ends on its own."""


class ProcessChannel(Channel):
    """A running program; implements `Process`."""

    exits_after_eof = True

    def __init__(self, stream: Stream, number: int, receiver: ProcessReceiver, *, has_pty: bool) -> None:
        super().__init__(stream, number, receiver)
        self.takes_stderr = not has_pty
        self._process_receiver = receiver
        self._has_pty = has_pty
        self._status: ExitStatus | None = None
        """What EXIT said; told to no one before the output is delivered."""
        self._end: asyncio.Future[ExitStatus | Exception | None] = asyncio.get_running_loop().create_future()

    def resize(self, size: Size) -> None:
        """Tell the terminal its new size; a no-op without a PTY."""
        if self._has_pty and self._is_running:
            self._stream.send_json(RESIZE, self.number, resize(size))

    def signal(self, name: str) -> None:
        """Send a signal to the process group; what cannot be a signal's name is ignored."""
        if self._is_running and 0 < len(name) <= 64 and name.isascii() and name.isprintable():
            self._stream.send_json(SIGNAL, self.number, {"name": name})

    def close(self) -> None:
        """Hang up: what is not yet sent or delivered is dropped."""
        self.abort()

    async def wait(self) -> ExitStatus:
        """The exit status, after the last output was delivered; `BackendError` if the guest was lost."""
        end = await asyncio.shield(self._end)
        if isinstance(end, ExitStatus):
            return end
        raise BackendError(
            f"the guest was lost before its process ended: {end}", user_text=LOST, code=Code.GUEST_LOST
        ) from end

    def exit(self, status: ExitStatus) -> None:
        """EXIT arrived."""
        if self._status is not None:
            raise ProtocolError(f"channel {self.number}: EXIT twice")
        if self.exits_after_eof and not self._remote_eof and self.state is State.OPEN:
            raise ProtocolError(f"channel {self.number}: EXIT before EOF")
        self._status = status

    def _stderr_received(self, data: bytes) -> None:
        self._process_receiver.stderr_received(data)

    @property
    def _is_running(self) -> bool:
        return self.state is State.OPEN and self._status is None

    def _check_close(self) -> None:
        if self._status is None:
            raise ProtocolError(f"channel {self.number}: CLOSE without EXIT")

    def _ended_in_order(self) -> None:
        self._finish(self._status or HUNG_UP)

    def _ended_early(self, cause: Exception | None) -> None:
        self._finish(self._status or cause or HUNG_UP)

    def _finish(self, end: ExitStatus | Exception) -> None:
        if not self._end.done():
            self._end.set_result(end)


class FileChannel(ProcessChannel):
    """A file being written in the guest: its EXIT says whether it is in place."""

    exits_after_eof = False
