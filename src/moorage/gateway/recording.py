"""What a recorder of connections is, and the taps by which it hears the bytes.

A connection without a recorder has no taps, and one that records facts alone has none either: its bytes
pass as if there were no recorder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from moorage.gateway import events
from moorage.gateway.contract import Process, ProcessReceiver, Receiver, Transport
from moorage.gateway.model import Address, ConnectionId, ExitStatus, Size

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a recording holds besides the facts."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    passwords: bool = False
    forwarding: bool = False
    files: bool = False
    """Facts about files, which are told by the bytes."""

    @property
    def programs(self) -> bool:
        """True if any bytes of programs are wanted."""
        return self.stdin or self.stdout or self.stderr or self.files


class Recording(Protocol):
    """The recording of one connection.  No method raises or blocks."""

    wanted: Wanted

    @property
    def is_full(self) -> bool:
        """True while the storage is behind: whoever brings bytes is to bring no more."""

    def heard(self, event: events.Event) -> None:
        """A fact; `ConnectionClosed` is the last."""

    def session_bytes(self, channel: int, stream: int, data: bytes) -> None:
        """Bytes of a session's program."""

    def forward_bytes(self, forward: int, stream: int, data: bytes) -> None:
        """Bytes of a forwarded connection: `STDIN` from the wrapped end, `STDOUT` towards it."""

    def when_not_full(self, call: Callable[[], None]) -> None:
        """Call `call`, once, when the recording is not full any more."""


class Recorder(Protocol):
    """Records connections."""

    def record(self, connection_id: ConnectionId, peer: Address, end: Callable[[str], None]) -> Recording | None:
        """A recording for a new connection; None if it goes unrecorded.

        `end` is called with a text if the connection must not go on.  Raises `Refused` if it must not begin.
        """


class _Valve:
    """One direction: closed while its peer or the recording wants that."""

    __slots__ = ("_close", "_is_full", "_is_paused", "_open", "_recording")

    def __init__(self, recording: Recording, close: Callable[[], None], open_: Callable[[], None]) -> None:
        self._recording = recording
        self._close = close
        self._open = open_
        self._is_paused = False
        self._is_full = False

    def pause(self) -> None:
        self._is_paused = True
        if not self._is_full:
            self._close()

    def resume(self) -> None:
        self._is_paused = False
        if not self._is_full:
            self._open()

    def passed(self) -> None:
        """Something was recorded."""
        if not self._is_full and self._recording.is_full:
            self._is_full = True
            if not self._is_paused:
                self._close()
            self._recording.when_not_full(self._emptied)

    def _emptied(self) -> None:
        self._is_full = False
        if not self._is_paused:
            self._open()


