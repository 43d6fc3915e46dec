"""A gateway whose guest is this process: programs by name, decisions by table."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import structlog
from tests.unit.ssh import loopback

from moorage.codes import Code
from moorage.errors import BackendError, Refused
from moorage.gateway.attempts import Outcome
from moorage.gateway.contract import (
    Accepted,
    Ask,
    Process,
    ProcessReceiver,
    Progress,
    Receiver,
    TicketExchange,
    Transport,
)
from moorage.gateway.model import (
    Address,
    AgentSocket,
    ExitStatus,
    ListenSpec,
    ProgramKind,
    Pty,
    Round,
    Size,
    Target,
    X11Display,
)
from moorage.net.penalties import Cause

CHUNK = 64 * 1024
BLOCK = bytes(range(256)) * (CHUNK // 256)


def settings(**changes: Any) -> Any:
    """What of the ``ssh`` section the server reads."""
    values: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "also_listen": (),
        "proxy_protocol_allowed_cidrs": (),
        "proxy_protocol_timeout": timedelta(seconds=5),
        "server_version": "SSH-2.0-Moorage",
        "ciphers": None,
        "kex": None,
        "macs": None,
        "banner": "",
        "client_alive_interval": timedelta(0),
        "client_alive_count_max": 3,
        "login_grace_time": timedelta(seconds=120),
        "max_auth_tries": 6,
        "refusal_time": timedelta(milliseconds=5),
        "max_channels": 128,
        "max_requests_per_second": 100_000,
        "max_env_bytes": 65536,
        "compression": False,
    }
    return SimpleNamespace(**{**values, **changes})


class FakeProcess:
    """A program of the in-process guest; `run` is its body."""

    def __init__(self, session: FakeSession, kind: ProgramKind, command: bytes, receiver: ProcessReceiver) -> None:
        self.session = session
        self.kind = kind
        self.command = command
        self.receiver = receiver
        self.input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.queued = 0
        self.most_queued = 0
        self.received = 0
        self.sent = 0
        self.signals: asyncio.Queue[str] = asyncio.Queue()
        self.sizes: asyncio.Queue[Size] = asyncio.Queue()
        self.can_write = asyncio.Event()
        self.can_write.set()
        self.is_full = False
        self.closed = asyncio.Event()
        self.status: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        body = PROGRAMS[command.split(b" ")[0]]
        self.task = asyncio.create_task(self._run(body), name="fake/program")

    async def _run(self, body: Callable[[FakeProcess], Awaitable[ExitStatus | int]]) -> None:
        try:
            result = await body(self)
            self.status.set_result(result if isinstance(result, ExitStatus) else ExitStatus(result))
        except asyncio.CancelledError:
            if not self.status.done():
                self.status.cancel()
        except Exception as error:  # noqa: BLE001 - whatever a program raises is its outcome
            self.status.set_exception(error)

    async def out(self, data: bytes) -> None:
        await self.can_write.wait()
        self.sent += len(data)
        self.receiver.data_received(data)

    async def read(self) -> bytes | None:
        data = await self.input.get()
        if data is not None:
            self.queued -= len(data)
            if self.is_full and self.queued <= CHUNK:
                self.is_full = False
                self.receiver.resume_writing()
        return data

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        assert data
        self.received += len(data)
        self.queued += len(data)
        self.most_queued = max(self.queued, self.most_queued)
        self.input.put_nowait(data)
        if not self.is_full and self.queued > 4 * CHUNK:
            self.is_full = True
            self.receiver.pause_writing()

    def write_eof(self) -> None:
        self.input.put_nowait(None)

    def pause_reading(self) -> None:
        self.can_write.clear()

    def resume_reading(self) -> None:
        self.can_write.set()

    def close(self) -> None:
        self.closed.set()
        self.task.cancel()

    def resize(self, size: Size) -> None:
        self.sizes.put_nowait(size)

    def signal(self, name: str) -> None:
        self.signals.put_nowait(name)

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self.status)


Body = Callable[[FakeProcess], Awaitable[ExitStatus | int]]
PROGRAMS: dict[bytes, Body] = {}


def program(name: str) -> Callable[[Body], Body]:
    def keep(body: Body) -> Body:
        PROGRAMS[name.encode()] = body
        return body

    return keep


def _number(process: FakeProcess) -> int:
    return int(process.command.split()[1])


@program("echo")
async def _echo(process: FakeProcess) -> int:
    await process.out(process.command[5:] + b"\n")
    return 0


@program("")
async def _shell(process: FakeProcess) -> ExitStatus | int:
    return await _cat(process)


@program("sftp")
async def _sftp(process: FakeProcess) -> int:
    await process.out(b"subsystem\n")
    return 0


@program("exit")
async def _exit(process: FakeProcess) -> int:
    return _number(process)


@program("die")
async def _die(process: FakeProcess) -> ExitStatus:
    return ExitStatus(signal=process.command.split()[1].decode(), core_dumped=True, message="died")


@program("lost")
async def _lost(process: FakeProcess) -> int:
    await process.out(b"partial\n")
    raise BackendError("gone", user_text="The environment has ended.")


@program("cat")
async def _cat(process: FakeProcess) -> int:
    while (data := await process.read()) is not None:
        await process.out(data)
    return 0


@program("count")
async def _count(process: FakeProcess) -> int:
    digest = hashlib.sha256()
    total = 0
    while (data := await process.read()) is not None:
        digest.update(data)
        total += len(data)
    await process.out(f"{total} {digest.hexdigest()}\n".encode())
    return 0


@program("source")
async def _source(process: FakeProcess) -> int:
    left = _number(process)
    while left:
        piece = BLOCK if left >= CHUNK else BLOCK[:left]
        left -= len(piece)
        await process.out(piece)
        await asyncio.sleep(0)
    process.receiver.eof_received()
    return 7


@program("both")
async def _both(process: FakeProcess) -> int:
    for index in range(100):
        await process.out(b"o%d\n" % index)
        process.receiver.stderr_received(b"e%d\n" % index)
    process.receiver.eof_received()
    return 3


@program("early-eof")
async def _early_eof(process: FakeProcess) -> int:
    await process.out(b"answer\n")
    process.receiver.eof_received()
    rest = b""
    while (data := await process.read()) is not None:
        rest += data
    return len(rest)


@program("late")
async def _late(process: FakeProcess) -> int:
    process.receiver.eof_received()
    return int(await process.signals.get())


@program("stuck")
async def _stuck(process: FakeProcess) -> int:
    await asyncio.Event().wait()
    return 0


@program("signals")
async def _signals(process: FakeProcess) -> int:
    await process.out(b"ready\n")
    await process.out((await process.signals.get()).encode() + b"\n")
    return 0


@program("size")
async def _size(process: FakeProcess) -> int:
    await process.out(b"ready\n")
    size = await process.sizes.get()
    await process.out(f"{size.columns}x{size.rows} {size.width}x{size.height}\n".encode())
    return 0


@program("env")
async def _env(process: FakeProcess) -> int:
    for name, value in sorted(process.session.variables.items()):
        await process.out(name + b"=" + value + b"\n")
    return 0


@program("run")
async def _run(process: FakeProcess) -> int:
    """A real command, with the session's variables."""
    child = await asyncio.create_subprocess_shell(
        process.command[4:].decode(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **{name.decode(): value.decode() for name, value in process.session.variables.items()}},
    )
    out, _ = await child.communicate()
    if out:
        await process.out(out)
    return child.returncode or 0


