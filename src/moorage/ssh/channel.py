"""Channels as asyncssh has them, with a shorter way for data and bounds on everything.

All that Moorage relies on of asyncssh's private channel names stands in this file, and
each name has a test in ``tests/contract``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncssh
from asyncssh.channel import SSHChannel, SSHServerChannel, SSHTCPChannel
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from asyncssh.packet import PacketDecodeError, SSHPacket, String, UInt32

if TYPE_CHECKING:
    from moorage.ssh.connection import ServerConnection

WINDOW: Final = 2 * 1024 * 1024
"""Bytes that a client may send ahead of us on one of its first channels; our buffer's bound."""

SMALL_WINDOW: Final = 256 * 1024
"""The same for the channels after the first `FULL_WINDOWS` of a connection."""

FULL_WINDOWS: Final = 8

PACKET: Final = 32 * 1024
"""Bytes of data in one packet (RFC 4253 §6.1)."""

SMALLEST_PACKET: Final = 9
"""Bytes of data per packet that a client has to accept."""

SEND_HIGH: Final = 256 * 1024
"""Unsent bytes (the client's window is full) above which the guest is told to stop."""

PENDING_REQUESTS: Final = 256
PENDING_BYTES: Final = 256 * 1024
"""Channel requests that may wait for the one before them, and their payloads' bytes."""

STDERR: Final = 1


class ChannelSession(Protocol):
    """What a channel calls; the rest is `asyncssh.SSHServerSession`."""

    def requested(self, name: bytes, packet: SSHPacket) -> bool | None:
        """A channel request arrived: True or False answers it, None means that `answered` follows."""

    def malformed(self, name: bytes, packet: SSHPacket, error: Exception) -> None:
        """A request whose payload could not be read was refused."""

    @property
    def owes_status(self) -> bool:
        """True while a program runs whose end is still to be reported by `GatewayChannel.finish`."""


class GatewayChannel(SSHChannel[bytes]):
    """What all our channels share."""

    _conn: ServerConnection
    _session: Any

    def prepare(self) -> None:
        """To be called once at the end of construction."""
        self._requests: deque[tuple[bytes, bool, SSHPacket]] = deque()
        self._requests_bytes = 0
        self._is_close_waiting = False
        self._last_words: tuple[bytes, tuple[bytes, ...]] | None = None
        self.set_write_buffer_limits(SEND_HIGH)

    # -- nothing is logged per packet ----------------------------------------------------------

    def log_sent_packet(self, *_: object, **__: object) -> None:
        """Stay silent."""

    def log_received_packet(self, *_: object, **__: object) -> None:
        """Stay silent."""

    # -- from the client -----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Channel data that the connection has taken off the wire itself."""
        if self._recv_state != "open":
            raise asyncssh.ProtocolError("Channel not open for sending")
        if len(data) > self._recv_window:
            raise asyncssh.ProtocolError("Window exceeded")
        self._accept_data(data)

    def _accept_data(self, data: bytes, datatype: int | None = None) -> None:
        if not data or self._send_state in {"close_pending", "closed"}:
            return
        self._conn.activity += 1
        self._recv_window -= len(data)
        if not self._recv_paused:
            self._deliver_data(data, datatype)
        elif self._recv_buf:
            self._recv_buf[0][0].extend(data)  # type: ignore[attr-defined]
        else:  # one buffer, or packets of one byte would cost a hundred times their window
            self._recv_buf.append((bytearray(data), datatype))  # type: ignore[arg-type]

    def _deliver_data(self, data: bytes, datatype: int | None) -> None:
        super()._deliver_data(bytes(data), datatype)

    def _process_extended_data(self, _type: int, _id: int, packet: SSHPacket) -> None:
        """Clients have no use for extended data: it is dropped, and its window given back."""
        packet.get_uint32()
        data = packet.get_string()
        packet.check_end()
        if len(data) > self._recv_window:
            raise asyncssh.ProtocolError("Window exceeded")
        self.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(len(data)))

    def _process_close(self, kind: int, number: int, packet: SSHPacket) -> None:
        """The client closes: what it sent before is delivered, however full the guest is.

        OpenSSH's client closes as soon as both sides have sent EOF.  It still waits for the exit status
        then, which has to come before our CLOSE.
        """
        if self._send_state in {"eof_pending", "eof"} and self._last_words is None and self._session.owes_status:
            packet.check_end()
            self._is_close_waiting = True
            return
        if self._session is not None and self._recv_paused:
            self._recv_paused = False
            self._flush_recv_buf()
        SSHChannel._process_close(self, kind, number, packet)  # noqa: SLF001
        if self._recv_buf:
            self._discard_recv()

    # -- requests, answered strictly in order ---------------------------------------------------

    def _process_request(self, _type: int, _id: int, packet: SSHPacket) -> None:
        if self._recv_state not in {"open", "eof_pending", "eof"}:
            raise asyncssh.ProtocolError("Channel not open")
        name, wants_reply = packet.get_string(), packet.get_boolean()
        if not self._conn.opening.takes_request():
            name = b""  # an unknown one, refused in its turn
        self._requests_bytes += len(packet.get_full_payload())
        self._requests.append((name, wants_reply, packet))
        if len(self._requests) == 1:
            self._answer_requests()
        elif len(self._requests) > PENDING_REQUESTS or self._requests_bytes > PENDING_BYTES:
            raise asyncssh.ProtocolError("Too many unanswered channel requests")

    def _answer_requests(self) -> None:
        while self._requests:
            name, _, packet = self._requests[0]
            try:
                answer = self._session.requested(name, packet) if self._session is not None else False
            except (PacketDecodeError, ValueError) as error:
                self._session.malformed(name, packet, error)
                answer = False
            if answer is None:
                return
            self._reply(granted=answer)

    def _reply(self, *, granted: bool) -> None:
        _, wants_reply, packet = self._requests.popleft()
        self._requests_bytes -= len(packet.get_full_payload())
        if wants_reply and self._send_state not in {"close_pending", "closed"}:
            self.send_packet(MSG_CHANNEL_SUCCESS if granted else MSG_CHANNEL_FAILURE)

    def answered(self, *, granted: bool) -> None:
        """The answer to the request for which `requested` had None."""
        self._reply(granted=granted)
        self._answer_requests()

    _packet_handlers = {  # noqa: RUF012 - the base class's table
        **SSHChannel._packet_handlers,  # noqa: SLF001
        MSG_CHANNEL_EXTENDED_DATA: _process_extended_data,
        MSG_CHANNEL_CLOSE: _process_close,
        MSG_CHANNEL_REQUEST: _process_request,
    }

    # -- to the client -------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True while output may be sent."""
        return self._send_state == "open"

    def send(self, data: bytes, datatype: int | None = None) -> None:
        """Send output; a no-op once EOF or CLOSE is sent.  What the window has no room for is kept."""
        if self._send_state != "open" or not data:
            return
        self._conn.activity += 1
        rest: bytes | memoryview = data
        if not self._send_buf:
            room, packet = self._send_window, self._send_pktsize
            if len(data) <= room and len(data) <= packet:
                self._send_window = room - len(data)
                self._send_data(data, datatype)
                return
            rest = memoryview(data)
            while rest and room:
                size = min(len(rest), packet, room)
                room -= size
                self._send_window = room
                self._send_data(rest[:size], datatype)
                room = self._send_window
                rest = rest[size:]
        if rest:
            self.write(bytes(rest), datatype)

    def _send_data(self, data: bytes | memoryview, datatype: int | None) -> None:
        assert self._send_chan is not None
        if datatype is None:
            head = self._send_chan.to_bytes(4, "big") + len(data).to_bytes(4, "big")
            self._conn.send_packet(MSG_CHANNEL_DATA, head, data)  # type: ignore[arg-type]
        else:
            head = b"".join(n.to_bytes(4, "big") for n in (self._send_chan, datatype, len(data)))
            self._conn.send_packet(MSG_CHANNEL_EXTENDED_DATA, head, data)  # type: ignore[arg-type]

    def finish(self, request: bytes, *payload: bytes) -> None:
        """Once all output is sent: EOF, this last request, and CLOSE."""
        if self._last_words is None:
            self._last_words = (request, payload)
            self.write_eof()
            self._flush_send_buf()

    def _flush_send_buf(self) -> None:
        super()._flush_send_buf()
        if self._last_words is not None and not self._send_buf and self._send_state == "eof":
            request, payload = self._last_words
            self._last_words = None
            self._send_request(request, *payload)
            self.close()
            if self._is_close_waiting:
                SSHChannel._process_close(self, MSG_CHANNEL_CLOSE, 0, SSHPacket(b""))  # noqa: SLF001

    def congestion_changed(self) -> None:
        """The connection has got congested, or is so no more."""
        self._pause_resume_writing()

    def _pause_resume_writing(self) -> None:
        session = self._session
        if session is None:
            return
        is_congested = self._conn is not None and self._conn.is_congested
        if self._send_paused:
            if self._send_buf_len <= self._send_low_water and not is_congested:
                self._send_paused = False
                session.resume_writing()
        elif is_congested or self._send_buf_len > self._send_high_water:
            self._send_paused = True
            session.pause_writing()


