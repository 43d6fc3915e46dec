"""The life of a connection, with services that answer, refuse, fail and hang on command."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
import structlog.testing

from moorage.codes import Code
from moorage.config import AppConfig, load_text
from moorage.errors import AuthError, BackendError, ConfigError, Refused
from moorage.gateway import events
from moorage.gateway.attempts import Outcome
from moorage.gateway.connection import Connection, Gateway
from moorage.gateway.contract import (
    Accepted,
    Ask,
    Guest,
    Listener,
    Process,
    ProcessReceiver,
    Progress,
    Receiver,
    TicketExchange,
    Transport,
)
from moorage.gateway.model import (
    Address,
    Attempt,
    ConnectionId,
    ExitStatus,
    ListenSpec,
    Login,
    Metadata,
    Program,
    ProgramKind,
    Prompt,
    Pty,
    Restrictions,
    Round,
    Size,
    Target,
    TextValue,
    Verdict,
)

PEER = Address("192.0.2.7", 40000)
KEY = "ssh-ed25519 AAAA"
CODE = Round(prompts=(Prompt("Code: "),))


@dataclass
class Authenticator:
    """Accepts what it is told to, and counts what it is asked."""

    passwords: dict[str, bytes] = field(default_factory=lambda: {"mia": b"right"})
    keys: set[tuple[str, str]] = field(default_factory=lambda: {("mia", KEY)})
    authorized: bool = True
    broken: bool = False
    restrictions: Restrictions = field(default_factory=Restrictions)
    asked: list[str] = field(default_factory=list)
    taken_back: list[Metadata] = field(default_factory=list)
    lists: Sequence[Sequence[str]] = ()

    @property
    def methods(self) -> Sequence[str]:
        return ("publickey", "password", "keyboard-interactive")

    def _answer(self, what: str, success: bool, **metadata: TextValue) -> Verdict:
        self.asked.append(what)
        if self.broken:
            raise AuthError("the service is down")
        return Verdict(success, metadata=Metadata(metadata))

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        return self._answer("password", self.passwords.get(attempt.username) == password, by=TextValue("password"))

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        raise AuthError("tickets are not tested here")

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        (code,) = await ask(CODE)
        return self._answer("code", code == "123456", by=TextValue("code"))

    async def required(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        if self.broken:
            raise AuthError("the service is down")
        return self.lists

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        answer = self._answer("key", (attempt.username, key) in self.keys, by=TextValue(f"key of {attempt.username}"))
        return replace(answer, restrictions=self.restrictions)

    async def ended(self, metadata: Metadata) -> None:
        self.taken_back.append(metadata)

    async def authorize(self, attempt: Attempt) -> Verdict:
        return self._answer("authorize", self.authorized)

    async def close(self) -> None: ...


@dataclass
class Source:
    config: AppConfig
    failure: Exception | None = None

    async def resolve(self, attempt: Attempt) -> tuple[AppConfig, Attempt]:
        if self.failure is not None:
            raise self.failure
        return self.config, attempt

    def rebase(self, config: AppConfig) -> None:
        self.config = config

    async def close(self) -> None: ...


class FakeProcess:
    def __init__(self) -> None:
        self.calls: list[object] = []
        self.exit: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.calls.append("close")

    def resize(self, size: Size) -> None:
        self.calls.append(size)

    def signal(self, name: str) -> None:
        self.calls.append(name)

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self.exit)


class FakeTransport:
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.calls.append(f"write {len(data)}")

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def close(self) -> None:
        self.calls.append("close")


class FakeListener:
    def __init__(self, spec: ListenSpec, accepted: Accepted) -> None:
        self.spec = spec
        self.accepted = accepted
        self.port = 4711
        self.environment: Mapping[bytes, bytes] = {b"FOUND_BY": type(spec).__name__.encode()}
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


class FakeGuest:
    def __init__(self) -> None:
        self.started: list[Program] = []
        self.processes: list[FakeProcess] = []
        self.closed: list[str] = []
        self.dialled: list[Receiver] = []
        self.listeners: list[FakeListener] = []
        self.refusal: Exception | None = None
        self.may_listen = asyncio.Event()
        self.may_listen.set()
        self.end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        self.started.append(program)
        self.processes.append(FakeProcess())
        return self.processes[-1]

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        self.dialled.append(receiver)
        if self.refusal is not None:
            raise self.refusal
        return FakeTransport()

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        await self.may_listen.wait()
        if self.refusal is not None:
            raise self.refusal
        self.listeners.append(FakeListener(spec, accepted))
        return self.listeners[-1]

    async def lost(self) -> BaseException | None:
        return await asyncio.shield(self.end)

    async def close(self, reason: str) -> None:
        self.closed.append(reason)
        if not self.end.done():
            self.end.set_result(None)


class FakeBackend:
    def __init__(self) -> None:
        self.logins: list[Login] = []
        self.guests: list[FakeGuest] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = False
        self.progress: Progress | None = None

    async def open(self, login: Login, progress: Progress) -> Guest:
        self.logins.append(login)
        self.progress = progress
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.failure is not None:
            raise self.failure
        self.guests.append(FakeGuest())
        return self.guests[-1]

    async def close(self) -> None: ...


class World:
    """A gateway and all its collaborators."""

    def __init__(self) -> None:
        self.authenticator = Authenticator()
        self.source = Source(AppConfig.model_validate({"backend": "docker"}))
        self.backend = FakeBackend()
        self.heard: list[events.Event] = []
        self.gateway = Gateway(
            self.source.config,
            authenticator=self.authenticator,
            source=self.source,
            backends=lambda _: self.backend,
            listeners=[lambda _, __: self.heard.append],
            clock=lambda: 5.0,
            new_id=lambda: ConnectionId("0123456789abcdef" * 2),
        )
        self.texts: list[str] = []

    def connect(self) -> Connection:
        connection = self.gateway.connect(PEER)
        connection.attempts.identified("SSH-2.0-Test")

        def disconnect(text: str) -> None:
            self.texts.append(text)
            connection.ended(None)

        connection.disconnect = disconnect
        return connection

    async def login(self) -> Connection:
        connection = self.connect()
        assert await connection.attempts.password("mia", b"right") is Outcome.ACCEPTED
        connection.logged_in("mia")
        return connection

    def heard_of(self, kind: type[events.Event]) -> list[events.Event]:
        return [event for event in self.heard if isinstance(event, kind)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.gateway.drain(0)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


async def start(connection: Connection, command: bytes = b"true") -> None:
    session = await connection.open_session()
    await session.start(ProgramKind.EXEC, command, None, None)  # type: ignore[arg-type]


async def test_a_guest_is_opened_at_login_and_closed_with_the_connection(world: World) -> None:
    connection = await world.login()
    await until(lambda: world.backend.guests)
    await start(connection)
    connection.ended(None)
    await until(lambda: not world.gateway.connections)
    assert world.backend.guests[0].closed == ["the connection has ended"]
    assert [type(event).__name__ for event in world.heard] == [
        "ConnectionOpened",
        "AuthAttempted",
        "LoginAccepted",
        "GuestOpened",
        "SessionOpened",
        "ProgramAsked",
        "RequestDecided",
        "ProgramStarted",
        "ConnectionClosed",
    ]
    assert all(event.at == 5.0 for event in world.heard)


async def test_no_guest_is_opened_before_the_login_is_complete(world: World) -> None:
    connection = world.connect()
    assert await connection.attempts.public_key("mia", KEY)
    assert await connection.attempts.password("mia", b"right") is Outcome.ACCEPTED
    await asyncio.sleep(0)
    assert world.backend.logins == []
    connection.ended(None)
    await until(lambda: not world.gateway.connections)
    assert world.backend.logins == []
    assert world.heard_of(events.HandshakeFailed)


async def test_a_key_is_asked_about_once_and_authorized_only_when_it_signed(world: World) -> None:
    connection = world.connect()
    assert await connection.attempts.public_key("mia", KEY)
    assert await connection.attempts.public_key("mia", KEY)
    assert world.authenticator.asked == ["key"]
    assert not world.heard_of(events.AuthAttempted)
    assert await connection.attempts.key_verified("mia", KEY) is Outcome.ACCEPTED
    assert world.authenticator.asked == ["key", "authorize"]


@pytest.mark.parametrize(
    ("config", "restrictions", "touched", "verified", "good"),
    [
        ("{}", Restrictions(), True, False, True),
        ("{}", Restrictions(), False, False, False),
        ("{}", Restrictions(touch_required=False), False, False, True),
        ("{touchRequired: true}", Restrictions(touch_required=False), False, False, False),
        ("{}", Restrictions(verify_required=True), True, False, False),
        ("{}", Restrictions(verify_required=True), True, True, True),
        ("{verifyRequired: true}", Restrictions(), True, False, False),
        ("{verifyRequired: true}", Restrictions(), True, True, True),
    ],
)
async def test_a_security_key_must_have_seen_its_user(
    world: World, config: str, restrictions: Restrictions, touched: bool, verified: bool, good: bool
) -> None:
    text = f"auth: {{publicKey: {{fido: {config}}}}}"
    world.gateway.reconfigure(load_text(text, "c.yaml").config)
    world.authenticator.restrictions = restrictions
    connection = world.connect()
    assert await connection.attempts.key_verified("mia", KEY, touched=touched, verified=verified) is (
        Outcome.ACCEPTED if good else Outcome.REFUSED
    )


async def test_what_the_credential_restricts_is_no_part_of_the_login(world: World) -> None:
    world.authenticator.restrictions = Restrictions(force_command="date", terminal=False)
    connection = world.connect()
    assert await connection.attempts.key_verified("mia", KEY) is Outcome.ACCEPTED
    connection.logged_in("mia")
    await until(lambda: world.backend.logins)
    security = world.backend.logins[0].config.security
    assert (security.force_command, security.tty.mode) == ("date", "disable")


async def test_what_methods_have_attached_is_taken_back_when_the_connection_is_gone(world: World) -> None:
    connection = world.connect()
    world.authenticator.authorized = False
    assert await connection.attempts.password("mia", b"right") is Outcome.REFUSED
    world.authenticator.authorized = True
    assert await connection.attempts.password("mia", b"right") is Outcome.ACCEPTED
    connection.logged_in("mia")
    assert not world.authenticator.taken_back
    connection.ended(None)
    await until(lambda: not world.gateway.connections)
    assert world.authenticator.taken_back == [Metadata({"by": TextValue("password")})] * 2


async def test_what_was_attached_to_another_attempt_never_reaches_the_login(world: World) -> None:
    world.authenticator.keys.add(("bob", KEY))
    connection = world.connect()
    assert await connection.attempts.public_key("bob", KEY)
    assert await connection.attempts.password("mia", b"right") is Outcome.ACCEPTED
    connection.logged_in("mia")
    await until(lambda: world.backend.logins)
    assert world.backend.logins[0].metadata.metadata == {"by": TextValue("password")}


async def test_the_key_that_signed_decides_not_the_key_that_was_offered(world: World) -> None:
    world.authenticator.keys.add(("bob", KEY))
    connection = world.connect()
    assert await connection.attempts.public_key("bob", KEY)
    assert await connection.attempts.key_verified("mia", KEY) is Outcome.ACCEPTED
    with pytest.raises(AssertionError):
        connection.logged_in("bob")


async def test_refusals_count_and_accepted_key_queries_do_not(world: World) -> None:
    connection = world.connect()
    before = connection.attempts.tries_left()
    assert await connection.attempts.password("mia", b"wrong") is Outcome.REFUSED
    assert not await connection.attempts.public_key("mia", "ssh-rsa BBBB")
    assert await connection.attempts.public_key("mia", KEY)
    assert connection.attempts.tries_left() == before - 1, "refused keys have a budget of their own"


async def test_an_authorisation_that_refuses_is_a_refusal(world: World) -> None:
    world.authenticator.authorized = False
    connection = world.connect()
    assert await connection.attempts.password("mia", b"right") is Outcome.REFUSED
    assert await connection.attempts.key_verified("mia", KEY) is Outcome.REFUSED


async def test_a_broken_service_fails_closed_and_is_told_apart_for_the_operator(world: World) -> None:
    world.authenticator.broken = True
    connection = world.connect()
    assert await connection.attempts.password("mia", b"right") is Outcome.REFUSED
    assert not await connection.attempts.public_key("mia", KEY)
    assert [event.available for event in world.heard if isinstance(event, events.AuthAttempted)] == [False, False]
    world.authenticator.broken = False
    assert await connection.attempts.public_key("mia", KEY)


@pytest.mark.parametrize("failure", [BackendError("engine down", user_text="No environment."), RuntimeError("bug")])
async def test_a_guest_that_cannot_be_opened_is_told_when_a_program_is_asked_for(
    world: World, failure: Exception
) -> None:
    world.backend.failure = failure
    connection = await world.login()
    session = await connection.open_session()
    assert session.environment(b"LANG", b"C")
    with pytest.raises(BackendError) as caught:
        await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    assert caught.value.user_text in {"No environment.", "An internal error has occurred."}
    assert "bug" not in caught.value.user_text


async def test_a_client_that_asks_for_no_program_is_told_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.gateway.connection._LAST_WORDS", 0.01)
    world.backend.failure = BackendError("engine down", user_text="No environment.")
    await world.login()
    await until(lambda: world.texts)
    assert world.texts == ["No environment. (reference 0123456789ab)"]


async def test_a_configuration_that_cannot_be_had_is_told_when_a_program_is_asked_for(world: World) -> None:
    world.source.failure = ConfigError("bad answer")
    connection = await world.login()
    session = await connection.open_session()
    with pytest.raises(ConfigError):
        await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    assert world.backend.logins == []


async def test_a_connection_that_ends_while_its_guest_opens_cancels_the_opening(world: World) -> None:
    world.backend.gate.clear()
    connection = await world.login()
    await until(lambda: world.backend.logins)
    connection.ended(None)
    await until(lambda: not world.gateway.connections)
    assert world.backend.cancelled


async def test_a_lost_guest_ends_its_connection_with_a_reference(world: World) -> None:
    await world.login()
    await until(lambda: world.backend.guests)
    world.backend.guests[0].end.set_result(RuntimeError("killed"))
    await until(lambda: world.texts)
    assert world.texts == ["The environment has ended (reference 0123456789ab)."]


@pytest.mark.parametrize("is_closed", [False, True], ids=["wanted", "hung up"])
async def test_a_program_that_is_lost_is_explained_in_the_log_even_if_the_client_leaves_first(
    world: World, is_closed: bool
) -> None:
    connection = await world.login()
    session = await connection.open_session()
    await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    if is_closed:
        session.closed()
    world.backend.guests[0].processes[0].exit.set_exception(BackendError("torn off", code=Code.GUEST_LOST))
    with structlog.testing.capture_logs() as logged, pytest.raises(BackendError):
        await session.wait()
    assert [(line["event"], line["code"]) for line in logged] == [("torn off", Code.GUEST_LOST)] * (not is_closed)


async def test_waiting_sessions_hear_what_is_going_on(world: World) -> None:
    world.backend.gate.clear()
    connection = await world.login()
    await until(lambda: world.backend.progress)
    assert world.backend.progress is not None
    world.backend.progress("pulling image: 10 %")
    session = await connection.open_session()
    lines: list[str] = []
    starting = asyncio.ensure_future(session.start(ProgramKind.SHELL, b"", None, lines.append))  # type: ignore[arg-type]
    await until(lambda: lines)
    world.backend.progress("starting")
    world.backend.gate.set()
    await starting
    assert lines == ["pulling image: 10 %", "starting"]


async def test_policy_is_that_of_the_logins_own_configuration(world: World) -> None:
    world.source.config = AppConfig.model_validate(
        {"security": {"maxSessions": 1, "tty": {"mode": "disable"}, "forceCommand": "menu"}}
    )
    connection = await world.login()
    session = await connection.open_session()
    with pytest.raises(Refused):
        await connection.open_session()
    assert not session.terminal(Pty(b"xterm", Size()))
    await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    assert world.backend.guests[0].started[0].command == b"menu"
    session.closed()
    session.closed()
    assert world.backend.guests[0].processes[0].calls == ["close"]
    await connection.open_session()


async def test_a_session_runs_one_program_and_its_environment_is_bounded(world: World) -> None:
    connection = await world.login()
    session = await connection.open_session()
    limit = world.gateway.config.ssh.max_env_bytes
    assert not session.environment(b"BIG", b"x" * limit)
    assert not session.environment(b"A=B", b"x")
    assert not session.environment(b"", b"x")
    assert not session.environment(b"A", b"\0")
    assert session.environment(b"A", b"\xff")
    assert not session.signal("TERM")
    await session.start(ProgramKind.EXEC, b"true", None, None)  # type: ignore[arg-type]
    assert not session.environment(b"LATE", b"x")
    assert not session.terminal(Pty(b"xterm", Size()))
    with pytest.raises(Refused):
        await session.start(ProgramKind.EXEC, b"true", None, None)  # type: ignore[arg-type]
    assert world.backend.guests[0].started[0].environment == {b"A": b"\xff"}
    assert session.signal("TERM")
    assert world.backend.guests[0].processes[0].calls == ["TERM"]


async def test_a_size_is_remembered_until_the_program_runs(world: World) -> None:
    connection = await world.login()
    session = await connection.open_session()
    assert not session.resize(Size(10, 10))
    assert session.terminal(Pty(b"xterm", Size()))
    assert session.resize(Size(100, 50))
    await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    pty = world.backend.guests[0].started[0].pty
    assert pty is not None
    assert pty.size == Size(100, 50)
    assert session.resize(Size(90, 40))
    assert world.backend.guests[0].processes[0].calls == [Size(90, 40)]


async def test_draining_takes_nothing_new_and_waits_for_sessions(world: World) -> None:
    idle, busy = await world.login(), await world.login()
    session = await busy.open_session()
    draining = asyncio.ensure_future(world.gateway.drain(60))
    await until(lambda: idle.closing)
    assert not busy.closing
    with pytest.raises(Refused):
        world.gateway.connect(PEER)
    with pytest.raises(Refused):
        await busy.open_session()
    session.closed()
    async with asyncio.timeout(5):
        await draining
    assert busy.closing


async def test_at_the_deadline_draining_ends_what_is_left(world: World) -> None:
    connection = await world.login()
    await connection.open_session()
    async with asyncio.timeout(5):
        await world.gateway.drain(0)
    assert world.texts == ["The server is shutting down."]
    assert world.backend.guests[0].closed


async def test_a_listener_that_fails_is_dropped_and_disturbs_nobody(world: World) -> None:
    def broken(event: events.Event) -> None:
        raise RuntimeError(event)

    world.gateway._listeners = [lambda _, __: broken, lambda _, __: world.heard.append]
    connection = await world.login()
    await start(connection)
    assert world.heard_of(events.ProgramStarted)


async def test_a_new_configuration_counts_for_new_logins_only(world: World) -> None:
    old = await world.login()
    session = await old.open_session()
    world.gateway.reconfigure(AppConfig.model_validate({"security": {"shell": {"mode": "disable"}}}))
    new = await world.login()
    await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        await (await new.open_session()).start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]


async def test_a_refused_connection_is_told_to_the_listeners(world: World) -> None:
    world.gateway._admission.config = AppConfig.model_validate({"ssh": {"maxConnections": 1}}).ssh
    connection = world.connect()
    with pytest.raises(Refused, match="maxConnections"):
        world.gateway.connect(PEER)
    assert [type(e).__name__ for e in world.heard] == ["ConnectionOpened", "ConnectionRefused"]
    connection.ended(None)
    world.connect()


async def test_strangers_are_penalised_and_who_logs_in_is_not(world: World) -> None:
    world.gateway._admission.config = AppConfig.model_validate({"ssh": {"penalties": {"min": "1s"}}}).ssh
    (await world.login()).ended(None)
    assert not world.heard_of(events.SourcePenalised)
    connection = world.connect()
    assert await connection.attempts.password("mia", b"wrong") is Outcome.REFUSED
    connection.ended(None)
    assert world.heard_of(events.SourcePenalised)
    with pytest.raises(Refused, match="penalised"):
        world.connect()


async def test_a_service_that_does_not_answer_is_nobody_s_fault(world: World) -> None:
    world.gateway._admission.config = AppConfig.model_validate({"ssh": {"penalties": {"min": "1s"}}}).ssh
    world.authenticator.broken = True
    connection = world.connect()
    assert await connection.attempts.password("mia", b"right") is Outcome.REFUSED
    assert not await connection.attempts.public_key("mia", KEY)
    connection.ended(None)
    assert not world.heard_of(events.SourcePenalised)
    world.connect()


async def test_a_user_may_log_in_so_many_times(world: World) -> None:
    world.source.config = AppConfig.model_validate({"security": {"maxLogins": 1}})
    first = await world.login()
    await until(lambda: world.backend.guests)
    second = await world.login()
    session = await second.open_session()
    with pytest.raises(Refused) as caught:
        await session.start(ProgramKind.SHELL, b"", None, None)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.user_text) == (
        Code.SECURITY_MAX_LOGINS,
        "You are logged in too many times.",
    )
    first.ended(None)
    second.ended(None)
    await until(lambda: not world.gateway.connections)
    await world.login()
    await until(lambda: len(world.backend.guests) == 2)
