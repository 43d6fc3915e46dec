"""Global requests: listeners in the guest (RFC 4254 §7.1), proofs of host keys; answered strictly in order (§4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import asyncssh
from asyncssh.constants import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from asyncssh.packet import PacketDecodeError, SSHPacket, String, UInt32

from moorage.errors import Failure
from moorage.gateway.contract import Listener, Receiver, Transport
from moorage.gateway.model import Address, TcpTarget, UnixTarget
from moorage.ssh import requests
from moorage.ssh.forward import ForwardSession, Towards
from moorage.ssh.opening import NOBODY, Opening

if TYPE_CHECKING:
    from moorage.ssh.connection import ServerConnection

PENDING: Final = 256
PENDING_BYTES: Final = 256 * 1024
"""Requests that may wait for the one before them, and their payloads' bytes."""

SETTLING: Final = 10.0
"""Seconds that a program waits for the listeners that were asked for before it."""

MAX_PROOFS: Final = 4
"""How often a connection may ask for proofs; each costs signatures."""

_SILENT: Final = {b"", b"keepalive@openssh.com"}
"""What is refused without a word: requests that come too often, and signs of life."""

Where = TcpTarget | UnixTarget

Outcome = tuple[bytes | None, Callable[[], None] | None]
"""The payload of the answer, None for a refusal; and what to do once it is sent."""


