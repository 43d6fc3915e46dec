"""Byte streams that can half-close: plain sockets and TLS, with one face.

asyncio cannot half-close a TLS connection (``write_eof`` raises).  `TlsStream` can: it
drives `ssl.SSLObject` over memory buffers, sends ``close_notify`` for our end and goes on
reading until the peer has sent its own.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Final, Protocol

READ_BUFFER: Final = 256 * 1024
"""Bytes kept for a reader that has not attached yet; reading from the socket pauses above."""

WRITE_HIGH: Final = 512 * 1024
"""Bytes queued for the socket above which writers are told to pause; half of it resumes them."""

CLOSE_LINGER: Final = 10.0
"""Seconds that ``close`` gives a peer to take what was written, before the connection is cut."""

KEEPALIVE_IDLE: Final = 30
"""Seconds of silence after which the kernel asks a TCP peer whether it is still there."""

_TLS_CHUNK: Final = 64 * 1024


class StreamReceiver(Protocol):
    """Where a stream delivers; the same words as `asyncio.Protocol` and the gateway's receivers."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, cause: Exception | None) -> None: ...


class RawStream(abc.ABC):
    """A duplex byte stream with half-close and back-pressure in both directions.

    Until `attach`, what arrives is kept (bounded) and read by `read_until` and `read`.
    After it, everything goes to the receiver: first what was kept, in order.  ``connection_lost``
    is delivered exactly once and last; its cause is None after both ends were closed or after our ``close``.
    """

    def __init__(self) -> None:
        self._receiver: StreamReceiver | None = None
        self._kept = bytearray()
        self._eof = False
        self._eof_delivered = False
        self._paused = False
        self._delivering = False
        self._ended = False
        self._cause: Exception | None = None
        self._lost_delivered = False
        self._write_paused = False
        self._closing = False
        self._arrived = asyncio.Event()

    # What a concrete stream supplies.

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data`, in order; a no-op after ``write_eof``, ``close`` or the end."""

    @abc.abstractmethod
    def write_eof(self) -> None:
        """Close our direction after what was written; idempotent.  Reading goes on."""

    @abc.abstractmethod
    def close(self) -> None:
        """End both directions; what was written is still sent, for at most `CLOSE_LINGER` seconds.  Idempotent."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Cut the connection at once.  Idempotent."""

    @abc.abstractmethod
    def _want(self, reading: bool) -> None:
        """Start or stop taking bytes from below."""

    # Reading before there is a receiver.

    async def read_until(self, separator: bytes, *, limit: int) -> bytes:
        """What arrives up to and with `separator`; raises `ConnectionError` at an early end or past `limit` bytes."""
        while (at := self._kept.find(separator, 0, limit)) < 0:
            if len(self._kept) >= limit:
                raise ConnectionError("the answer's head is too long")
            if not await self._more():
                raise ConnectionError("the connection ended early") from self._cause
        taken = bytes(self._kept[: at + len(separator)])
        del self._kept[: at + len(separator)]
        return taken

    async def read(self, limit: int) -> bytes:
        """Some bytes, at most `limit`; empty at the end."""
        while not self._kept:
            if not await self._more():
                return b""
        taken = bytes(self._kept[:limit])
        del self._kept[:limit]
        return taken

    async def _more(self) -> bool:
        if self._eof or self._ended:
            return False
        self._want(True)
        self._arrived.clear()
        await self._arrived.wait()
        return True

    # Handing over to a receiver.

    def attach(self, receiver: StreamReceiver) -> None:
        """Deliver to `receiver` from the next turn of the loop on; called once."""
        if self._receiver is not None:
            raise RuntimeError("a stream has one receiver")
        self._receiver = receiver
        asyncio.get_running_loop().call_soon(self._attached)

    def _attached(self) -> None:
        if self._write_paused and self._receiver is not None and not self._ended:
            self._receiver.pause_writing()
        self._deliver()

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``; idempotent."""
        if not self._paused:
            self._paused = True
            if not self._ended:
                self._want(False)

    def resume_reading(self) -> None:
        """Deliver again; idempotent."""
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._deliver)

    @abc.abstractmethod
    async def wait_closed(self) -> None:
        """Returns when the connection itself is gone, lingering included."""

    def _deliver(self) -> None:
        receiver = self._receiver
        if receiver is None or self._delivering or self._lost_delivered:
            return
        self._delivering = True
        try:
            if self._kept and not (self._paused or self._closing):
                kept, self._kept = bytes(self._kept), bytearray()
                receiver.data_received(kept)
            if self._eof and not (self._paused or self._closing or self._kept or self._eof_delivered):
                self._eof_delivered = True
                receiver.eof_received()
            if self._ended and (self._closing or self._cause is not None or not (self._paused or self._kept)):
                self._lost_delivered = True
                receiver.connection_lost(self._cause)
        finally:
            self._delivering = False
        if not self._paused and not self._ended:
            self._want(True)

    # What a concrete stream reports.

    def _on_data(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is not None and not self._paused and not self._kept and not self._delivering:
            receiver.data_received(data)
            return
        self._kept += data
        self._arrived.set()
        if receiver is None and len(self._kept) >= READ_BUFFER:
            self._want(False)

    def _on_eof(self) -> None:
        if not self._eof:
            self._eof = True
            self._arrived.set()
            self._deliver()

    def _on_lost(self, cause: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._cause = cause
            self._arrived.set()
            self._deliver()

    def _on_pause_writing(self) -> None:
        self._write_paused = True
        if self._receiver is not None and not self._ended:
            self._receiver.pause_writing()

    def _on_resume_writing(self) -> None:
        self._write_paused = False
        if self._receiver is not None and not self._ended:
            self._receiver.resume_writing()


class PlainStream(RawStream, asyncio.Protocol):
    """A `RawStream` on one TCP or unix socket."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: asyncio.Transport | None = None
        self._eof_sent = False
        self._reading = True
        self._linger: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)

    def data_received(self, data: bytes) -> None:
        if not self._closing:
            self._on_data(data)

    def eof_received(self) -> bool:
        if self._closing:
            return False
        self._on_eof()
        self._end_if_done()
        return True

    def pause_writing(self) -> None:
        self._on_pause_writing()

    def resume_writing(self) -> None:
        self._on_resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._on_lost(None if self._closing else exc)
        if not self._gone.done():
            self._gone.set_result(None)

    # RawStream

    def write(self, data: bytes) -> None:
        if self._transport is not None and not (self._eof_sent or self._closing or self._ended):
            self._transport.write(data)

    def write_eof(self) -> None:
        if self._transport is not None and not (self._eof_sent or self._closing or self._ended):
            self._eof_sent = True
            self._end_direction(self._transport)
            self._end_if_done()

    def close(self) -> None:
        transport = self._transport
        if transport is None or self._closing or self._ended:
            return
        self._closing = True
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(CLOSE_LINGER, transport.abort)
        if self._eof:
            transport.close()
        else:
            # A socket that is closed with something unread is reset, and what was written may be lost with it:
            # so we end our direction and drop what comes until the peer ends the other.
            if not self._eof_sent:
                self._end_direction(transport)
            transport.resume_reading()
        loop.call_soon(self._on_lost, None)

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._gone)

    def _want(self, reading: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or reading == self._reading or self._eof or self._closing:
            return
        self._reading = reading
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()

    @staticmethod
    def _end_direction(transport: asyncio.Transport) -> None:
        # The peer may have reset the connection, which the loop has yet to tell us.
        with contextlib.suppress(OSError):
            transport.write_eof()

    def _end_if_done(self) -> None:
        if self._eof and self._eof_sent:
            self.close()


class TlsStream(RawStream):
    """A `RawStream` that speaks TLS over another one, with a half-close."""

    def __init__(self, below: RawStream, context: ssl.SSLContext, *, server_hostname: str) -> None:
        super().__init__()
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._handshake: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._wanted = True
        self._eof_sent = False
        self._below_eof = False

    async def handshake(self) -> None:
        """Shake hands; raises `ssl.SSLError` or `ConnectionError`."""
        done = self._handshake
        assert done is not None
        self._below.attach(_Below(self))
        self._step()
        try:
            await done
        except BaseException:
            self._below.abort()
            raise

    def write(self, data: bytes) -> None:
        if self._eof_sent or self._closing or self._ended:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as cause:
            self._fail(cause)
            return
        self._flush()

    def write_eof(self) -> None:
        if self._eof_sent or self._closing or self._ended:
            return
        self._eof_sent = True
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # close_notify is queued; the peer's has not come yet
        except ssl.SSLError as cause:
            self._fail(cause)
            return
        self._flush()
        self._end_if_done()

    def close(self) -> None:
        if not self._closing:
            self.write_eof()
            self._closing = True
            self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    async def wait_closed(self) -> None:
        await self._below.wait_closed()

    def _want(self, reading: bool) -> None:
        self._wanted = reading
        if reading:
            self._below.resume_reading()
            self._pump()
        else:
            self._below.pause_reading()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())

    def _step(self) -> None:
        done = self._handshake
        if done is None:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, OSError) as cause:
            self._flush()
            if not done.done():
                done.set_exception(cause)
        else:
            self._flush()
            self._handshake = None
            if not done.done():
                done.set_result(None)

    def _pump(self) -> None:
        """Decrypt and deliver until there is nothing or the reader has paused."""
        while self._wanted and not (self._eof or self._ended or self._closing):
            try:
                data = self._tls.read(_TLS_CHUNK)
            except ssl.SSLWantReadError:
                if self._below_eof:
                    self._fail(ConnectionError("the TLS connection was cut"))
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as cause:
                self._fail(cause)
                return
            if data:
                self._on_data(data)
            else:
                self._on_eof()
                self._end_if_done()
        self._flush()

    def _end_if_done(self) -> None:
        if self._eof and self._eof_sent and not self._closing:
            self._closing = True
            self._below.close()

    def _fail(self, cause: Exception) -> None:
        self._below.abort()
        self._on_lost(cause)

    # From below.

    def _below_data(self, data: bytes) -> None:
        if self._eof or self._closing:
            return  # nothing counts after close_notify
        self._incoming.write(data)
        if self._handshake is not None:
            self._step()
        if self._handshake is None:
            self._pump()

    def _below_ended(self, cause: Exception | None) -> None:
        done = self._handshake
        if done is not None and not done.done():
            done.set_exception(ConnectionError("the connection ended during the TLS handshake"))
        if cause is None and not self._closing and not (self._eof and self._eof_sent):
            cause = ConnectionError("the TLS connection was cut")
        self._on_lost(None if self._closing else cause)

    def _below_eof_received(self) -> None:
        self._below_eof = True
        if self._handshake is not None:
            self._below_ended(None)
            self._below.abort()
        else:
            self._pump()


class _Below:
    """Hands what the lower stream delivers to its `TlsStream`."""

    def __init__(self, upper: TlsStream) -> None:
        self._upper = upper
        self.data_received = upper._below_data  # noqa: SLF001 — the other half of the same class
        self.eof_received = upper._below_eof_received  # noqa: SLF001
        self.pause_writing = upper._on_pause_writing  # noqa: SLF001
        self.resume_writing = upper._on_resume_writing  # noqa: SLF001
        self.connection_lost = upper._below_ended  # noqa: SLF001


async def connect_unix(path: Path) -> RawStream:
    """A stream to the unix socket at `path`; raises `OSError`."""
    _, stream = await asyncio.get_running_loop().create_unix_connection(PlainStream, str(path))
    return stream


async def connect_tcp(host: str, port: int, *, tls: ssl.SSLContext | None = None) -> RawStream:
    """A stream to ``host:port``, over TLS if a context is given; raises `OSError` (which `ssl.SSLError` is)."""
    _, plain = await asyncio.get_running_loop().create_connection(PlainStream, host, port)
    if tls is None:
        return plain
    stream = TlsStream(plain, tls, server_hostname=host)
    await stream.handshake()
    return stream