@program("broken")
async def _broken(process: FakeProcess) -> int:
    raise RuntimeError("a bug in the guest")


class FakeSession:
    """The gateway's side of a session."""

    def __init__(self, connection: FakeConnection, channel: int) -> None:
        self.connection = connection
        self.channel = channel
        self.variables: dict[bytes, bytes] = {}
        self.pty: Pty | None = None
        self.process: FakeProcess | None = None
        self.has_output = 0
        self.is_closed = asyncio.Event()

    def environment(self, name: bytes, value: bytes) -> bool:
        if name.startswith(b"LD_"):
            return False
        self.variables[name] = value
        return True

    def terminal(self, pty: Pty) -> bool:
        self.pty = pty
        return True

    async def x11(self, display: X11Display, accepted: Accepted) -> bool:
        return await self._offered(display, accepted)

    async def agent(self, accepted: Accepted) -> bool:
        return await self._offered(AgentSocket(), accepted)

    async def _offered(self, spec: ListenSpec, accepted: Accepted) -> bool:
        try:
            listener = await self.connection.listen(spec, accepted)
        except Refused:
            return False
        self.variables.update(listener.environment)
        return True

    async def start(
        self, kind: ProgramKind, command: bytes, receiver: ProcessReceiver, progress: Progress | None
    ) -> Process:
        await self.connection.gateway.before_start(progress)
        if command.split(b" ")[0] not in PROGRAMS:
            raise Refused("no such program", user_text="There is no such program.")
        self.process = FakeProcess(self, kind, command, receiver)
        self.connection.gateway.processes.append(self.process)
        return self.process

    async def wait(self) -> ExitStatus:
        assert self.process is not None
        return await self.process.wait()

    def not_understood(self, request: str, payload: bytes, reason: str = "") -> None:
        self.connection.misunderstood.append((self.channel, request, payload, reason))

    def output_begun(self) -> None:
        self.has_output += 1

    def resize(self, size: Size) -> bool:
        if self.process is None:
            return False
        self.process.resize(size)
        return True

    def signal(self, name: str) -> bool:
        if self.process is None:
            return False
        self.process.signal(name)
        return True

    def closed(self) -> None:
        self.is_closed.set()
        if self.process is not None:
            self.process.close()