class GlobalRequests:
    """The global requests of one connection.

    One at a time is worked on, because its answer has to come before that to the next one.
    """

    def __init__(self, connection: ServerConnection, opening: Opening) -> None:
        self._connection = connection
        self._opening = opening
        self._pending: deque[tuple[bytes, bool, SSHPacket]] = deque()
        self._pending_bytes = 0
        self._is_working = False
        self._settled = asyncio.Event()
        self._settled.set()
        self._listeners: dict[Where, Listener] = {}
        self._proofs = 0

    def received(self, packet: SSHPacket) -> None:
        """A request has arrived; raises `ProtocolError` when too many wait."""
        name, wants_reply = packet.get_string(), packet.get_boolean()
        if not self._opening.takes_request():
            name = b""  # an unknown one, refused in its turn
        self._pending.append((name, wants_reply, packet))
        self._pending_bytes += len(packet.get_full_payload())
        if len(self._pending) > PENDING or self._pending_bytes > PENDING_BYTES:
            raise asyncssh.ProtocolError("Too many unanswered global requests")
        if not self._is_working:
            self._work()

    @property
    def is_settled(self) -> bool:
        """True unless a request waits for its answer."""
        return self._settled.is_set()

    async def settle(self) -> None:
        """Returns when all requests are answered, or after `SETTLING` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLING):
                await self._settled.wait()

    def _work(self) -> None:
        """Answer all that can be answered at once."""
        self._settled.clear()
        while self._pending:
            name, _, packet = self._pending[0]
            if name in self._slow:
                self._is_working = True
                self._connection.start_task(self._work_slowly(), "requests")
                return
            quick = self._quick.get(name)
            if quick is None and name not in _SILENT:
                self._not_understood(packet)
            self._reply(None if quick is None else quick(self, packet))
        self._settled.set()

    async def _work_slowly(self) -> None:
        name, _, packet = self._pending[0]
        answer, then = await self._slow[name](self, packet)
        self._is_working = False
        self._reply(answer)
        if then is not None:
            then()
        self._work()

    def _reply(self, answer: bytes | None) -> None:
        _, wants_reply, packet = self._pending.popleft()
        self._pending_bytes -= len(packet.get_full_payload())
        if not wants_reply or not self._connection.is_alive:
            return
        if answer is None:
            self._connection.send_packet(MSG_REQUEST_FAILURE)
        else:
            self._connection.send_packet(MSG_REQUEST_SUCCESS, answer)

    # -- quick ones ----------------------------------------------------------------------------

    def _no_more_sessions(self, packet: SSHPacket) -> bytes | None:
        del packet
        self._opening.takes_sessions = False
        return b""

    def _prove(self, packet: SSHPacket) -> bytes | None:
        self._proofs += 1
        if self._proofs > MAX_PROOFS:
            return None
        pairs = dict(self._connection.host_key_pairs())
        proofs = []
        try:
            while packet:
                blob = packet.get_string()
                pair = pairs.pop(blob)  # each key once: signatures are dear
                signed = String("hostkeys-prove-00@openssh.com"), String(self._connection.session_id), String(blob)
                proofs.append(String(pair.sign(b"".join(signed))))
        except PacketDecodeError as error:
            self._not_understood(packet, error)
            return None
        except KeyError:
            return None
        return b"".join(proofs) or None

    def _not_understood(self, packet: SSHPacket, error: Exception | None = None) -> None:
        """Tell of the request that is being answered."""
        name, _, _ = self._pending[0]
        self._connection.gateway.not_understood(*requests.told(name, packet, 1, error))

    _quick: Mapping[bytes, Callable[[GlobalRequests, SSHPacket], bytes | None]] = {
        b"no-more-sessions@openssh.com": _no_more_sessions,
        b"hostkeys-prove-00@openssh.com": _prove,
    }
    """All that stand in no table are refused, keepalives too: any answer is a sign of life."""

    # -- slow ones: the answer, and what to do once it is sent -----------------------------------

    async def _listen_tcp(self, packet: SSHPacket) -> Outcome:
        return await self._listen(requests.tcp, packet)

    async def _listen_unix(self, packet: SSHPacket) -> Outcome:
        return await self._listen(requests.unix, packet)

    async def _cancel_tcp(self, packet: SSHPacket) -> Outcome:
        return await self._cancel(requests.tcp, packet)

    async def _cancel_unix(self, packet: SSHPacket) -> Outcome:
        return await self._cancel(requests.unix, packet)

    async def _listen(self, read: Callable[[SSHPacket], Where], packet: SSHPacket) -> Outcome:
        where = self._read(read, packet)
        if where is None or where in self._listeners:
            return None, None
        entrance = Entrance(self._opening, where)
        try:
            listener = await self._connection.gateway.listen(where, entrance.accepted)
        except Failure:
            entrance.shut()
            return None, None
        answer = b""
        if isinstance(where, TcpTarget) and where.port == 0:
            where = TcpTarget(where.host, listener.port)
            answer = UInt32(listener.port)
        self._listeners[where] = listener
        return answer, lambda: entrance.open(where)

    async def _cancel(self, read: Callable[[SSHPacket], Where], packet: SSHPacket) -> Outcome:
        where = self._read(read, packet)
        listener = None if where is None else self._listeners.pop(where, None)
        if listener is None:
            return None, None
        await listener.close()
        return b"", None

    def _read(self, read: Callable[[SSHPacket], Where], packet: SSHPacket) -> Where | None:
        try:
            where = read(packet)
            packet.check_end()
        except (PacketDecodeError, ValueError) as error:
            self._not_understood(packet, error)
            return None
        return where

    _slow: Mapping[bytes, Callable[[GlobalRequests, SSHPacket], Awaitable[Outcome]]] = {
        b"tcpip-forward": _listen_tcp,
        b"cancel-tcpip-forward": _cancel_tcp,
        b"streamlocal-forward@openssh.com": _listen_unix,
        b"cancel-streamlocal-forward@openssh.com": _cancel_unix,
    }


class Entrance:
    """Takes what a listener accepts; what comes before the client knows of the listener waits until it does."""

    def __init__(self, opening: Opening, where: Where) -> None:
        self._opening = opening
        self._where = where
        self._early: list[tuple[Address, ForwardSession]] | None = []

    def accepted(self, peer: Address | None, transport: Transport) -> Receiver:
        """See `Accepted`."""
        session = self._opening.prepare(transport)
        if self._early is None:
            self._offer(peer or NOBODY, session)
        else:
            self._early.append((peer or NOBODY, session))
        return Towards(session)

    def open(self, where: Where) -> None:
        """The client knows that the guest listens on `where`."""
        self._where = where
        early, self._early = self._early or [], None
        for peer, session in early:
            self._offer(peer, session)

    def shut(self) -> None:
        """There is no listener after all."""
        for _, session in self._early or []:
            session.withdraw()

    def _offer(self, peer: Address, session: ForwardSession) -> None:
        match self._where:
            case TcpTarget(host, port):
                ends = String(host), UInt32(port), String(peer.host), UInt32(peer.port)
                session.offer(b"forwarded-tcpip", *ends)
            case UnixTarget(path):
                session.offer(b"forwarded-streamlocal@openssh.com", String(path), String(""))
