"""Forwarding for one connection: policy first, then the guest; every tunnel and listener is told of and counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from moorage.codes import Code
from moorage.errors import Failure, Refused
from moorage.gateway import events
from moorage.gateway.contract import Accepted, Listener, Receiver, Transport
from moorage.gateway.model import Address, AgentSocket, ListenSpec, Login, Target
from moorage.gateway.policy import Policy
from moorage.gateway.recording import ForwardTap

if TYPE_CHECKING:
    from moorage.gateway.connection import Connection

MAX_LISTENERS: Final = 64
"""Listeners that one connection may have in its guest at the same time."""


class Forwarding:
    """What of one connection is forwarded.  Everything in here ends with the guest at the latest."""

    def __init__(self, connection: Connection, login: asyncio.Future[Login]) -> None:
        self._connection = connection
        self._login = login
        self._forwards = itertools.count()
        self._listeners = itertools.count()
        self._listening = 0
        self._agent: asyncio.Task[Listener] | None = None
        self._releases: set[asyncio.Task[None]] = set()

    async def dial(self, target: Target, originator: Address | None, receiver: Receiver) -> Transport:
        """Connect to `target` inside the guest, waiting for the guest if need be.

        Raises `Refused` by policy (its code begins with ``SECURITY_``) or with the guest's reason, and
        any other `Failure` where there is no guest.
        """
        number = next(self._forwards)
        tunnel = Tunnel(self._connection.emit, number)
        tap = self._tap(number, is_dialled=True)
        tunnel.receiver = receiver if tap is None else tap.join(receiver=receiver)
        try:
            await self._ask(lambda policy: policy.dial(target))
            guest = await self._connection.guest(None)
            transport = await guest.dial(target, tunnel)
            tunnel.transport = transport if tap is None else tap.join(transport=transport)
        except Failure as failure:
            self._connection.emit(
                events.ForwardRefused(target=target, peer=originator, code=failure.code, reason=str(failure))
            )
            raise
        tunnel.opened(target, None, originator)
        return tunnel

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Listen inside the guest, waiting for it if need be; raises as `dial` does.

        `accepted` may raise `Refused` for a connection that cannot be taken; only that one is closed.
        """
        self._listening += 1
        try:
            await self._ask(lambda policy: policy.listen(spec))
            if self._listening > MAX_LISTENERS:
                raise Refused(
                    f"the connection has {MAX_LISTENERS} listeners",
                    user_text="Too many listeners.",
                    code=Code.SSH_LIMIT_REACHED,
                )
            guest = await self._connection.guest(None)
            number = next(self._listeners)
            listener = await guest.listen(spec, self._tunnelled(number, spec, accepted))
        except Failure as failure:
            self._listening -= 1
            self._connection.emit(events.ListenerRefused(spec=spec, code=failure.code, reason=str(failure)))
            raise
        except BaseException:
            self._listening -= 1
            raise
        self._connection.emit(events.ListenerOpened(listener=number, spec=spec, port=listener.port))
        return Listening(listener, lambda: self._closed(number))

    async def agent(self, accepted: Accepted) -> Mapping[bytes, bytes]:
        """The environment by which programs find the user's ssh-agent: one socket for the whole connection."""
        if self._agent is None or (self._agent.done() and (self._agent.cancelled() or self._agent.exception())):
            work = self.listen(AgentSocket(), accepted)
            self._agent = asyncio.create_task(work, name=f"conn/{self._connection.id}/agent")
            self._agent.add_done_callback(lambda task: task.cancelled() or task.exception())
        return (await asyncio.shield(self._agent)).environment

    def release(self, listener: Listener) -> None:
        """Close `listener` without anybody waiting for it."""
        task = asyncio.create_task(_close(listener), name=f"conn/{self._connection.id}/release")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _ask(self, question: Callable[[Policy], None]) -> None:
        login = await asyncio.shield(self._login)
        question(Policy(login.config.security))

    def _tunnelled(self, listener: int, spec: ListenSpec, accepted: Accepted) -> Accepted:
        def accept(peer: Address | None, transport: Transport) -> Receiver:
            number = next(self._forwards)
            tunnel = Tunnel(self._connection.emit, number)
            tap = self._tap(number, is_dialled=False)
            tunnel.transport = transport if tap is None else tap.join(transport=transport)
            receiver = accepted(peer, tunnel)
            tunnel.receiver = receiver if tap is None else tap.join(receiver=receiver)
            tunnel.opened(spec, listener, peer)
            return tunnel

        return accept

    def _tap(self, number: int, *, is_dialled: bool) -> ForwardTap | None:
        recording = self._connection.recording
        if recording is None or not recording.wanted.forwarding:
            return None
        return ForwardTap(recording, number, is_dialled=is_dialled)

    def _closed(self, number: int) -> None:
        self._listening -= 1
        self._connection.emit(events.ListenerClosed(listener=number))


async def _close(listener: Listener) -> None:
    with contextlib.suppress(Failure):
        await listener.close()


class Tunnel:
    """One forwarded connection, between a guest's transport and the receiver that joins it to the client.

    Both a `Transport` and a `Receiver`: bytes pass through, and their number is told at the end.
    """

    __slots__ = ("_emit", "_is_lost", "_is_told", "_number", "_received", "_sent", "receiver", "transport")

    transport: Transport
    receiver: Receiver

    def __init__(self, emit: Callable[[events.Event], None], number: int) -> None:
        self._emit = emit
        self._number = number
        self._sent = 0
        self._received = 0
        self._is_told = False
        self._is_lost = False

    def opened(self, target: ListenSpec, listener: int | None, peer: Address | None) -> None:
        """Both ends are joined: tell of it, and of the end if that has come already."""
        self._is_told = True
        self._emit(events.ForwardOpened(forward=self._number, target=target, listener=listener, peer=peer))
        if self._is_lost:
            self._tell_end()

    def _tell_end(self) -> None:
        self._emit(events.ForwardClosed(forward=self._number, sent=self._sent, received=self._received))

    # -- towards the guest

    def write(self, data: bytes) -> None:
        """Bytes from the client."""
        self._sent += len(data)
        self.transport.write(data)

    def write_eof(self) -> None:
        """The client sends no more."""
        self.transport.write_eof()

    def pause_reading(self) -> None:
        """The client is full."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client has room."""
        self.transport.resume_reading()

    def close(self) -> None:
        """The client is gone, or wants no more."""
        self.transport.close()

    # -- towards the client

    def data_received(self, data: bytes) -> None:
        """Bytes from the guest."""
        self._received += len(data)
        self.receiver.data_received(data)

    def eof_received(self) -> None:
        """The guest sends no more."""
        self.receiver.eof_received()

    def pause_writing(self) -> None:
        """The guest is full."""
        self.receiver.pause_writing()

    def resume_writing(self) -> None:
        """The guest has room."""
        self.receiver.resume_writing()

    def connection_lost(self, cause: Exception | None) -> None:
        """The guest's side has ended in both directions."""
        self._is_lost = True
        if self._is_told:
            self._tell_end()
        self.receiver.connection_lost(cause)


class Listening:
    """A listener that tells when it is closed."""

    def __init__(self, listener: Listener, closed: Callable[[], None]) -> None:
        self._listener = listener
        self._closed: Callable[[], None] | None = closed
        self.port = listener.port
        self.environment = listener.environment

    async def close(self) -> None:
        """See `Listener.close`."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        try:
            await self._listener.close()
        finally:
            closed()
