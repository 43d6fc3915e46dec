"""A connection as asyncssh has it, made safe against hostile peers and fast in its steady state.

All that Moorage relies on of asyncssh's private connection names stands in this file, and
each name has a test in ``tests/contract``.

What differs from the stock connection:

* Authentication requests are decided by `UserAuth`, one at a time.
* Requests and channels that Moorage does not know are refused, never fatal.
* A full transport or a key exchange under way stops the guests' output; the peer's bytes
  are not read while too many of them wait.
* Packets of one loop turn leave in one write.  Under an authenticated cipher they are
  sealed in one go, and channel data is taken off the wire in place.  Everything else goes
  through the stock code.
"""

from __future__ import annotations

import asyncio
import copy
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING, Any, Final, cast

import asyncssh
import structlog
from asyncssh.connection import SSHConnection
from asyncssh.constants import (
    DISC_BY_APPLICATION,
    DISC_COMPRESSION_ERROR,
    DISC_KEY_EXCHANGE_FAILED,
    DISC_MAC_ERROR,
    DISC_PROTOCOL_ERROR,
    DISC_PROTOCOL_VERSION_NOT_SUPPORTED,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_DISCONNECT,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_USERAUTH_REQUEST,
)
from asyncssh.encryption import ChachaEncryption, Encryption, GCMEncryption
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String

from moorage.codes import Code
from moorage.errors import Refused
from moorage.net.cork import Cork
from moorage.net.penalties import Cause
from moorage.ssh.acknowledge import acknowledge
from moorage.ssh.addresses import address
from moorage.ssh.algorithms import needs_ignore
from moorage.ssh.channel import GatewayChannel
from moorage.ssh.ciphers import TAG, ChachaCipher, GcmCipher, PacketCipher
from moorage.ssh.clientprint import fingerprint
from moorage.ssh.compression import BoundedDecompressor
from moorage.ssh.globalrequests import GlobalRequests
from moorage.ssh.keepalive import KeepAlive
from moorage.ssh.opening import Opening
from moorage.ssh.userauth import Exchange, UserAuth

if TYPE_CHECKING:
    from moorage.config.sections.ssh import SSHConfig
    from moorage.gateway.connection import Connection, Gateway
    from moorage.gateway.model import Address
    from moorage.ssh.refusal import RefusalTimes

MSG_PING: Final = 192
MSG_PONG: Final = 193
WRITE_HIGH: Final = 512 * 1024
WRITE_LOW: Final = 128 * 1024
"""Bytes in the transport's buffer at which guests are told to stop, and to go on."""

WRITE_LIMIT: Final = 4 * WRITE_HIGH
"""Bytes in the transport's buffer at which nothing more is read from a peer that takes no answers."""

READ_LIMIT: Final = 300_000
"""Bytes received and not processed yet at which the transport is paused; one packet is never larger."""

STRANGERS_LIMIT: Final = 1024 * 1024
"""Bytes that a client may send before it is logged in; twenty keys and their signatures are a hundredth of it."""

DEFERRED_LIMIT: Final = 4096
"""Packets that may wait for a key exchange to end."""

UNANSWERED_PROBES: Final = 8
"""Keepalive requests under way at the same time."""

LINGER: Final = 2.0
"""Seconds that a peer has to take our last bytes and close."""

_BROKEN: Final = frozenset(
    {
        DISC_PROTOCOL_ERROR,
        DISC_KEY_EXCHANGE_FAILED,
        DISC_MAC_ERROR,
        DISC_COMPRESSION_ERROR,
        DISC_PROTOCOL_VERSION_NOT_SUPPORTED,
    }
)
"""Reasons of ours to disconnect that are the peer's fault (RFC 4253 §11.1)."""