class FakeTransport:
    """A dialled connection that echoes."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.receiver.data_received(data)

    def write_eof(self) -> None:
        self.receiver.data_received(b"bye\n")
        self.receiver.eof_received()
        self.receiver.connection_lost(None)

    def pause_reading(self) -> None:
        """Nothing is ever under way."""

    def resume_reading(self) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        self.is_closed = True


class FakeConnection:
    """The gateway's side of a connection."""

    def __init__(self, gateway: FakeGateway, number: int, peer: Address) -> None:
        self.gateway = gateway
        self.id = f"{number:032x}"
        self.reference = self.id[:12]
        self.peer = peer
        self.disconnect: Callable[[str], None] | None = None
        self.log = structlog.get_logger()
        self.version = ""
        self.failures = 0
        self.passed = 0
        self.username = ""
        self.fault: Cause | None = None
        self.sessions: list[FakeSession] = []
        self.misunderstood: list[tuple[int | None, str, bytes, str]] = []
        self.end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def fingerprinted(self, hassh: str, algorithms: str) -> None:
        self.hassh, self.algorithms = hassh, algorithms

    def not_understood(self, request: str, payload: bytes, reason: str = "") -> None:
        self.misunderstood.append((None, request, payload, reason))

    @property
    def attempts(self) -> FakeConnection:
        return self

    @property
    def methods(self) -> Sequence[str]:
        return self.gateway.methods if self.passed == 0 else self.gateway.second

    def take_notice(self) -> str:
        return ""

    async def begin(self, username: str) -> None:
        self.gateway.begun.append(username)

    def identified(self, client_version: str) -> None:
        self.version = client_version

    async def password(self, username: str, password: bytes) -> Outcome:
        await self.gateway.before_answer()
        self.gateway.passwords.append((username, password))
        return self._outcome(self.gateway.users.get(username) == password)

    async def ticket(self, username: str, exchange: TicketExchange) -> Outcome:
        token = await exchange.receive()
        exchange.send(b"answer to " + token)
        data, mic = await exchange.proof()
        self.gateway.tickets.append((username, token, data, mic))
        return self._outcome(mic == b"good")

    async def keyboard_interactive(self, username: str, ask: Ask) -> Outcome:
        for shown, wanted in self.gateway.questions:
            answers = list(await ask(shown))
            self.gateway.answers.append(answers)
            if answers != wanted:
                return self._outcome(False)
        await self.gateway.before_answer()
        return self._outcome(True)

    async def public_key(self, username: str, key: str) -> bool:
        self.gateway.keys_asked.append((username, key))
        return self._count(key in self.gateway.keys)

    async def key_verified(self, username: str, key: str, *, touched: bool = True, verified: bool = True) -> Outcome:
        self.gateway.keys_verified.append((username, key))
        self.gateway.presences.append((touched, verified))
        return self._outcome(key in self.gateway.keys)

    def _outcome(self, success: bool) -> Outcome:
        if not self._count(success):
            return Outcome.REFUSED
        self.passed += 1
        return Outcome.PARTIAL if self.gateway.second and self.passed == 1 else Outcome.ACCEPTED

    def _count(self, success: bool) -> bool:
        self.failures += not success
        return success

    def tries_left(self) -> int:
        return max(0, 6 - self.failures)

    def logged_in(self, username: str) -> None:
        self.username = username

    async def guest(self, progress: Progress | None) -> None:
        del progress

    async def open_session(self) -> FakeSession:
        if len(self.sessions) >= self.gateway.max_sessions:
            raise Refused("too many", user_text="Too many sessions.")
        session = FakeSession(self, len(self.sessions))
        self.sessions.append(session)
        return session

    async def dial(self, target: Target, originator: Address | None, receiver: Receiver) -> Transport:
        self.gateway.dialled.append((target, originator))
        if not self.gateway.may_dial:
            raise Refused("no", user_text="Forwarding is disabled.", code=Code.SECURITY_FORWARDING_REJECTED)
        if self.gateway.is_loopback:
            return await loopback.dial(target, receiver)
        return FakeTransport(receiver)

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> loopback.Listening:
        self.gateway.listened.append(spec)
        await self.gateway.before_listen()
        if not self.gateway.is_loopback:
            raise Refused("no", code=Code.SECURITY_REVERSE_FORWARDING_REJECTED)
        listener = await loopback.listen(spec, accepted)
        self.gateway.listeners.append(listener)
        return listener

    def ended(self, cause: BaseException | None, fault: Cause | None = None) -> None:
        assert not self.end.done()
        self.fault = fault
        self.end.set_result(cause)