class SessionChannel(GatewayChannel, SSHServerChannel[bytes]):  # type: ignore[misc]
    """A channel of type ``session``."""

    def __init__(self, conn: ServerConnection, window: int) -> None:
        super().__init__(conn, conn.get_loop(), True, False, False, 0, 0, None, "strict", window, PACKET)
        self.prepare()

    _packet_handlers = GatewayChannel._packet_handlers  # noqa: SLF001


class ForwardChannel(GatewayChannel, SSHTCPChannel[bytes]):
    """A channel for a forwarded connection, opened by the client or offered to it."""

    def __init__(self, conn: ServerConnection, window: int) -> None:
        super().__init__(conn, conn.get_loop(), None, "strict", window, PACKET)
        self.prepare()

    def prepare_offer(self, session: Any) -> None:
        """The channel will be offered to the client for `session`, which hears ``connection_lost`` in any case."""
        self._session = session

    def offer(self, kind: bytes, *payload: bytes) -> None:
        """Offer the channel to the client."""
        self._open_waiter = self._loop.create_future()
        self._open_waiter.cancel()  # nobody waits: the session is told
        ours = UInt32(self._recv_chan), UInt32(self._recv_window), UInt32(PACKET)  # type: ignore[arg-type]
        self._conn.send_packet(MSG_CHANNEL_OPEN, String(kind), *ours, *payload)

    def withdraw(self) -> None:
        """There will be no offer after all."""
        self._loop.call_soon(self._cleanup)

    def process_open_confirmation(self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket) -> None:
        """The client takes the channel.  Its first bytes may be right behind."""
        if send_pktsize < SMALLEST_PACKET:
            raise asyncssh.ProtocolError("The maximum packet size is too small")
        super().process_open_confirmation(send_chan, send_window, min(send_pktsize, PACKET), packet)
        self._session.connection_made(self)
        self._session.session_started()
        self.congestion_changed()
        self.resume_reading()

    _packet_handlers = GatewayChannel._packet_handlers  # noqa: SLF001