class ServerConnection(asyncssh.SSHServerConnection):
    """One client's connection.  Whatever goes wrong in it ends it, and nothing else."""

    def __init__(
        self,
        options: asyncssh.SSHServerConnectionOptions,
        *,
        config: SSHConfig,
        gateway: Gateway,
        refusals: RefusalTimes,
        came: Callable[[ServerConnection], None],
        gone: Callable[[ServerConnection], None],
    ) -> None:
        self.peer: Address | None = None
        self._is_clogged = False
        self.activity = 0
        loop = asyncio.get_running_loop()
        self._cork = Cork(loop, self._write_pieces)
        super().__init__(loop, options)
        self._extensions_to_send[b"ping@openssh.com"] = b"0"  # clients hide the timing of keys behind it
        self._config = config
        self._open_gateway = gateway
        self._refusals = refusals
        self._heard = 0
        self._fault: Cause | None = None
        self._has_peer_left = False
        self._came = came
        self._gone = gone
        self._gateway: Connection | None = None
        self._userauth: UserAuth | None = None
        self.opening = Opening(self, config.max_channels, config.max_requests_per_second)
        self.requests = GlobalRequests(self, self.opening)
        self._is_reading_paused = False
        self._keepalive = KeepAlive(
            config.client_alive_interval,
            config.client_alive_count_max,
            ask=self._ask_for_life,
            give_up=self._give_up,
        )
        self._closing: asyncio.Transport | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._is_cleaned = False

    @property
    def gateway(self) -> Connection:
        """The gateway's side of this connection."""
        assert self._gateway is not None
        return self._gateway

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the connection runs in."""
        return self._loop

    def log_sent_packet(self, *_: object, **__: object) -> None:
        """Stay silent."""

    def log_received_packet(self, *_: object, **__: object) -> None:
        """Stay silent."""

    # -- the life of the TCP connection ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: ask the gateway, then begin the handshake."""
        self._came(self)
        stream = cast("asyncio.Transport", transport)
        self._closing = stream
        try:
            self._begin(stream)
        except Exception as error:  # noqa: BLE001 - the border between one client and everyone else
            if isinstance(error, Refused):
                # RFC 4253 §4.2: lines before the identification are for the user
                stream.write(f"{error.user_text}\r\n".encode())
            else:
                structlog.get_logger().error("No connection was made", code=Code.SSH_INTERNAL_ERROR, exc_info=error)
            stream.close()
            self._transport = None
            self._cleanup(None)

    def _begin(self, stream: asyncio.Transport) -> None:
        peer = self.peer or address(stream.get_extra_info("peername"))
        self._gateway = self._open_gateway.connect(peer, address(stream.get_extra_info("sockname")))
        self._gateway.disconnect = self.say_goodbye
        self._gateway.activity = lambda: self.activity
        self._userauth = UserAuth(self, self._gateway.attempts, banner=self._config.banner, refusals=self._refusals)
        stream.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        super().connection_made(stream)

    def connection_lost(self, exc: Exception | None = None) -> None:
        """The TCP connection is gone, or (`ConnectionLost`) the stock code gives it up."""
        super().connection_lost(exc)
        if not isinstance(exc, asyncssh.ConnectionLost):
            self._closing = None
            if self._linger_timer is not None:
                self._linger_timer.cancel()
            self._report_gone()

    def say_goodbye(self, text: str) -> None:
        """End the connection, telling the client why.  Idempotent."""
        if self._transport is not None:
            self.disconnect(DISC_BY_APPLICATION, text)

    def abort_now(self) -> None:
        """End the connection without another byte.  Idempotent."""
        self._force_close(asyncssh.ConnectionLost("Server stopped"))
        if self._closing is not None:
            self._closing.abort()

    def _force_close(self, exc: Exception | None) -> None:
        """Send what is under way unless the peer is lost, then close; cleaning up never waits for the peer."""
        transport = self._transport
        if transport is None:
            return
        if isinstance(exc, asyncssh.DisconnectError) and exc.code in _BROKEN and not self._has_peer_left:
            self._fault = Cause.PROTOCOL_ERROR
        self._cork.flush()
        self._transport = None
        self._loop.call_soon(self._cleanup, exc)
        if isinstance(exc, asyncssh.ConnectionLost) or transport.is_closing():
            self._loop.call_soon(transport.abort)
            return
        # Closing at once would answer bytes that are still arriving with a reset, and ours would be lost with it.
        try:
            transport.resume_reading()
            transport.write_eof()
        except OSError:  # the peer has gone already
            self._loop.call_soon(transport.abort)
            return
        self._linger_timer = self._loop.call_later(LINGER, transport.abort)

    def _cleanup(self, exc: Exception | None) -> None:
        if self._is_cleaned:
            return
        self._is_cleaned = True
        try:
            self._keepalive.stop()
            super()._cleanup(exc)
        except Exception as error:  # noqa: BLE001 - whatever fails, the connection comes to its end
            self._log_internal_error(error)
        for task in tuple(self._tasks):
            task.cancel()
        try:
            if self._gateway is not None:
                self._gateway.disconnect = None
                self._gateway.ended(exc, self._fault)
        finally:
            self._report_gone()

    def _report_gone(self) -> None:
        if self._is_cleaned and self._closing is None:
            self._gone(self)

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """End this connection and log it once; for a packet that is not well-formed the peer is to blame."""
        error = (exc_info or sys.exc_info())[1]
        if isinstance(error, PacketDecodeError | UnicodeDecodeError):
            self._say_and_close(asyncssh.ProtocolError(f"Malformed packet: {error}"))
            return
        self._fault = Cause.INTERNAL_ERROR
        if self._transport is not None:
            self._log_internal_error(error)
        self._force_close(error if isinstance(error, Exception) else None)

    def _log_internal_error(self, error: BaseException | None) -> None:
        log = structlog.get_logger() if self._gateway is None else self._gateway.log
        log.error("The connection was ended by an internal error", code=Code.SSH_INTERNAL_ERROR, exc_info=error)

    def _say_and_close(self, error: asyncssh.DisconnectError) -> None:
        self._send_disconnect(error.code, error.reason, error.lang)
        self._force_close(error)

    def start_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task of this connection: it ends with it, and its failure ends it."""
        task = self.create_task(work)
        task.set_name(f"conn/{self.gateway.id}/{name}")
        return task

    def create_task(self, coro: Awaitable[None], task_logger: Any = None) -> asyncio.Task[None]:
        """The stock code's tasks get a name too."""
        task = super().create_task(coro, task_logger)
        task.set_name(f"conn/{self.gateway.id}/{getattr(coro, '__name__', 'ssh').strip('_')}")
        return task

    # -- reading ------------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Bytes have arrived.  Those of a connection that is being closed are dropped."""
        if self._transport is None:
            return
        acknowledge(self._transport, len(data))
        self._keepalive.was_heard = True
        if not self._auth_complete:
            self._heard += len(data)
            if self._heard > STRANGERS_LIMIT:
                self._say_and_close(asyncssh.ProtocolError("Too many bytes before authentication"))
                return
        self._inpbuf = self._inpbuf + data if self._inpbuf else data
        self._recv_data()

    def _recv_data(self) -> None:
        try:
            while self._inpbuf and self._transport is not None:
                cipher = self._recv_encryption
                if (
                    isinstance(cipher, PacketCipher)
                    and self._decompressor is None
                    and self._recv_handler == self._recv_pkthdr
                ):
                    if not self._recv_packets(cipher):
                        break
                elif not self._recv_handler():
                    break
            if len(self._deferred_packets) > DEFERRED_LIMIT:
                raise asyncssh.ProtocolError("The key exchange takes too long")
        except asyncssh.DisconnectError as error:
            self._say_and_close(error)
        except Exception:  # noqa: BLE001 - the border between one client's bytes and everyone else
            self.internal_error()
        self._regulate_reading()

    def _recv_packets(self, cipher: PacketCipher) -> bool:
        """Take whole packets off the buffer.

        False when the next one is not complete, or has to wait for the one before it;
        True when the packets that follow call for another look at the connection's state.
        """
        buffer = self._inpbuf
        view = memoryview(buffer)
        start, end = 0, len(buffer)
        has_changed = False
        while end - start >= 4 + TAG:
            seq = self._recv_seq
            length = cipher.length(seq, buffer, start)
            if not 8 <= length <= self._max_recv_pktlen:
                raise asyncssh.ProtocolError("Invalid packet size")
            stop = start + 4 + length + TAG
            if stop > end:
                break
            plain = cipher.open(seq, view[start:stop])
            if not plain:
                raise asyncssh.MACError("MAC verification failed")
            packet_end = length - plain[0]
            if plain[1] == MSG_CHANNEL_DATA and self._auth_complete and self._kex is None and packet_end >= 10:
                channel = self._channels.get(int.from_bytes(plain[2:6], "big"))
                if channel is not None and packet_end == 10 + int.from_bytes(plain[6:10], "big"):
                    self._recv_seq = (seq + 1) & 0xFFFFFFFF
                    self._rekey_bytes_sent += length  # the stock code counts what it sends only
                    cast("GatewayChannel", channel).receive(plain[10:packet_end])
                    start = stop
                    if self._transport is None:
                        return False
                    continue
            cipher.opened = plain
            self._inpbuf = buffer[start:stop]
            self._recv_handler()  # the header
            self._recv_handler()  # the rest
            start = stop
            if self._transport is None:
                return False
            if self._recv_handler != self._recv_pkthdr:
                break  # a coroutine decides about this packet; reading goes on when it is done
            if self._recv_encryption is not cipher:
                has_changed = True
                break
        self._inpbuf = buffer[start:] if start else buffer
        return has_changed

    def _regulate_reading(self) -> None:
        """Read no more while too much waits: of the peer's bytes, or of ours for it."""
        transport = self._transport
        if transport is None:
            return
        is_full = len(self._inpbuf) > READ_LIMIT or (
            self._is_clogged and transport.get_write_buffer_size() > WRITE_LIMIT
        )
        if is_full and not self._is_reading_paused:
            self._is_reading_paused = True
            transport.pause_reading()
        elif not is_full and self._is_reading_paused:
            self._is_reading_paused = False
            transport.resume_reading()

    def _recv_version(self) -> bool:
        try:
            result = super()._recv_version()
        except UnicodeDecodeError:
            raise asyncssh.ProtocolError("Invalid identification line") from None
        if version := self._client_version.decode("ascii"):
            if not version.isprintable():
                raise asyncssh.ProtocolError("Invalid identification line")
            self.gateway.attempts.identified(version)
        return result

    # -- writing ------------------------------------------------------------------------------

    @property
    def is_congested(self) -> bool:
        """True while guests are to send nothing: the transport is full, or keys are being exchanged."""
        return self._is_clogged or (self._auth_complete and not self._kex_complete)

    def pause_writing(self) -> None:
        """The transport is full."""
        self._is_clogged = True
        self._tell_channels()

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._is_clogged = False
        self._regulate_reading()
        self._tell_channels()

    def _tell_channels(self) -> None:
        for channel in tuple(self._channels.values()):
            cast("GatewayChannel", channel).congestion_changed()

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet: sealed here in the steady state, by the stock code otherwise."""
        cipher = self._send_encryption
        if (
            not isinstance(cipher, PacketCipher)
            or not self._kex_complete
            or not self._auth_complete
            or self._compressor is not None
            or self._rekey_bytes_sent >= self._rekey_bytes
            or (self._rekey_seconds and time.monotonic() >= self._rekey_time)
        ):
            if pkttype != MSG_IGNORE or needs_ignore(self._enc_alg_sc):
                super().send_packet(pkttype, *args, handler=handler)
            return
        size = 2 + sum(map(len, args))
        padding = -size % self._send_blocksize
        if padding < 4:
            padding += self._send_blocksize
        seq = self._send_seq
        header, body = cipher.seal(seq, b"".join((bytes((padding, pkttype)), *args, urandom(padding))))
        self._send_seq = (seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += size + padding
        self._cork.add(header, body)

    def _send(self, data: bytes) -> None:
        """Bytes for the wire: together with all others of this loop turn, or at once where there are many."""
        self._cork.add(data)

    def _write_pieces(self, pieces: list[bytes | memoryview]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    # -- key exchange -------------------------------------------------------------------------

    async def _process_kexinit(self, kind: int, number: int, packet: SSHPacket) -> None:
        offer = SSHPacket(packet.get_full_payload())
        offer.get_bytes(1 + 16)  # type and cookie
        kex, host_keys = offer.get_namelist(), offer.get_namelist()
        if not self._session_id and self._gateway is not None:
            self._gateway.fingerprinted(*fingerprint(packet.get_full_payload()))
        await super()._process_kexinit(kind, number, packet)
        is_guess = packet.get_full_payload()[-5] != 0
        # RFC 4253 §7: a guess is right if both sides' *first* choices are the same
        self._ignore_first_kex = is_guess and (
            kex[:1] != self._kex_algs[:1] or host_keys[:1] != list(self._server_host_keys)[:1]
        )

    def choose_server_host_key(self, peer_host_key_algs: Sequence[bytes]) -> bool:
        """Choose a key for this connection; a copy, for its signature algorithm is this connection's alone."""
        for algorithm in peer_host_key_algs:
            if (pair := self._server_host_keys.get(algorithm)) is not None:
                self._server_host_key = copy.copy(pair)
                if algorithm != pair.algorithm:
                    self._server_host_key.set_sig_algorithm(algorithm)
                return True
        return False

    def _send_kexinit(self) -> None:
        super()._send_kexinit()
        self._tell_channels()

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Keys are agreed; from here on packets are sealed with the new ones."""
        super().send_newkeys(k, h)
        if self._send_encryption is not None:
            self._send_encryption = packet_cipher(self._send_encryption)
        if self._next_recv_encryption is not None:
            self._next_recv_encryption = packet_cipher(self._next_recv_encryption)
        if self._next_decompressor is not None:
            self._next_decompressor = BoundedDecompressor()
        self._tell_channels()

    # -- authentication -----------------------------------------------------------------------

    async def _process_userauth_request(self, _kind: int, _number: int, packet: SSHPacket) -> None:
        if not self._auth_in_progress or self._userauth is None:
            if self._auth_complete and not self._auth_final:
                return  # RFC 4252 §5.1: requests after success are ignored
            raise asyncssh.ProtocolError("Unexpected userauth request")
        try:
            await self._userauth.requested(packet, self._session_id)
        except PacketDecodeError as error:
            raise asyncssh.ProtocolError(str(error)) from None

    def expect_auth_packets(self, exchange: Exchange | None) -> None:
        """From now on packets of the method under way (RFC 4252 §6: numbers 60 to 79) are `exchange`'s."""
        self._auth = cast("Any", exchange)

    async def auth_succeeded(self, username: str) -> None:
        """The login is accepted: say so, and serve."""
        self._username = username
        self.gateway.logged_in(username)
        await self.send_userauth_success()
        self._announce_host_keys()
        self._keepalive.start()

    def _ask_for_life(self) -> None:
        if len(self._global_request_waiters) < UNANSWERED_PROBES:
            self.start_task(self._probe(), "keepalive")

    async def _probe(self) -> None:
        await self._make_global_request(b"keepalive@openssh.com")

    def _give_up(self) -> None:
        self.gateway.log.info("The client gives no sign of life", code=Code.SSH_KEEPALIVE_NORESP)
        self._force_close(asyncssh.ConnectionLost("No sign of life from the client"))

    def _process_disconnect(self, kind: int, number: int, packet: SSHPacket) -> None:
        self._has_peer_left = True
        super()._process_disconnect(kind, number, packet)

    def _process_ping(self, _kind: int, _number: int, packet: SSHPacket) -> None:
        data = packet.get_string()
        packet.check_end()
        self.send_packet(MSG_PONG, String(data))

    # -- global requests and channels ------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """True until the connection is given up."""
        return self._transport is not None

    @property
    def channel_count(self) -> int:
        """Channels that are open, being opened or offered."""
        return len(self._channels)

    @property
    def session_id(self) -> bytes:
        """What the first key exchange was about (RFC 4253 §7.2)."""
        return self._session_id

    def host_key_pairs(self) -> Mapping[bytes, asyncssh.SSHKeyPair]:
        """Our host keys by their public halves, each ready to sign."""
        pairs = {}
        for pair in self._server_host_keys.values():
            if pair.has_cert:
                continue
            pairs[pair.public_data] = mine = copy.copy(pair)
            if mine.algorithm == b"ssh-rsa":  # a client takes the algorithm that it knows of us, or a better one
                used = self._server_host_key.sig_algorithm if self._server_host_key is not None else b""
                mine.set_sig_algorithm(used if used.startswith(b"rsa-") else b"rsa-sha2-512")
        return pairs

    def _announce_host_keys(self) -> None:
        keys = (pair.public_data for pair in self._server_host_keys.values() if not pair.has_cert)
        blobs = map(String, dict.fromkeys(keys))
        self.send_packet(MSG_GLOBAL_REQUEST, String("hostkeys-00@openssh.com"), Boolean(False), *blobs)

    def _process_global_request(self, _kind: int, _number: int, packet: SSHPacket) -> None:
        self.requests.received(packet)

    def _process_channel_open(self, _kind: int, _number: int, packet: SSHPacket) -> None:
        self.opening.asked(packet)

    _packet_handlers = {  # noqa: RUF012 - the base class's table
        **SSHConnection._packet_handlers,  # noqa: SLF001
        MSG_DISCONNECT: _process_disconnect,
        MSG_KEXINIT: _process_kexinit,
        MSG_USERAUTH_REQUEST: _process_userauth_request,
        MSG_GLOBAL_REQUEST: _process_global_request,
        MSG_CHANNEL_OPEN: _process_channel_open,
        MSG_PING: _process_ping,
    }


def packet_cipher(stock: Encryption) -> Encryption:
    """Our cipher in the state of asyncssh's, where we have one."""
    if isinstance(stock, GCMEncryption):
        return GcmCipher(stock._cipher._key, stock._cipher._iv)  # noqa: SLF001
    if isinstance(stock, ChachaEncryption):
        return ChachaCipher(stock._cipher._key + stock._cipher._adkey)  # noqa: SLF001
    return stock
