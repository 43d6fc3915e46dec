"""Channels being opened: by the client, and to it (RFC 4254 §5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import asyncssh
from asyncssh.constants import (
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_CHANNEL_TYPE,
)
from asyncssh.packet import PacketDecodeError, SSHPacket, String, UInt32

from moorage.codes import Code
from moorage.errors import Failure, Refused
from moorage.gateway.contract import Accepted, Receiver, Transport
from moorage.gateway.model import Address, Target
from moorage.net.limits import Rate
from moorage.ssh import requests
from moorage.ssh.channel import (
    FULL_WINDOWS,
    PACKET,
    SMALL_WINDOW,
    SMALLEST_PACKET,
    WINDOW,
    ForwardChannel,
    SessionChannel,
)
from moorage.ssh.forward import ForwardSession, Towards
from moorage.ssh.session import ProgramSession

if TYPE_CHECKING:
    from moorage.ssh.connection import ServerConnection

UNANSWERED_OFFERS: Final = 128
"""Channels that are offered to a client and not answered yet; further connections in the guest are closed."""

NOBODY: Final = Address("", 0)

Peer = tuple[int, int, int]
"""The client's number for a channel, its window, and its largest packet."""


class Opening:
    """Who may open what on one connection, and how often it may ask for anything."""

    def __init__(self, connection: ServerConnection, max_channels: int, max_requests: int) -> None:
        """`max_channels` at a time, `max_requests` a second."""
        self._connection = connection
        self._max_channels = max_channels
        self._rate = Rate(max_requests, clock=connection.get_loop().time)
        self._has_told = False
        self._unanswered = 0
        self.takes_sessions = True

    def takes_request(self) -> bool:
        """Count a request, of whatever kind; False if the client asks too often, and so is refused."""
        if self._rate.take():
            return True
        if not self._has_told:
            self._has_told = True
            self._connection.gateway.log.info(
                "Requests are refused: the client asks too often", code=Code.SSH_LIMIT_REACHED
            )
        return False

    # -- by the client -------------------------------------------------------------------------

    def asked(self, packet: SSHPacket) -> None:
        """The client asks for a channel; it is answered now or later, and never twice."""
        kind = packet.get_string()
        number, window, size = packet.get_uint32(), packet.get_uint32(), packet.get_uint32()
        try:
            opener = self._openers.get(kind)
            if opener is None:
                raise asyncssh.ChannelOpenError(OPEN_UNKNOWN_CHANNEL_TYPE, "Unknown channel type")
            if size < SMALLEST_PACKET:
                raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, "The maximum packet size is too small")
            if self._connection.channel_count >= self._max_channels:
                raise asyncssh.ChannelOpenError(OPEN_RESOURCE_SHORTAGE, "Too many channels")
            if not self.takes_request():
                raise asyncssh.ChannelOpenError(OPEN_RESOURCE_SHORTAGE, "Too many requests a second")
            opener(self, packet, (number, window, min(size, PACKET)))
        except (PacketDecodeError, ValueError):
            self._connection.send_channel_open_failure(number, OPEN_CONNECT_FAILED, "Malformed request", "")
        except asyncssh.ChannelOpenError as error:
            self._connection.send_channel_open_failure(number, error.code, error.reason, error.lang)

    def _open_session(self, packet: SSHPacket, peer: Peer) -> None:
        packet.check_end()
        if not self.takes_sessions:
            raise asyncssh.ChannelOpenError(OPEN_ADMINISTRATIVELY_PROHIBITED, "No more sessions, as you have asked")
        channel = SessionChannel(self._connection, self._window())
        channel.process_open(*peer, self._session_on(channel))

    async def _session_on(self, channel: SessionChannel) -> ProgramSession:
        try:
            session = await self._connection.gateway.open_session()
        except Refused as refused:
            raise asyncssh.ChannelOpenError(OPEN_RESOURCE_SHORTAGE, refused.user_text) from refused
        except Failure as failure:
            raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, failure.user_text) from failure
        if not self._connection.is_alive:
            session.closed()
            raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, "The connection has ended")
        return ProgramSession(session, channel, self._connection)

    def _open_tcp(self, packet: SSHPacket, peer: Peer) -> None:
        target = requests.tcp(packet)
        self._dial(target, requests.originator(packet), peer)

    def _open_unix(self, packet: SSHPacket, peer: Peer) -> None:
        target = requests.unix(packet)
        packet.get_string(), packet.get_uint32()  # reserved
        packet.check_end()
        self._dial(target, None, peer)

    def _dial(self, target: Target, originator: Address | None, peer: Peer) -> None:
        channel = ForwardChannel(self._connection, self._window())

        async def dial(receiver: Receiver) -> Transport:
            return await self._connection.gateway.dial(target, originator, receiver)

        channel.process_open(*peer, ForwardSession(channel).dialled(dial))

    _openers: Mapping[bytes, Callable[[Opening, SSHPacket, Peer], None]] = {
        b"session": _open_session,
        b"direct-tcpip": _open_tcp,
        b"direct-streamlocal@openssh.com": _open_unix,
    }

    def _window(self) -> int:
        return WINDOW if self._connection.channel_count < FULL_WINDOWS else SMALL_WINDOW

    # -- to the client -------------------------------------------------------------------------

    def displays(self, *, only_one: bool) -> Accepted:
        """Takes connections to an X11 display (RFC 4254 §6.3.2); all, or the first."""
        is_used = False

        def accepted(peer: Address | None, transport: Transport) -> Receiver:
            nonlocal is_used
            if is_used and only_one:
                raise Refused("the display was for a single connection")
            is_used = True
            peer = peer or NOBODY
            return self.offer(transport, b"x11", String(peer.host), UInt32(peer.port))

        return accepted

    def agents(self, peer: Address | None, transport: Transport) -> Receiver:
        """Takes connections to the socket that leads to the user's ssh-agent."""
        del peer
        return self.offer(transport, b"auth-agent@openssh.com")

    def offer(self, transport: Transport, kind: bytes, *payload: bytes) -> Receiver:
        """Offer a channel for a connection that the guest has accepted; see `prepare`."""
        session = self.prepare(transport)
        session.offer(kind, *payload)
        return Towards(session)

    def prepare(self, transport: Transport) -> ForwardSession:
        """The client's end of a connection that the guest has accepted, to be offered.

        Nothing is read from the guest until the client has taken it.  Raises `Refused` when too many are open or
        unanswered.
        """
        if self._unanswered >= UNANSWERED_OFFERS or self._connection.channel_count >= self._max_channels:
            raise Refused("the connection has too many channels", code=Code.SSH_LIMIT_REACHED)
        if not self._connection.is_alive:
            raise Refused("the connection has ended")
        self._unanswered += 1
        return ForwardSession(ForwardChannel(self._connection, self._window()), transport, self._answered)

    def _answered(self) -> None:
        self._unanswered -= 1
