"""The life of a connection: authentication, the login's configuration, its guest, the end.

The SSH room calls in, nothing here knows SSH.  Each connection is one task with a task
group of its own, so whatever goes wrong inside ends this connection and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.sections.ssh import SSHConfig
from moorage.errors import BackendError, Failure, Refused
from moorage.gateway import events
from moorage.gateway.admission import Admission, Ticket
from moorage.gateway.attempts import Attempts
from moorage.gateway.contract import (
    Accepted,
    Authenticator,
    Backend,
    ConfigSource,
    Guest,
    Listener,
    Progress,
    Receiver,
    Transport,
)
from moorage.gateway.forwarding import Forwarding
from moorage.gateway.model import Address, Attempt, ConnectionId, ListenSpec, Login, Target
from moorage.gateway.policy import Policy
from moorage.gateway.recording import Recorder
from moorage.gateway.restricting import recorded, restricted
from moorage.gateway.session import Session
from moorage.gateway.timekeeping import Timekeeper
from moorage.net.penalties import Cause

_LAST_WORDS = 2.0
"""Seconds that a client has to ask for, or to hear of the end of, a program when there is no guest (any more)."""


def new_connection_id() -> ConnectionId:
    """A random connection id: a version 4 UUID as 32 hex digits."""
    return ConnectionId(uuid.uuid4().hex)


class Gateway:
    """All connections of one server and what they share."""

    def __init__(
        self,
        config: AppConfig,
        *,
        authenticator: Authenticator,
        source: ConfigSource,
        backends: Callable[[str], Backend],
        listeners: Sequence[events.ListenerFactory] = (),
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], ConnectionId] = new_connection_id,
        admission: Admission | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.config = config
        self.authenticator = authenticator
        self.source = source
        self.backend = backends
        self.clock = clock
        self._listeners = listeners
        self._new_id = new_id
        self._admission = admission or Admission(config.ssh)
        self.recorder = recorder
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._is_draining = False

    @property
    def connections(self) -> Sequence[Connection]:
        """The connections that are open or whose guest is still being closed."""
        return tuple(self._connections)

    def connect(self, peer: Address, local: Address | None = None) -> Connection:
        """A TCP connection was accepted.

        Raises `Refused` while the server drains, by limits, by penalties, and where it must be recorded and cannot.
        """
        del local  # which listener it came in by does not matter yet
        if self._is_draining:
            raise Refused("the server is shutting down", user_text="The server is shutting down.")
        identifier = self._new_id()
        try:
            ticket = self._admission.admit(peer.host)
        except Refused as refused:
            self._tell_refused(identifier, peer, str(refused))
            raise
        listeners = [make(identifier, peer) for make in self._listeners]
        try:
            connection = Connection(self, identifier, peer, listeners, ticket)
        except Refused as refused:
            ticket.give_back(is_our_doing=True)
            self._tell_refused(identifier, peer, str(refused))
            raise
        task = asyncio.create_task(connection.run(), name=f"conn/{identifier}")
        self._connections[connection] = task
        task.add_done_callback(lambda _: self._connections.pop(connection, None))
        return connection

    def _tell_refused(self, identifier: ConnectionId, peer: Address, reason: str) -> None:
        event = events.ConnectionRefused(at=self.clock(), remote_address=peer, reason=reason)
        for make in self._listeners:
            try:
                make(identifier, peer)(event)
            except Exception:  # noqa: BLE001 - a listener is never in the way
                structlog.get_logger().exception("A listener failed", code=Code.SSH_INTERNAL_ERROR)

    def reconfigure(self, config: AppConfig) -> None:
        """Logins from now on get `config`; those under way keep what they have."""
        self.config = config
        self._admission.config = config.ssh
        self.source.rebase(config)

    async def drain(self, timeout: float) -> None:
        """Take no new connections, let sessions end by themselves for `timeout` seconds, then end them.

        Returns when no connection and no guest is left.  Cancelling it ends the waiting, not the connections.
        """
        self._is_draining = True
        for connection in self.connections:
            connection.drain()
        await self._ended(timeout)
        for connection in self.connections:
            connection.end("The server is shutting down.")
        await self._ended(None)

    async def _ended(self, timeout: float | None) -> None:
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=timeout)


class Connection:
    """One SSH connection as the gateway sees it; made by `Gateway.connect`.

    Two things are set by the SSH room: `disconnect`, called with a text, ends the connection; `activity` counts
    what moves on its channels.
    """

    def __init__(
        self,
        gateway: Gateway,
        identifier: ConnectionId,
        peer: Address,
        listeners: Sequence[events.Listener],
        ticket: Ticket,
    ) -> None:
        self.id = identifier
        self.peer = peer
        self.disconnect: Callable[[str], None] | None = None
        self.activity: Callable[[], int] = lambda: 0
        self.log = structlog.get_logger().bind(connectionId=identifier, remoteAddr=peer.host)
        self._gateway = gateway
        self.recording = gateway.recorder.record(identifier, peer, self.end) if gateway.recorder else None
        self._listeners = list(listeners)
        self._username = ""
        self._ticket = ticket
        self.attempts = Attempts(
            Attempt(identifier, peer, "", ""),
            gateway.authenticator,
            ticket,
            config=lambda: gateway.config,
            emit=self.emit,
            log=self.log,
            tells_secrets=self.recording is not None and self.recording.wanted.passwords,
        )
        loop = asyncio.get_running_loop()
        self._authenticated: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[BaseException | None] = loop.create_future()
        self._login: asyncio.Future[Login] = loop.create_future()
        self._guest: asyncio.Future[Guest] = loop.create_future()
        self.forwarding = Forwarding(self, self._login)
        self._sessions: dict[int, Session] = {}
        self._last_session = -1
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_draining = False
        self._timekeeper: Timekeeper | None = None
        self._waiting: list[Progress] = []
        self._progress_line = ""
        self.emit(events.ConnectionOpened(remote_address=peer))

    def __repr__(self) -> str:
        return f"<Connection {self.id} from {self.peer}>"

    # -- before authentication ----------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """True once the connection is gone."""
        return self._gone.done()

    def fingerprinted(self, hassh: str, algorithms: str) -> None:
        """The client has offered its algorithms, for the first time."""
        version = self.attempts.client_version
        self.emit(events.ClientIdentified(version=version, hassh=hassh, algorithms=algorithms))

    def logged_in(self, username: str) -> None:
        """Authentication is complete; the guest is opened from now on."""
        accepted = self.attempts.accepted
        if accepted is None or accepted[1].username != username:
            raise AssertionError("logged in without an accepted attempt")
        if not self._authenticated.done():
            self._username = username
            self.log = self.log.bind(username=username)
            self._ticket.authenticated()
            self._authenticated.set_result(None)

    @property
    def limits(self) -> SSHConfig:
        """The bounds on what a client may ask for."""
        return self._gateway.config.ssh

    # -- after authentication -----------------------------------------------------------------

    async def open_session(self) -> Session:
        """A session channel, once the login's configuration is known.  Raises `Refused` by policy.

        Where the configuration could not be had, the session opens and says so when a program is asked for.
        """
        policy = None
        with contextlib.suppress(Failure):
            policy = Policy((await asyncio.shield(self._login)).config.security)
        if self._is_draining:
            raise Refused("the server is shutting down", user_text="The server is shutting down.")
        if policy is not None:
            policy.session(open_sessions=len(self._sessions))
        self._last_session += 1
        session = Session(self, self._last_session, policy)
        self._sessions[session.channel] = session
        self._idle.clear()
        self.emit(events.SessionOpened(channel=session.channel))
        return session

    def session_closed(self, session: Session) -> None:
        """`session` counts no more."""
        self._sessions.pop(session.channel, None)
        self.emit(events.SessionClosed(channel=session.channel))
        if not self._sessions:
            self._idle.set()
            if self._is_draining:
                self.end("The server is shutting down.")

    async def dial(self, target: Target, originator: Address | None, receiver: Receiver) -> Transport:
        """Connect to `target` inside the guest; see `Forwarding.dial`."""
        return await self.forwarding.dial(target, originator, receiver)

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Listen inside the guest; see `Forwarding.listen`."""
        return await self.forwarding.listen(spec, accepted)

    async def guest(self, progress: Progress | None) -> Guest:
        """The guest, once it is open; meanwhile `progress` hears what is going on."""
        if progress is None or self._guest.done():
            return await asyncio.shield(self._guest)
        self._waiting.append(progress)
        try:
            if self._progress_line:
                progress(self._progress_line)
            return await asyncio.shield(self._guest)
        finally:
            self._waiting.remove(progress)

    def drain(self) -> None:
        """Open no more sessions and end when the last one is closed."""
        self._is_draining = True
        if not self._sessions:
            self.end("The server is shutting down.")

    def end(self, text: str) -> None:
        """End the connection, telling the client why."""
        if self.disconnect is not None and not self._gone.done():
            self.disconnect(text)

    def ended(self, cause: BaseException | None, fault: Cause | None = None) -> None:
        """The TCP connection is gone, by `fault` of the client if it was one; the guest will be closed.  Idempotent."""
        if not self._gone.done():
            is_our_doing = self._is_draining or self.attempts.is_our_doing
            tries = self.attempts.tries
            if penalty := self._ticket.give_back(failures=tries, fault=fault, is_our_doing=is_our_doing):
                self.emit(events.SourcePenalised(reason=penalty.cause, seconds=penalty.seconds))
            self._gone.set_result(cause)

    def not_understood(self, request: str, payload: bytes, reason: str = "") -> None:
        """A global request was refused since nobody knows it, or, with a `reason`, since it is malformed."""
        self.emit(events.RequestNotUnderstood(channel=None, request=request, payload=payload, reason=reason))

    def emit(self, event: events.Event) -> None:
        """Tell the recording and the listeners; a listener that fails hears no more of this connection."""
        if not self._listeners and self.recording is None:
            return
        event = replace(event, at=self._gateway.clock())
        if self.recording is not None:
            self.recording.heard(event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                self._listeners.remove(listener)
                self.log.exception("A listener failed and was dropped", code=Code.SSH_INTERNAL_ERROR)

    # -- the task of the connection ------------------------------------------------------------

    async def run(self) -> None:
        """The connection from accept to the last trace of its guest."""
        # What backends and hooks log on behalf of this connection says so, and from the login on for whom.
        structlog.contextvars.bind_contextvars(connectionId=self.id, remoteAddr=self.peer.host)
        try:
            await _first(self._authenticated, self._gone)
            if self._authenticated.done():
                structlog.contextvars.bind_contextvars(username=self._username)
                await self._host()
            else:
                self.emit(events.HandshakeFailed(reason=str(self._gone.result() or "closed by the client")))
        except Exception:
            self.log.exception("The connection was ended by an internal error", code=Code.SSH_INTERNAL_ERROR)
            self.end("An internal error has occurred.")
        finally:
            self.ended(None)
            self._fail(BackendError("the connection has ended"))
            self.emit(events.ConnectionClosed(reason=str(self._gone.result() or "")))
            await self.attempts.ended()

    async def _host(self) -> None:
        opening = asyncio.create_task(self._open_guest(), name=f"conn/{self.id}/guest")
        try:
            await _first(self._gone, opening)
            if not self._gone.done() and (failure := opening.exception()) is None:
                await self._watch(opening.result())
            elif not self._gone.done():
                await self._tell(failure)
            await asyncio.wait({self._gone})
        finally:
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close("the connection has ended")

    async def _tell(self, failure: BaseException | None) -> None:
        """There is no guest: a client that asks for no program is disconnected with the reason."""
        await asyncio.wait({self._gone}, timeout=_LAST_WORDS)
        if not self._sessions:
            text = failure.user_text if isinstance(failure, Failure) else BackendError("").user_text
            self.end(f"{text} (reference {self.reference})")

    def _admit(self, config: AppConfig, username: str) -> None:
        """From where, when and how often a login of `config` may come, or `Refused`; and how long it may last."""
        policy = Policy(config.security)
        policy.source(self.peer.host)
        policy.login(open_logins=sum(one.username == username for one in self._gateway.connections))
        self._timekeeper = Timekeeper(
            config.security.time_limits,
            seconds_allowed=policy.hours(self._gateway.clock()),
            activity=self.activity,
            warn=self._warn,
            clock=asyncio.get_running_loop().time,
        )

    def _warn(self, line: str) -> None:
        for session in tuple(self._sessions.values()):
            session.warn(line)

    async def _watch(self, guest: Guest) -> None:
        """Until the guest is lost, the login's time over or the connection gone; the first two end the connection."""
        lost = asyncio.create_task(guest.lost(), name=f"conn/{self.id}/lost")
        waiting: list[asyncio.Future[Any]] = [self._gone, lost]
        over: asyncio.Task[str] | None = None
        if self._timekeeper is not None and self._timekeeper.is_needed:
            over = asyncio.create_task(self._timekeeper.run(), name=f"conn/{self.id}/time")
            waiting.append(over)
        try:
            await _first(*waiting)
            if over is not None and over.done() and not self._gone.done():
                self._warn(over.result())
                self.emit(events.TimeLimitReached(reason=over.result()))
                self.end(over.result())
            elif not self._gone.done():
                self.log.warning("The guest was lost", code=Code.GUEST_LOST, cause=str(lost.result() or "it ended"))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WORDS):
                        await self._idle.wait()
                self.end(f"The environment has ended (reference {self.reference}).")
        finally:
            for task in (lost, over):
                if task is not None:
                    task.cancel()
                    await asyncio.wait({task})

    @property
    def username(self) -> str | None:
        """Who is logged in; None before that, and when there was no login."""
        settled = self._login
        return settled.result().username if settled.done() and settled.exception() is None else None

    @property
    def reference(self) -> str:
        """What a user quotes and an operator finds in the log."""
        return self.id[:12]

    async def _open_guest(self) -> Guest:
        assert self.attempts.accepted is not None
        method, attempt = self.attempts.accepted
        started = self._gateway.clock()
        backend = ""
        try:
            config, attempt = await self._gateway.source.resolve(attempt)
            config = recorded(restricted(config, attempt.restrictions))
            backend = config.backend
            self._admit(config, attempt.username)
            login = Login(attempt, method, config)
            self._login.set_result(login)
            self.emit(events.LoginAccepted(login=login))
            guest = await self._gateway.backend(backend).open(login, self._progress)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failure = error if isinstance(error, Failure) else BackendError(f"internal error: {error!r}")
            log = self.log.bind(backend=backend, reference=self.reference)
            if isinstance(error, Refused):
                log.info(str(error), code=error.code)
            elif failure is error:
                log.error(str(failure), code=failure.code, cause=str(failure.__cause__ or ""))
            else:
                log.exception(str(failure), code=Code.SSH_INTERNAL_ERROR)
            self.emit(events.GuestFailed(backend=backend, reason=str(failure)))
            self._fail(failure)
            raise
        self._guest.set_result(guest)
        self.emit(events.GuestOpened(backend=backend, seconds=self._gateway.clock() - started))
        return guest

    def _fail(self, failure: Failure) -> None:
        for future in (self._login, self._guest):
            if not future.done():
                future.set_exception(failure)
                future.exception()  # nobody need ask for it

    def _progress(self, line: str) -> None:
        self._progress_line = line
        for progress in tuple(self._waiting):
            progress(line)


async def _first(*futures: asyncio.Future[Any]) -> None:
    """Returns when one of `futures` is done, however it ended; none of them is cancelled."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
