"""The glue between a forwarded channel and a connection dialled inside the guest (RFC 4254 §7.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncssh
from asyncssh.packet import SSHPacket

from moorage.errors import Failure, Refused
from moorage.gateway.contract import Receiver, Transport
from moorage.gateway.model import Address, Target, TcpTarget, UnixTarget
from moorage.ssh.channel import ForwardChannel

Dial = Callable[[Receiver], Awaitable[Transport]]


def wanted(request: SSHPacket) -> tuple[Target, Address | None]:
    """What a channel open request wants to be connected to, and for whom.

    Raises `PacketDecodeError` or `ValueError` for a request that is not well-formed.
    """
    opening = SSHPacket(request.get_consumed_payload())
    opening.get_byte()
    target: Target
    if opening.get_string() == b"direct-tcpip":
        target = TcpTarget(request.get_string().decode("utf-8"), request.get_uint32())
        originator = Address(request.get_string().decode("utf-8"), request.get_uint32())
    else:
        target, originator = UnixTarget(request.get_string()), None
        request.get_string(), request.get_uint32()  # reserved
    request.check_end()
    return target, originator


class ForwardSession(asyncssh.SSHTCPSession[bytes]):
    """One forwarded channel; half-close passes both ways."""

    def __init__(self, channel: ForwardChannel) -> None:
        self._channel = channel
        self._transport: Transport | None = None
        self._held: list[bytes] | None = []
        self._has_eof = False
        self._has_ended = False

    @property
    def owes_status(self) -> bool:
        """Connections have none."""
        return False

    async def dialled(self, dial: Dial) -> ForwardSession:
        """The session, once `dial` has connected; raises `ChannelOpenError` if it has not."""
        try:
            self._transport = await dial(Towards(self))
        except Refused as refused:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, refused.user_text) from refused
        except Failure as failure:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, failure.user_text) from failure
        return self

    def session_started(self) -> None:
        """The channel is confirmed: what the target has sent meanwhile goes out."""
        held, self._held = self._held or [], None
        for data in held:
            self._channel.send(data)
        if self._has_eof:
            self._channel.write_eof()
        if self._has_ended:
            self._channel.close()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Bytes from the client."""
        assert self._transport is not None
        self._transport.write(data)

    def eof_received(self) -> bool:
        """The client will send no more; the other direction stays open."""
        assert self._transport is not None
        self._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        """The client is full."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        self._has_ended = True
        self._held = None
        if self._transport is not None:
            self._transport.close()

    def deliver(self, data: bytes) -> None:
        """Bytes from the target."""
        if self._held is None:
            self._channel.send(data)
        else:
            self._held.append(data)

    def end_of_target(self) -> None:
        """The target sends no more."""
        self._has_eof = True
        if self._held is None and not self._has_ended:
            self._channel.write_eof()

    def target_lost(self) -> None:
        """The connection to the target is closed in both directions."""
        if not self._has_ended:
            self._has_ended = True
            if self._held is None:
                self._channel.close()

    def target_is_full(self, *, full: bool) -> None:
        """The target takes no more for the time being, or takes more again."""
        if self._has_ended:
            return
        if full:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()


class Towards:
    """The receiving end for the dialled connection."""

    __slots__ = ("_session",)

    def __init__(self, session: ForwardSession) -> None:
        self._session = session

    def data_received(self, data: bytes) -> None:
        """Bytes from the target."""
        self._session.deliver(data)

    def eof_received(self) -> None:
        """The target sends no more."""
        self._session.end_of_target()

    def pause_writing(self) -> None:
        """The target is full."""
        self._session.target_is_full(full=True)

    def resume_writing(self) -> None:
        """The target has room."""
        self._session.target_is_full(full=False)

    def connection_lost(self, cause: Exception | None) -> None:
        """The target is gone."""
        self._session.target_lost()
