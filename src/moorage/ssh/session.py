"""The glue between a session channel and a program in a guest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import asyncssh
from asyncssh.packet import Boolean, SSHPacket, String, UInt32

from moorage.config.sections.names import SIGNALS
from moorage.errors import Failure, Refused
from moorage.gateway.contract import Process
from moorage.gateway.model import ExitStatus, ProgramKind
from moorage.ssh import requests
from moorage.ssh.channel import STDERR, SessionChannel

if TYPE_CHECKING:
    from moorage.gateway.session import Session
    from moorage.ssh.connection import ServerConnection

FAILED: Final = 255
"""The exit status of a program that could not be run or whose guest was lost; ssh itself uses it so."""

READING_TIME: Final = 0.05
"""Seconds between the reason of a refusal and the refusal: OpenSSH's client ends at once when it reads
the latter, and shows only what has arrived before."""

_HEAD: Final = 5
"""Bytes of a channel request before its name (RFC 4254 §5.4)."""

_RFC_SIGNALS: Final = frozenset(SIGNALS)


class ProgramSession(asyncssh.SSHServerSession[bytes]):
    """One session channel: its requests go to the gateway's session, its bytes to the program."""

    def __init__(self, session: Session, channel: SessionChannel, connection: ServerConnection) -> None:
        self._session = session
        self._channel = channel
        self._connection = connection
        self._output = Output(channel, session.output_begun)
        self._process: Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._setting_up: asyncio.Task[None] | None = None
        self._has_terminal = False
        self._is_paused = False
        self._is_waiting_shown = False
        self._has_reported = False

    # -- requests ------------------------------------------------------------------------------

    def requested(self, name: bytes, packet: SSHPacket) -> bool | None:
        """Grant or refuse a channel request; None while a program is being started."""
        handler = self._handlers.get(name)
        if handler is not None:
            return handler(self, packet)
        if name:  # one that comes too often has none
            self._session.not_understood(*requests.told(name, packet, _HEAD))
        return False

    def malformed(self, name: bytes, packet: SSHPacket, error: Exception) -> None:
        """A request whose payload could not be read was refused."""
        self._session.not_understood(*requests.told(name, packet, _HEAD, error))

    def _env(self, packet: SSHPacket) -> bool:
        return self._session.environment(*requests.environment(packet))

    def _pty(self, packet: SSHPacket) -> bool:
        granted = self._session.terminal(requests.pty(packet))
        self._has_terminal = self._has_terminal or granted
        return granted

    def _window_change(self, packet: SSHPacket) -> bool:
        return self._session.resize(requests.window_change(packet))

    def _signal(self, packet: SSHPacket) -> bool:
        return self._session.signal(requests.signal(packet))

    def _shell(self, packet: SSHPacket) -> bool | None:
        return self._start(ProgramKind.SHELL, requests.nothing(packet))

    def _exec(self, packet: SSHPacket) -> bool | None:
        return self._start(ProgramKind.EXEC, requests.text(packet))

    def _subsystem(self, packet: SSHPacket) -> bool | None:
        return self._start(ProgramKind.SUBSYSTEM, requests.text(packet))

    def _x11(self, packet: SSHPacket) -> None:
        display = requests.x11(packet)
        accepted = self._connection.opening.displays(only_one=display.single_connection)
        self._set_up(lambda: self._session.x11(display, accepted))

    def _agent(self, packet: SSHPacket) -> None:
        requests.nothing(packet)
        self._set_up(lambda: self._session.agent(self._connection.opening.agents))

    def _set_up(self, ask: Callable[[], Awaitable[bool]]) -> None:
        """Answer when it is done; the requests that follow wait for that."""

        async def answer() -> None:
            self._channel.answered(granted=await ask())

        self._setting_up = self._connection.start_task(answer(), f"session/{self._session.channel}/listen")

    _handlers: Mapping[bytes, Callable[[ProgramSession, SSHPacket], bool | None]] = {
        b"env": _env,
        b"pty-req": _pty,
        b"window-change": _window_change,
        b"signal": _signal,
        b"x11-req": _x11,
        b"auth-agent-req@openssh.com": _agent,
        b"shell": _shell,
        b"exec": _exec,
        b"subsystem": _subsystem,
    }
    """All others are refused: break (RFC 4335 §3: failure if no break is made), …"""

    @property
    def owes_status(self) -> bool:
        """True from the start of a program until its end is reported."""
        return self._process is not None and not self._has_reported

    # -- the program ---------------------------------------------------------------------------

    def _start(self, kind: ProgramKind, command: bytes) -> bool | None:
        if self._running is not None:
            return False
        self._running = self._connection.start_task(self._run(kind, command), f"session/{self._session.channel}")
        return None

    async def _run(self, kind: ProgramKind, command: bytes) -> None:
        progress = self._show_waiting if self._has_terminal else None
        if not self._connection.requests.is_settled:  # ssh -R: the program counts on the listeners asked for before it
            with contextlib.suppress(Failure):
                await self._connection.gateway.guest(progress)
            await self._connection.requests.settle()
        try:
            process = await self._session.start(kind, command, self._output, progress)
        except Refused as refused:
            self._clear_waiting()
            self._explain(refused)
            await asyncio.sleep(READING_TIME)
            self._running = None
            self._channel.answered(granted=False)
            return
        except Failure as failure:
            self._clear_waiting()
            self._channel.answered(granted=True)
            self._fail(failure)
            return
        self._clear_waiting()
        self._process = process
        if self._has_terminal:
            self._session.warn = self._warn
        self._channel.answered(granted=True)
        if self._is_paused:
            process.pause_reading()
        self._output.release()
        self._channel.resume_reading()
        try:
            status = await self._session.wait()
        except Failure as failure:
            self._fail(failure)
        else:
            self._report(status)

    def _fail(self, failure: Failure) -> None:
        self._explain(failure)
        self._report(ExitStatus(FAILED))

    def _explain(self, failure: Failure) -> None:
        line = f"moorage: {failure.user_text} (reference {self._session.connection.reference})"
        if self._has_terminal:
            self._channel.send(f"{line}\r\n".encode())
        else:
            self._channel.send(f"{line}\n".encode(), STDERR)

    def _warn(self, line: str) -> None:
        if self._channel.is_open and not self._is_paused:
            self._channel.send(f"\r\nmoorage: {line}\r\n".encode())

    def _report(self, status: ExitStatus) -> None:
        self._has_reported = True
        if status.signal is None:
            code = FAILED if status.code is None else status.code
            self._channel.finish(b"exit-status", UInt32(code & 0xFFFFFFFF))
            return
        # RFC 4254 §6.10: signals beyond the list carry a domain
        name = status.signal if status.signal in _RFC_SIGNALS else f"{status.signal}@openssh.com"
        self._channel.finish(
            b"exit-signal", String(name), Boolean(status.core_dumped), String(status.message), String("")
        )

    def _show_waiting(self, line: str) -> None:
        if self._process is None and self._channel.is_open and not self._is_paused:
            self._is_waiting_shown = True
            shown = "".join(c if c.isprintable() else " " for c in line)
            self._channel.send(f"\r{shown}\x1b[K".encode())

    def _clear_waiting(self) -> None:
        if self._is_waiting_shown:
            self._is_waiting_shown = False
            self._channel.send(b"\r\x1b[K")

    # -- the channel ---------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input for the program."""
        if self._process is not None:
            self._process.write(data)

    def eof_received(self) -> bool:
        """The client will send no more; our direction stays open."""
        if self._process is not None:
            self._process.write_eof()
        return True

    def pause_writing(self) -> None:
        """The client, or the way to it, is full."""
        self._is_paused = True
        if self._process is not None:
            self._process.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._is_paused = False
        if self._process is not None:
            self._process.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone: the program is hung up, a start under way given up."""
        for task in (self._running, self._setting_up):
            if task is not None:
                task.cancel()
        self._output.drop()
        if self._process is not None:
            self._process.close()
        self._session.closed()


class Output:
    """Takes a program's output and sends it on, once the request that started the program is answered."""

    __slots__ = ("_begun", "_channel", "_eof", "_held", "_is_dropped", "_is_released")

    def __init__(self, channel: SessionChannel, begun: Callable[[], None]) -> None:
        """`begun` is called when the first byte is sent."""
        self._channel = channel
        self._begun = begun
        self._held: list[tuple[bytes, int | None]] | None = []
        """None once the first byte was sent."""
        self._eof = False
        self._is_dropped = self._is_released = False

    def release(self) -> None:
        """Send what was held back; from now on everything passes at once."""
        if self._is_dropped:
            return
        held, self._held = self._held or [], []
        self._is_released = True
        for data, datatype in held:
            self._pass(data, datatype)
        if self._eof:
            self.eof_received()

    def drop(self) -> None:
        """The channel is gone."""
        self._held = None
        self._is_dropped = True

    def data_received(self, data: bytes) -> None:
        """Standard output."""
        if self._held is None:
            self._channel.send(data)
        else:
            self._pass(data, None)

    def stderr_received(self, data: bytes) -> None:
        """Standard error."""
        if self._held is None:
            self._channel.send(data, STDERR)
        else:
            self._pass(data, STDERR)

    def _pass(self, data: bytes, datatype: int | None) -> None:
        """Hold `data` back, or send it as the first."""
        if self._held is not None:
            if not self._is_released:
                self._held.append((data, datatype))
                return
            self._held = None
            self._begun()
        self._channel.send(data, datatype)

    def eof_received(self) -> None:
        """Both have ended."""
        self._eof = True
        if self._is_released and not self._is_dropped:
            self._channel.write_eof()

    def pause_writing(self) -> None:
        """The program does not read its input: the client's window closes."""
        if not self._is_dropped:
            self._channel.pause_reading()

    def resume_writing(self) -> None:
        """The program reads again."""
        if not self._is_dropped:
            self._channel.resume_reading()

    def connection_lost(self, cause: Exception | None) -> None:
        """The program has ended; `Session.wait` says how."""
