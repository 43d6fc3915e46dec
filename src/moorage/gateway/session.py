"""A session: what the client asks for on one channel of type ``session`` (RFC 4254 §6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from moorage.codes import Code
from moorage.errors import BackendError, Failure, Refused
from moorage.gateway import events
from moorage.gateway.contract import Accepted, Listener, Process, ProcessReceiver, Progress
from moorage.gateway.model import AgentSocket, ExitStatus, ListenSpec, Program, ProgramKind, Pty, Size, X11Display
from moorage.gateway.policy import Policy
from moorage.gateway.recording import ProgramTap

if TYPE_CHECKING:
    from moorage.gateway.connection import Connection

T = TypeVar("T")


class Session:
    """One session; made by `Connection.open_session`.

    The order of a client: environment and terminal before the program, sizes and signals any
    time.  `policy` is None where the login's configuration could not be had: then everything
    is granted and `start` raises what went wrong, so that the user gets to read it.
    """

    def __init__(self, connection: Connection, channel: int, policy: Policy | None) -> None:
        self.channel = channel
        self._connection = connection
        self._policy = policy
        self._limits = connection.limits
        self._environment: dict[bytes, bytes] = {}
        self._environment_bytes = 0
        self._pty: Pty | None = None
        self._process: Process | None = None
        self._found_by: dict[bytes, bytes] = {}
        """How the program finds what listens for it: this is ours to set, whatever the client sends."""
        self._display: Listener | None = None
        self._is_started = False
        self._is_closed = False
        self.warn: Callable[[str], None] = lambda line: None
        """Shows the user a line, where there is a terminal; set by the SSH room."""

    @property
    def connection(self) -> Connection:
        """The connection that the session belongs to."""
        return self._connection

    def environment(self, name: bytes, value: bytes) -> bool:
        """Set a variable for the program; the last value of a name counts.  False if it is refused."""
        try:
            if self._is_started:
                raise Refused("environment after the program has started")
            if b"=" in name or b"\0" in name + value or not name:
                raise Refused(f"{name!r} cannot name a variable", code=Code.SECURITY_ENV_REJECTED)
            size = self._environment_bytes + len(name) + len(value)
            if size > self._limits.max_env_bytes:
                raise Refused("the session's environment is too large", code=Code.SSH_LIMIT_REACHED)
            if self._policy is not None:
                self._policy.environment(name)
        except Refused as refused:
            return self._decided("env", name, refused, asked=(name, value))
        self._environment[name] = value
        self._environment_bytes = size
        return self._decided("env", name, asked=(name, value))

    def terminal(self, pty: Pty) -> bool:
        """Run the program on a terminal; the last request counts.  False if it is refused."""
        try:
            if self._is_started:
                raise Refused("a terminal after the program has started")
            if self._policy is not None:
                self._policy.terminal()
        except Refused as refused:
            return self._decided("pty-req", pty.term, refused, asked=pty)
        self._pty = pty
        return self._decided("pty-req", pty.term, asked=pty)

    async def x11(self, display: X11Display, accepted: Accepted) -> bool:
        """Offer the program a display, once; it goes when the session closes.  False if it is refused.

        `accepted` is asked about each connection to the display.
        """
        try:
            self._before_start(display)
            if self._display is not None:
                raise Refused("the session has a display already")
            listener = await self._connection.listen(display, accepted)
            if self._is_closed:
                await listener.close()
                raise Refused("the session was closed meanwhile")
        except Failure as failure:
            return self._decided("x11-req", display.protocol, failure, asked=display)
        self._display = listener
        self._found_by.update(listener.environment)
        return self._decided("x11-req", display.protocol, asked=display)

    async def agent(self, accepted: Accepted) -> bool:
        """Offer the program the user's ssh-agent; all sessions of a connection share one socket.  False if refused."""
        try:
            self._before_start(AgentSocket())
            self._found_by.update(await self._connection.forwarding.agent(accepted))
        except Failure as failure:
            return self._decided("auth-agent-req@openssh.com", b"", failure)
        return self._decided("auth-agent-req@openssh.com", b"")

    def _before_start(self, spec: ListenSpec) -> None:
        if self._is_started:
            raise Refused(f"{spec} after the program has started")

    async def start(
        self, kind: ProgramKind, command: bytes, receiver: ProcessReceiver, progress: Progress | None
    ) -> Process:
        """Start the session's one program in the guest, waiting for the guest if need be.

        Raises `Refused` when policy or the guest says no, and any other `Failure` when
        there is no guest: its `user_text` is for the user.
        """
        if self._is_started:
            raise Refused("a program is already running", user_text="A program is already running on this session.")
        self._is_started = True
        self._connection.emit(events.ProgramAsked(channel=self.channel, kind=kind, command=command))
        recording = self._connection.recording
        tap = None
        if recording is not None and recording.wanted.programs:
            tap = ProgramTap(recording, self.channel, receiver)
        program = Program(kind, command, {**self._environment, **self._found_by}, self._pty)
        try:
            if self._policy is not None:
                program = self._policy.program(program)
            guest = await self._connection.guest(progress)
            process = await self._explained(guest.start(program, receiver if tap is None else tap))
            self._process = process if tap is None else tap.of(process)
        except Refused as refused:
            self._is_started = False
            self._decided(kind.value, command, refused)
            raise
        if self._is_closed:
            self._process.close()
        self._decided(kind.value, command)
        self._connection.emit(events.ProgramStarted(channel=self.channel, program=program))
        return self._process

    async def wait(self) -> ExitStatus:
        """The program's exit status, after its last byte of output was delivered.

        Raises `BackendError` when the guest was lost first.
        """
        assert self._process is not None
        status = None
        try:
            status = await self._explained(self._process.wait())
        except asyncio.CancelledError:
            raise
        except BackendError:
            self._connection.emit(events.ProgramExited(channel=self.channel, status=None))
            raise
        self._connection.emit(events.ProgramExited(channel=self.channel, status=status))
        return status

    async def _explained(self, asked: Awaitable[T]) -> T:
        """What the guest answers; its failures are logged, since the user is told to refer to the log."""
        try:
            return await asked
        except Refused:
            raise
        except Failure as failure:
            if not self._is_closed:
                cause = str(failure.__cause__ or "")
                self._connection.log.warning(str(failure), code=failure.code, channelId=self.channel, cause=cause)
            raise

    def output_begun(self) -> None:
        """The first byte of the program's output is on its way to the client."""
        self._connection.emit(events.OutputBegun(channel=self.channel))

    def not_understood(self, request: str, payload: bytes, reason: str = "") -> None:
        """A request of the client's was refused since nobody knows it, or, with a `reason`, since it is malformed."""
        event = events.RequestNotUnderstood(channel=self.channel, request=request, payload=payload, reason=reason)
        self._connection.emit(event)

    def resize(self, size: Size) -> bool:
        """The client's window has a new size; remembered if the program is not running yet."""
        if self._pty is None:
            return False
        self._pty = Pty(self._pty.term, size, self._pty.modes)
        if self._process is not None:
            self._process.resize(size)
        self._connection.emit(events.TerminalResized(channel=self.channel, size=size))
        return True

    def signal(self, name: str) -> bool:
        """Send a signal to the program.  False if it is refused."""
        try:
            if self._process is None:
                raise Refused("a signal before the program has started")
            if self._policy is not None:
                self._policy.signal(name)
        except Refused as refused:
            return self._decided("signal", name.encode("utf-8", "replace"), refused)
        self._process.signal(name)
        return self._decided("signal", name.encode("utf-8", "replace"))

    def closed(self) -> None:
        """The channel is closed: a program that still runs is hung up.  Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._process is not None:
            self._process.close()
        if self._display is not None:
            self._connection.forwarding.release(self._display)
        self._connection.session_closed(self)

    def _decided(
        self, request: str, detail: bytes, refused: Failure | None = None, *, asked: events.Asked = None
    ) -> bool:
        self._connection.emit(
            events.RequestDecided(
                channel=self.channel,
                request=request,
                detail=detail.decode("utf-8", "backslashreplace"),
                granted=refused is None,
                reason="" if refused is None else str(refused),
                asked=asked,
            )
        )
        return refused is None