async def _at_once(progress: Progress | None = None) -> None:
    """No wait."""


@dataclass
class FakeGateway:
    """All decisions, and what was asked."""

    methods: Sequence[str] = ("publickey", "password")
    second: Sequence[str] = ()
    """Methods of a second factor, where one is demanded."""
    questions: Sequence[tuple[Round, list[str]]] = ()
    """Rounds of keyboard-interactive, and the answers that are wanted."""
    users: dict[str, bytes] = field(default_factory=lambda: {"alice": b"secret"})
    keys: set[str] = field(default_factory=set)
    max_sessions: int = 100
    may_dial: bool = False
    is_loopback: bool = False
    is_draining: bool = False
    before_listen: Callable[[], Awaitable[None]] = _at_once
    before_start: Callable[[Progress | None], Awaitable[None]] = _at_once
    before_answer: Callable[[], Awaitable[None]] = _at_once
    connections: list[FakeConnection] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)
    passwords: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    keys_asked: list[tuple[str, str]] = field(default_factory=list)
    keys_verified: list[tuple[str, str]] = field(default_factory=list)
    tickets: list[tuple[str, bytes, bytes, bytes]] = field(default_factory=list)
    presences: list[tuple[bool, bool]] = field(default_factory=list)
    dialled: list[tuple[Target, Address | None]] = field(default_factory=list)
    listened: list[ListenSpec] = field(default_factory=list)
    listeners: list[loopback.Listening] = field(default_factory=list)

    def connect(self, peer: Address, local: Address | None) -> FakeConnection:
        if self.is_draining:
            raise Refused("draining", user_text="The server is shutting down.")
        connection = FakeConnection(self, len(self.connections), peer)
        self.connections.append(connection)
        return connection
