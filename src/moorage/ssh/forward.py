"""The glue between a forwarded channel and a connection inside the guest (RFC 4254 §7.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncssh
from asyncssh.packet import SSHPacket

from moorage.codes import Code
from moorage.errors import Failure
from moorage.gateway.contract import Receiver, Transport
from moorage.ssh.channel import ForwardChannel

Dial = Callable[[Receiver], Awaitable[Transport]]


def open_error(failure: Failure) -> asyncssh.ChannelOpenError:
    """Why there is no channel: what policy forbids, what is too much, and what did not work are told apart."""
    if failure.code.startswith("SECURITY_"):
        code = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
    elif failure.code is Code.SSH_LIMIT_REACHED:
        code = asyncssh.OPEN_RESOURCE_SHORTAGE
    else:
        code = asyncssh.OPEN_CONNECT_FAILED
    return asyncssh.ChannelOpenError(code, failure.user_text)


class ForwardSession(asyncssh.SSHTCPSession[bytes]):
    """One forwarded channel; half-close passes both ways.

    Either `dialled` connects it inside the guest for a client that has asked, or it is given a connection that
    the guest has accepted, and `offer` asks the client to take it: `answered` is then called once, at the latest when
    the connection ends.
    """

    def __init__(
        self, channel: ForwardChannel, transport: Transport | None = None, answered: Callable[[], None] | None = None
    ) -> None:
        self._channel = channel
        self._transport = transport
        self._answered = answered
        self._held: list[bytes] | None = []
        self._is_full = False
        self._has_eof = False
        self._has_ended = False
        if transport is not None:
            transport.pause_reading()
            channel.prepare_offer(self)

    @property
    def owes_status(self) -> bool:
        """Connections have none."""
        return False

    def requested(self, name: bytes, packet: SSHPacket) -> bool:
        """Forwarded channels know no requests."""
        del name, packet
        return False

    def malformed(self, name: bytes, packet: SSHPacket, error: Exception) -> None:
        """See `requested`."""

    async def dialled(self, dial: Dial) -> ForwardSession:
        """The session, once `dial` has connected; raises `ChannelOpenError` if it has not."""
        try:
            self._transport = await dial(Towards(self))
        except Failure as failure:
            raise open_error(failure) from failure
        return self

    def offer(self, kind: bytes, *payload: bytes) -> None:
        """Ask the client to take the connection; if it does not, it is closed."""
        self._channel.offer(kind, *payload)

    def withdraw(self) -> None:
        """What was not offered yet never will be."""
        self._channel.withdraw()

    # -- the channel ---------------------------------------------------------------------------

    def session_started(self) -> None:
        """The channel is confirmed: what the guest has sent meanwhile goes out."""
        self._tell_answered()
        held, self._held = self._held or [], None
        for data in held:
            self._channel.send(data)
        if self._has_eof:
            self._channel.write_eof()
        if self._has_ended:
            self._channel.close()
        elif self._transport is not None and not self._is_full:
            self._transport.resume_reading()

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
        self._is_full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._is_full = False
        if self._transport is not None and self._held is None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone, or was never taken."""
        self._tell_answered()
        self._has_ended = True
        self._held = None
        if self._transport is not None:
            self._transport.close()

    def _tell_answered(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered()

    # -- the guest -----------------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Bytes from the guest."""
        if self._held is None:
            self._channel.send(data)
        else:
            self._held.append(data)

    def end_of_target(self) -> None:
        """The guest's end sends no more."""
        self._has_eof = True
        if self._held is None and not self._has_ended:
            self._channel.write_eof()

    def target_lost(self) -> None:
        """The guest's end is closed in both directions."""
        if not self._has_ended:
            self._has_ended = True
            if self._held is None:
                self._channel.close()

    def target_is_full(self, *, full: bool) -> None:
        """The guest's end takes no more for the time being, or takes more again."""
        if self._has_ended:
            return
        if full:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()


class Towards:
    """The receiving end for the guest's connection."""

    __slots__ = ("_session",)

    def __init__(self, session: ForwardSession) -> None:
        self._session = session

    def data_received(self, data: bytes) -> None:
        """Bytes from the guest."""
        self._session.deliver(data)

    def eof_received(self) -> None:
        """The guest sends no more."""
        self._session.end_of_target()

    def pause_writing(self) -> None:
        """The guest is full."""
        self._session.target_is_full(full=True)

    def resume_writing(self) -> None:
        """The guest has room."""
        self._session.target_is_full(full=False)

    def connection_lost(self, cause: Exception | None) -> None:
        """The guest's end is gone."""
        self._session.target_lost()
