"""Channels of the connection to the server behind as the gateway's transports.

asyncssh tells of the end of a stream, and of its close, also while its reading is paused: both are held here until
the reading goes on, as `moorage.gateway.contract` promises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final, cast

from asyncssh.channel import SSHChannel, SSHClientChannel
from asyncssh.session import SSHClientSession, SSHTCPSession, SSHUNIXSession

from moorage.backend.contract import lost
from moorage.gateway.contract import ProcessReceiver, Receiver
from moorage.gateway.model import ExitStatus, Size

_STDERR: Final = 1
_HANG_UPS: Final = 4
_PATIENCE: Final = 0.25
"""How often HUP is sent to a program that is hung up, and the seconds that it has to end each time."""

WINDOW: Final = 1024 * 1024
"""Bytes that the server behind may send before the gateway takes them."""


class Stream:
    """One channel; implements `Transport`.  It delivers from `begin` on."""

    def __init__(self, receiver: Receiver | None = None) -> None:
        self._receiver = receiver
        self._channel: SSHChannel[bytes] | None = None
        self._has_begun = False
        self._is_paused = False
        self._has_ended = False
        self._early: deque[tuple[bytes, int | None]] = deque()
        """What asyncssh has delivered in spite of a pause: a packet or two."""
        self._unsent = bytearray()
        self._is_eof_unsent = False
        """What was written before the channel was open."""
        self._is_eof_told = self._is_eof_held = self._is_loss_held = False
        self._cause: Exception | None = None

    def begin(self) -> None:
        """The receiver may be called from now on."""
        self._has_begun = True
        self._go_on()

    def abandon(self) -> None:
        """Nobody is interested any more: close, and call no receiver."""
        self._receiver = None
        self.close()

    # -- what asyncssh calls

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._channel = chan
        chan.pause_reading()
        if self._unsent:
            chan.write(bytes(self._unsent))
            self._unsent.clear()
        if self._is_eof_unsent:
            chan.write_eof()
        if self._has_ended:
            chan.close()

    def session_started(self) -> None:
        """Whoever has asked for the channel calls `begin`."""

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Some bytes arrived."""
        if self._has_ended:
            return
        if self._is_held:
            self._early.append((data, datatype))
            if self._channel is not None:
                self._channel.pause_reading()
        else:
            self._deliver(data, datatype)

    def eof_received(self) -> bool:
        """The server behind sends no more; our direction stays open."""
        self._is_eof_held = not self._has_ended
        self._let_go()
        return True

    def pause_writing(self) -> None:
        """Enough waits for the server behind."""
        if self._receiver is not None:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._receiver is not None:
            self._receiver.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        self._cause = exc
        self._channel = None
        self._is_eof_unsent = True
        if exc is None and not (self._is_eof_told or self._has_ended):
            self._is_eof_held = True  # a close says so too
        self._is_loss_held = True
        self._let_go()

    # -- the transport

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        if self._has_ended or self._is_eof_unsent:
            return
        if self._channel is None:
            self._unsent += data
            return
        with contextlib.suppress(OSError):  # it is closed for writing
            self._channel.write(data)

    def write_eof(self) -> None:
        """See `Transport.write_eof`."""
        if self._channel is not None:
            self._channel.write_eof()
        else:
            self._is_eof_unsent = True

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        self._is_paused = True
        if self._channel is not None:
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        if self._is_paused:
            self._is_paused = False
            self._go_on()

    def close(self) -> None:
        """See `Transport.close`."""
        self._has_ended = True
        self._is_eof_held = False
        self._early.clear()
        if self._channel is not None:
            self._end_channel(self._channel)
        self._let_go()

    def _end_channel(self, channel: SSHChannel[bytes]) -> None:
        channel.close()

    # -- inside

    @property
    def _is_held(self) -> bool:
        return self._is_paused or not self._has_begun

    def _go_on(self) -> None:
        while self._early and not self._is_held:
            self._deliver(*self._early.popleft())
        if self._channel is not None and not self._is_held:
            self._channel.resume_reading()
        self._let_go()

    def _deliver(self, data: bytes, datatype: int | None) -> None:
        if self._receiver is None or self._has_ended:
            return
        if datatype == _STDERR:
            cast("ProcessReceiver", self._receiver).stderr_received(data)
        else:
            self._receiver.data_received(data)

    def _let_go(self) -> None:
        """Tell of the ends that are held, if they may be told."""
        if self._is_eof_held and not self._is_held and not self._early:
            self._is_eof_held = False
            self._is_eof_told = True
            if self._receiver is not None:
                self._receiver.eof_received()
        if self._is_loss_held and (self._has_ended or (not self._is_held and not self._early)):
            self._is_loss_held = False
            self._lost()

    def _lost(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(self._cause)


class ForwardedStream(Stream, SSHTCPSession[bytes], SSHUNIXSession[bytes]):
    """A forwarded connection."""


class AcceptedStream(ForwardedStream):
    """A forwarded connection that the server behind has accepted for us."""

    def receives(self, receiver: Receiver) -> None:
        """Deliver to `receiver`."""
        self._receiver = receiver

    def session_started(self) -> None:
        """The channel is open on both sides."""
        self.begin()


class UpstreamProcess(Stream, SSHClientSession[bytes]):
    """A program on the server behind; implements `Process`."""

    def __init__(self, receiver: ProcessReceiver, *, has_terminal: bool) -> None:
        super().__init__(receiver)
        self._has_terminal = has_terminal
        self._status: ExitStatus | None = None
        self._is_given_up = False
        self._hanging_up: asyncio.Future[None] | None = None
        self.closed = asyncio.Event()
        """The server behind has closed the channel, whether or not all was delivered."""
        self._done: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._done.add_done_callback(lambda done: done.exception())  # nobody need ask for it

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or given up."""
        if self.closed.is_set():
            return
        self.closed.set()
        super().connection_lost(exc)

    def exit_status_received(self, status: int) -> None:
        """RFC 4254 §6.10."""
        self._status = ExitStatus(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """RFC 4254 §6.10."""
        del lang
        self._status = ExitStatus(signal=signal, core_dumped=core_dumped, message=msg)

    def resize(self, size: Size) -> None:
        """See `Process.resize`."""
        if self._has_terminal and not self._has_ended:
            channel = cast("SSHClientChannel[bytes] | None", self._channel)
            if channel is not None:
                channel.change_terminal_size(size.columns, size.rows, size.width, size.height)

    def signal(self, name: str) -> None:
        """See `Process.signal`."""
        channel = cast("SSHClientChannel[bytes] | None", self._channel)
        if channel is not None and not self._has_ended:
            channel.send_signal(name)

    async def wait(self) -> ExitStatus:
        """See `Process.wait`."""
        return await asyncio.shield(self._done)

    def close(self) -> None:
        """See `Process.close`."""
        if not self._has_ended:
            super().close()

    def give_up(self) -> None:
        """The guest is being closed: whoever waits is told that the program was lost, whatever becomes of it."""
        self._is_given_up = True

    def _end_channel(self, channel: SSHChannel[bytes]) -> None:
        self._hanging_up = asyncio.ensure_future(self._hang_up(cast("SSHClientChannel[bytes]", channel)))

    async def _hang_up(self, channel: SSHClientChannel[bytes]) -> None:
        """HUP, more than once for a program that has only just been started; then close, whatever waits to be sent.

        A server whose program lives on would not answer the close, and has nobody who could still signal.
        """
        channel.resume_reading()  # what comes is dropped, and holds up nobody
        for _ in range(_HANG_UPS):
            if self.closed.is_set():
                return
            channel.send_signal("HUP")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self.closed.wait()
        if not self.closed.is_set():
            channel.abort()
            self.connection_lost(None)  # the server says so only when the program has ended after all

    def _lost(self) -> None:
        if not self._done.done():
            if self._is_given_up or (self._status is None and self._cause is not None and not self._has_ended):
                self._done.set_exception(lost(self._cause))
            else:  # without a status it was hung up, or the server behind does not say
                self._done.set_result(self._status or ExitStatus())
        super()._lost()
