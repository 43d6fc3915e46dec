"""A login on the server behind: all its programs and forwards share one connection."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Final, TypeVar, cast

import asyncssh

from moorage.backend.contract import CleanUps, lost
from moorage.backend.observer import RequestObserver
from moorage.backend.sshproxy.connecting import Upstream, connected
from moorage.backend.sshproxy.streams import WINDOW, AcceptedStream, ForwardedStream, UpstreamProcess
from moorage.codes import Code
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import (
    Accepted,
    Listener,
    Process,
    ProcessReceiver,
    Progress,
    Receiver,
    Transport,
    cannot_jail,
)
from moorage.gateway.model import (
    Address,
    ListenSpec,
    Login,
    Program,
    ProgramKind,
    Target,
    TcpTarget,
    UnixTarget,
)

T = TypeVar("T")

_PROHIBITED: Final = 1
"""RFC 4254 §5.1: administratively prohibited."""

_GOODBYE: Final = 5.0
"""Seconds that the server behind has to end its side of the connection."""


_LAST_WORDS: Final = 0.5
"""Seconds that programs have to end after a signal."""

_LONGEST: Final = 128 * 1024
"""Bytes of a command or a variable: more than this no Linux takes, and servers end a connection at twice that."""

_MODES: Final = range(1, 160)
"""The terminal modes that have an argument (RFC 4254 §8)."""


class UpstreamGuest:
    """A login on ``sshproxy.server``; implements `Guest`."""

    def __init__(self, login: Login, clean_ups: CleanUps, observer: RequestObserver) -> None:
        self._login = login
        self._clean_ups = clean_ups
        self._observer = observer
        self._connection: asyncssh.SSHClientConnection | None = None
        self._banner = ""
        self._processes: set[UpstreamProcess] = set()
        self._closing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def open(self, progress: Progress) -> None:
        """Log in there, and put the login's files in place.  Cancelling leaves nothing; raises `BackendError`."""
        started = monotonic()
        self._observer.requested()
        try:
            self._connection, upstream = await connected(self._login, self._gone, progress)
            self._banner = _shown(upstream)
            await self._write_files()
        except BaseException as cause:
            if isinstance(cause, BackendError):
                self._observer.failed()
            await self.close("the login on the server behind failed")
            raise
        finally:
            self._observer.took("connect", monotonic() - started)

    # -- the guest

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """See `Guest.start`."""
        if program.jail is not None:
            raise cannot_jail()
        connection = self._open_connection()
        variables = {**self._variables(), **program.environment}
        _check(program.command, variables)
        process = UpstreamProcess(receiver, has_terminal=program.pty is not None)
        await self._kept(self._started(connection, process, program, variables), undo=lambda _: process.abandon())
        self._processes.add(process)
        asyncio.ensure_future(process.wait()).add_done_callback(lambda done: self._ended(process, done))
        asyncio.get_running_loop().call_soon(self._begin, process, receiver, program)
        return process

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """See `Guest.dial`."""
        connection = self._open_connection()
        stream = ForwardedStream(receiver)
        await self._kept(self._dialled(connection, target, stream), undo=lambda _: stream.abandon())
        asyncio.get_running_loop().call_soon(stream.begin)
        return stream

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """See `Guest.listen`."""
        return await self._kept(self._listening(self._open_connection(), spec, accepted), undo=_Listener.close)

    async def lost(self) -> BaseException | None:
        """See `Guest.lost`."""
        return await asyncio.shield(self._lost)

    async def close(self, reason: str) -> None:
        """See `Guest.close`."""
        if self._closing is None:
            self._closing = self._clean_ups.begin(self._close(reason), name="sshproxy/close")
        await asyncio.shield(self._closing)

    # -- inside

    def _open_connection(self) -> asyncssh.SSHClientConnection:
        if self._connection is None or self._lost.done() or self._closing is not None:
            raise lost(self._lost.result() if self._lost.done() else None)
        return self._connection

    def _gone(self, cause: Exception | None) -> None:
        if not self._lost.done() and self._connection is not None:
            is_ours = self._closing is not None
            self._lost.set_result(None if is_ours else cause or ConnectionResetError("the server behind has left"))

    async def _started(
        self,
        connection: asyncssh.SSHClientConnection,
        process: UpstreamProcess,
        program: Program,
        variables: Mapping[bytes, bytes],
    ) -> None:
        pty = program.pty
        terminal: dict[str, Any] = {"request_pty": False}
        if pty is not None:
            size = pty.size
            terminal = {
                "request_pty": "force",
                "term_type": cast("str", pty.term),
                "term_size": (size.columns, size.rows, size.width, size.height),
                "term_modes": {mode: value for mode, value in pty.modes.items() if mode in _MODES},
            }
        with self._refusals(Code.SSHPROXY_BACKEND_REQUEST_FAILED):
            await connection.create_session(
                lambda: process,
                cast("str", program.command or b" ") if program.kind is ProgramKind.EXEC else None,
                subsystem=cast("str", program.command) if program.kind is ProgramKind.SUBSYSTEM else None,
                env=cast("Mapping[bytes | str, bytes | str]", variables),
                send_env=None,
                x11_forwarding=False,
                encoding=None,
                window=WINDOW,
                **terminal,
            )

    async def _dialled(self, connection: asyncssh.SSHClientConnection, target: Target, stream: ForwardedStream) -> None:
        with self._refusals(Code.SSHPROXY_BACKEND_FORWARD_FAILED):
            if isinstance(target, TcpTarget):
                await connection.create_connection(
                    lambda: stream, target.host, target.port, encoding=None, window=WINDOW
                )
            else:
                await connection.create_unix_connection(
                    lambda: stream, _path(target.path), encoding=None, window=WINDOW
                )

    async def _listening(
        self, connection: asyncssh.SSHClientConnection, spec: ListenSpec, accepted: Accepted
    ) -> _Listener:
        def came(peer: Address | None) -> AcceptedStream:
            stream = AcceptedStream()
            try:
                stream.receives(accepted(peer, stream))
            except Refused as refused:
                raise asyncssh.ChannelOpenError(_PROHIBITED, refused.user_text) from refused
            return stream

        code = Code.SSHPROXY_BACKEND_FORWARD_FAILED
        with self._refusals(code):
            if isinstance(spec, TcpTarget):
                tcp = await connection.create_server(
                    lambda host, port: came(Address(host, port)), spec.host, spec.port, encoding=None, window=WINDOW
                )
                return _Listener(tcp, tcp.get_port())
            if isinstance(spec, UnixTarget):
                try:
                    path = spec.path.decode()
                except UnicodeDecodeError:
                    raise Refused("the path is no UTF-8", user_text="The path has to be UTF-8.", code=code) from None
                unix = await connection.create_unix_server(lambda: came(None), path, encoding=None, window=WINDOW)
                return _Listener(unix, 0, tidy=lambda: self._remove(path))
        raise Refused(
            f"{spec} cannot be offered on the server behind",
            user_text="Displays and agents are not forwarded to this server.",
            code=Code.SSHPROXY_X11_FAILED,
        )

    async def _kept(self, asked: Coroutine[Any, Any, T], *, undo: Callable[[T], Awaitable[None] | None]) -> T:
        """What `asked` brings.

        What the server behind has been asked for cannot be taken back: if the caller is cancelled it is waited for
        without him, and undone.
        """
        coming = asyncio.ensure_future(asked)
        try:
            return await asyncio.shield(coming)
        except asyncio.CancelledError:
            self._clean_ups.begin(_undone(coming, undo), name="sshproxy/undo")
            raise

    def _begin(self, process: UpstreamProcess, receiver: ProcessReceiver, program: Program) -> None:
        """The receiver may be called from now on; the first program shows what the server said before the login."""
        banner, self._banner = self._banner, ""
        if banner and program.pty is not None:
            receiver.data_received(banner.replace("\n", "\r\n").encode())
        elif banner and program.kind is not ProgramKind.SUBSYSTEM:
            receiver.stderr_received(banner.encode())
        process.begin()

    def _ended(self, process: UpstreamProcess, done: asyncio.Future[Any]) -> None:
        self._processes.discard(process)
        if not done.cancelled():
            done.exception()

    def _variables(self) -> Mapping[bytes, bytes]:
        values = self._login.metadata.environment
        return {name.encode(): text.value.encode() for name, text in values.items()}

    async def _write_files(self) -> None:
        files = self._login.metadata.files
        if not files or self._connection is None:
            return
        try:
            async with self._connection.start_sftp_client() as sftp:
                for path, file in files.items():
                    await sftp.makedirs(posixpath.dirname(path) or ".", exist_ok=True)
                    attributes = asyncssh.SFTPAttrs(permissions=0o600)
                    async with sftp.open(path, "wb", attributes) as target:
                        await target.write(file.value)
                    await sftp.chmod(path, 0o600)
        except (OSError, asyncssh.Error) as cause:
            raise BackendError(
                f"the login's files cannot be written on the server behind: {cause}",
                code=Code.SSHPROXY_BACKEND_REQUEST_FAILED,
            ) from cause

    async def _remove(self, path: str) -> None:
        """Remove the file of a socket that nobody listens on any more; OpenSSH's server leaves it."""
        with contextlib.suppress(BackendError, OSError, asyncssh.Error):
            async with self._open_connection().start_sftp_client() as sftp:
                await sftp.remove(path)

    @contextlib.contextmanager
    def _refusals(self, code: Code) -> Any:
        """What the server behind refuses is refused; a connection that is gone is lost."""
        try:
            yield
        except asyncssh.ChannelOpenError as cause:
            if self._lost.done() or self._closing is not None:
                raise lost(cause) from cause
            raise Refused(f"the server behind: {cause.reason}", user_text=cause.reason, code=code) from cause
        except asyncssh.ChannelListenError as cause:
            raise Refused(
                f"the server behind: {cause}", user_text="The server behind does not listen there.", code=code
            ) from cause
        except (asyncssh.Error, OSError) as cause:
            raise lost(cause) from cause

    async def _close(self, reason: str) -> None:
        del reason
        connection = self._connection
        if connection is not None:
            await self._end_processes()
            connection.close()
            try:
                async with asyncio.timeout(_GOODBYE):
                    await connection.wait_closed()
            except (TimeoutError, OSError, asyncssh.Error):
                connection.abort()
        if not self._lost.done():
            self._lost.set_result(None)

    async def _end_processes(self) -> None:
        """What does not end by itself is killed, as far as the server behind lets us."""
        processes = tuple(self._processes)
        for process in processes:
            process.give_up()
        for signals in (("HUP", "TERM"), ("KILL",)):
            left = [process for process in processes if not process.closed.is_set()]
            for process in left:
                for name in signals:
                    process.signal(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await asyncio.gather(*(process.closed.wait() for process in left))
        for process in processes:
            process.close()


class _Listener:
    """A listener on the server behind; implements `Listener`."""

    def __init__(
        self, listener: asyncssh.SSHListener, port: int, *, tidy: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`tidy` removes what the server behind leaves of a listener that is closed."""
        self._listener = listener
        self._tidy = tidy
        self.port = port
        self.environment: Mapping[bytes, bytes] = {}

    async def close(self) -> None:
        """See `Listener.close`."""
        self._listener.close()
        await self._listener.wait_closed()
        tidy, self._tidy = self._tidy, None
        if tidy is not None:
            await tidy()


def _check(command: bytes, variables: Mapping[bytes, bytes]) -> None:
    """Raises `Refused` for what no process can have, and what would end the connection to the server behind."""
    if len(command) > _LONGEST or any(len(name) + len(value) > _LONGEST for name, value in variables.items()):
        raise Refused("a command or variable is too long", user_text="The command or a variable is too long.")
    if b"\0" in command:
        raise Refused("the command holds a NUL", user_text="The command is not valid.")
    for name, value in variables.items():
        if not name or b"=" in name or b"\0" in name + value:
            raise Refused("a variable that no process can have", user_text="A variable's name or value is not valid.")


async def _undone(coming: asyncio.Future[T], undo: Callable[[T], Awaitable[None] | None]) -> None:
    """Undo what nobody waits for."""
    with contextlib.suppress(Refused, BackendError, OSError, asyncssh.Error):
        undoing = undo(await coming)
        if undoing is not None:
            await undoing


def _path(path: bytes) -> str:
    return cast("str", path)  # asyncssh sends both


def _shown(upstream: Upstream) -> str:
    """The banner as it may be shown: with line ends, and nothing that drives a terminal."""
    text = "".join(c for c in upstream.banner if c.isprintable() or c in "\n\t")
    return text if not text or text.endswith("\n") else text + "\n"