class ProgramTap:
    """Between a session's channel and its program: a receiver for the guest, a process for the channel."""

    def __init__(self, recording: Recording, channel: int, receiver: ProcessReceiver) -> None:
        self._recording = recording
        self._hears_input = recording.wanted.stdin or recording.wanted.files
        self._hears_output = recording.wanted.stdout or recording.wanted.files
        self._hears_errors = recording.wanted.stderr
        self._channel = channel
        self._receiver = receiver
        self._process: Process | None = None
        self._output = _Valve(recording, self._pause_output, self._resume_output)
        self._input = _Valve(recording, receiver.pause_writing, receiver.resume_writing)

    def of(self, process: Process) -> ProgramTap:
        """The tap, now that the process runs."""
        self._process = process
        if self._recording.is_full:
            self._output.passed()
        return self

    def _pause_output(self) -> None:
        if self._process is not None:
            self._process.pause_reading()

    def _resume_output(self) -> None:
        if self._process is not None:
            self._process.resume_reading()

    @property
    def _running(self) -> Process:
        assert self._process is not None
        return self._process

    # -- towards the program

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        if self._hears_input:
            self._recording.session_bytes(self._channel, STDIN, data)
            self._input.passed()
        self._running.write(data)

    def write_eof(self) -> None:
        """See `Transport.write_eof`."""
        self._running.write_eof()

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        self._output.pause()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        self._output.resume()

    def close(self) -> None:
        """See `Process.close`."""
        self._running.close()

    def resize(self, size: Size) -> None:
        """See `Process.resize`."""
        self._running.resize(size)

    def signal(self, name: str) -> None:
        """See `Process.signal`."""
        self._running.signal(name)

    async def wait(self) -> ExitStatus:
        """See `Process.wait`."""
        return await self._running.wait()

    # -- towards the client

    def data_received(self, data: bytes) -> None:
        """See `Receiver.data_received`."""
        if self._hears_output:
            self._recording.session_bytes(self._channel, STDOUT, data)
            self._output.passed()
        self._receiver.data_received(data)

    def stderr_received(self, data: bytes) -> None:
        """See `ProcessReceiver.stderr_received`."""
        if self._hears_errors:
            self._recording.session_bytes(self._channel, STDERR, data)
            self._output.passed()
        self._receiver.stderr_received(data)

    def eof_received(self) -> None:
        """See `Receiver.eof_received`."""
        self._receiver.eof_received()

    def pause_writing(self) -> None:
        """See `Receiver.pause_writing`."""
        self._input.pause()

    def resume_writing(self) -> None:
        """See `Receiver.resume_writing`."""
        self._input.resume()

    def connection_lost(self, cause: Exception | None) -> None:
        """See `Receiver.connection_lost`."""
        self._receiver.connection_lost(cause)


class ForwardTap:
    """Between a tunnel and its two ends, of which the client's is `receiver` and the guest's `transport`.

    What is recorded as `STDIN` comes from the end that was connected to: the guest's for what the client
    dials, the client's for what comes in at a listener.
    """

    def __init__(self, recording: Recording, forward: int, *, is_dialled: bool) -> None:
        self._recording = recording
        self._forward = forward
        self._from_client = STDOUT if is_dialled else STDIN
        self._from_guest = STDIN if is_dialled else STDOUT
        self._receiver: Receiver | None = None
        self._transport: Transport | None = None
        self._output = _Valve(recording, lambda: self._to_guest().pause_reading(), self._resume_guest)
        self._input = _Valve(recording, lambda: self._to_client().pause_writing(), self._resume_client)

    def join(self, *, receiver: Receiver | None = None, transport: Transport | None = None) -> ForwardTap:
        """Set an end."""
        self._receiver = receiver or self._receiver
        self._transport = transport or self._transport
        return self

    def _to_guest(self) -> Transport:
        assert self._transport is not None
        return self._transport

    def _to_client(self) -> Receiver:
        assert self._receiver is not None
        return self._receiver

    def _resume_guest(self) -> None:
        self._to_guest().resume_reading()

    def _resume_client(self) -> None:
        self._to_client().resume_writing()

    # -- towards the guest

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        self._recording.forward_bytes(self._forward, self._from_client, data)
        self._input.passed()
        self._to_guest().write(data)

    def write_eof(self) -> None:
        """See `Transport.write_eof`."""
        self._to_guest().write_eof()

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        self._output.pause()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        self._output.resume()

    def close(self) -> None:
        """See `Transport.close`."""
        self._to_guest().close()

    # -- towards the client

    def data_received(self, data: bytes) -> None:
        """See `Receiver.data_received`."""
        self._recording.forward_bytes(self._forward, self._from_guest, data)
        if self._transport is not None:
            self._output.passed()
        self._to_client().data_received(data)

    def eof_received(self) -> None:
        """See `Receiver.eof_received`."""
        self._to_client().eof_received()

    def pause_writing(self) -> None:
        """See `Receiver.pause_writing`."""
        self._input.pause()

    def resume_writing(self) -> None:
        """See `Receiver.resume_writing`."""
        self._input.resume()

    def connection_lost(self, cause: Exception | None) -> None:
        """See `Receiver.connection_lost`."""
        self._to_client().connection_lost(cause)
