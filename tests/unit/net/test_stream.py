"""Raw streams against real peers: half-close both ways, back-pressure, and ends told once, plain and over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trustme

from moorage.net.stream import WRITE_HIGH, RawStream, connect_tcp

DEADLINE = 10.0
BIG = bytes(range(256)) * 8192


@dataclass
class Recorder:
    """Keeps what a stream delivers."""

    data: bytearray = field(default_factory=bytearray)
    calls: list[str] = field(default_factory=list)
    cause: Exception | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def eof_received(self) -> None:
        self._note("eof")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, cause: Exception | None) -> None:
        self.cause = cause
        self._note("lost")

    def _note(self, call: str) -> None:
        if not self.calls or self.calls[-1] != call:
            self.calls.append(call)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Peers:
    """Makes pairs of joined streams, plain or over TLS; the server's side is asyncio's own or our own."""

    def __init__(self, secure: bool) -> None:
        ca = trustme.CA()
        self.server: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None
        if secure:
            self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ca.issue_cert("127.0.0.1").configure_cert(self.server)
            self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            ca.configure_trust(self.client)

    @asynccontextmanager
    async def joined(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> AsyncIterator[RawStream]:
        """Our stream to a server that does `serve`."""
        served = []

        async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(asyncio.current_task())
            try:
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await serve(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0, ssl=self.server)
        port = server.sockets[0].getsockname()[1]
        stream: RawStream | None = None
        try:
            async with asyncio.timeout(DEADLINE):
                stream = await connect_tcp("127.0.0.1", port, tls=self.client)
            yield stream
        finally:
            if stream is not None:
                stream.abort()
            server.close()
            tasks = [task for task in served if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def peers(request: pytest.FixtureRequest) -> Peers:
    return Peers(request.param)


async def test_bytes_arrive_in_order_both_ways(peers: Peers) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(BIG)))
        await writer.drain()
        writer.close()

    async with peers.joined(echo) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        for at in range(0, len(BIG), 100_000):
            stream.write(BIG[at : at + 100_000])
        await recorder.until(lambda: len(recorder.data) == len(BIG))
        assert recorder.data == BIG


async def test_what_came_before_there_was_a_receiver_is_read_first(peers: Peers) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"head\r\n\r\nbody")
        await reader.read()
        writer.close()

    async with peers.joined(serve) as stream:
        assert await asyncio.wait_for(stream.read_until(b"\r\n\r\n", limit=100), DEADLINE) == b"head\r\n\r\n"
        recorder = Recorder()
        stream.attach(recorder)
        await recorder.until(lambda: recorder.data == b"body")


async def test_a_head_is_bounded_and_may_not_end_early(peers: Peers) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1) * 1000)
        writer.close()

    for limit, complaint in ((100, "too long"), (5000, "ended early")):
        async with peers.joined(serve) as stream:
            stream.write(b"x")
            with pytest.raises(ConnectionError, match=complaint):
                await asyncio.wait_for(stream.read_until(b"\n", limit=limit), DEADLINE)


async def test_a_paused_reader_is_told_nothing_until_it_resumes(peers: Peers) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG)
        await writer.drain()
        writer.close()

    async with peers.joined(serve) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        await recorder.until(lambda: bool(recorder.data))
        stream.pause_reading()
        stream.pause_reading()
        seen = len(recorder.data)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(recorder.data) == seen
        stream.resume_reading()
        stream.resume_reading()
        await recorder.until(lambda: "eof" in recorder.calls)
        assert recorder.data == BIG


async def test_a_slow_peer_stops_the_writer_and_starts_it_again(peers: Peers) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while await reader.read(1 << 20):
            pass
        writer.close()

    async with peers.joined(serve) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        await asyncio.sleep(0)
        written = 0
        while "pause" not in recorder.calls:
            stream.write(bytes(65536))
            written += 65536
            assert written < 64 * WRITE_HIGH
            await asyncio.sleep(0)
        go.set()
        await recorder.until(lambda: "resume" in recorder.calls)


async def test_a_peer_that_breaks_off_is_told_with_its_cause_once(peers: Peers) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async with peers.joined(serve) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        stream.write(b"x" * 100)
        await recorder.until(lambda: "lost" in recorder.calls or "eof" in recorder.calls)
        stream.write(b"y")
        stream.write(b"y")
        await recorder.until(lambda: "lost" in recorder.calls)
        stream.close()
        stream.abort()
        await stream.wait_closed()
        assert recorder.calls.count("lost") == 1
        assert recorder.calls[-1] == "lost"


async def test_our_own_close_has_no_cause_and_sends_what_was_written(peers: Peers) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read(-1))
        writer.close()

    async with peers.joined(serve) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        stream.write(BIG)
        stream.close()
        stream.close()
        stream.write(b"late")
        await recorder.until(lambda: "lost" in recorder.calls)
        assert recorder.cause is None
        assert await asyncio.wait_for(got, DEADLINE) == BIG


async def test_a_stream_has_one_receiver(peers: Peers) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with peers.joined(serve) as stream:
        stream.attach(Recorder())
        with pytest.raises(RuntimeError):
            stream.attach(Recorder())


async def test_an_untrusted_peer_is_refused() -> None:
    ours, theirs = Peers(True), Peers(True)
    ours.server = theirs.server

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with pytest.raises(ssl.SSLCertVerificationError):
        async with ours.joined(serve):
            pass


async def test_a_peer_that_leaves_during_the_handshake_is_an_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    peers = Peers(True)
    peers.server = None
    with pytest.raises(OSError):
        async with peers.joined(serve):
            pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_half_closes_and_goes_on_reading(version: ssl.TLSVersion) -> None:
    """The peer is a blocking socket in a thread: asyncio's server cannot answer after the end of its input."""
    peers = Peers(True)
    assert peers.server is not None
    peers.server.maximum_version = version
    context = peers.server
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as secure:
            count = 0
            while data := secure.recv(65536):
                count += len(data)
            secure.sendall(str(count).encode())
            secure.unwrap()

    serving = asyncio.get_running_loop().run_in_executor(None, serve)
    stream = await connect_tcp("127.0.0.1", listener.getsockname()[1], tls=peers.client)
    recorder = Recorder()
    stream.attach(recorder)
    stream.write(BIG)
    stream.write_eof()
    stream.write_eof()
    stream.write(b"late")
    await recorder.until(lambda: "lost" in recorder.calls)
    assert recorder.data == str(len(BIG)).encode()
    assert recorder.calls[-2:] == ["eof", "lost"]
    assert recorder.cause is None
    await serving
    listener.close()


async def test_tls_that_is_cut_without_a_goodbye_is_not_an_orderly_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half of it")
        await writer.drain()
        await reader.readexactly(1)
        writer.transport.get_extra_info("socket").shutdown(1)

    async with Peers(True).joined(serve) as stream:
        recorder = Recorder()
        stream.attach(recorder)
        await recorder.until(lambda: bool(recorder.data))
        stream.write(b"x")
        await recorder.until(lambda: "lost" in recorder.calls)
        assert "eof" not in recorder.calls
        assert isinstance(recorder.cause, ConnectionError)
