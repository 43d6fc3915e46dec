"""What one client may cost: memory stays bounded, and no request of a client ends another's connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from datetime import timedelta
from typing import Any

import asyncssh
import pytest
from asyncssh.connection import SSHConnection
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import RawChannel, Serve, Served
from tests.unit.ssh.fakes import CHUNK, FakeGateway

from moorage.ssh.channel import FULL_WINDOWS, SMALL_WINDOW, WINDOW
from moorage.ssh.connection import READ_LIMIT, WRITE_HIGH, ServerConnection

MB = 1024 * 1024


async def until(condition: Any, deadline: float = 10) -> None:
    """Wait for a condition that other tasks bring about."""
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.002)


async def settled(value: Any) -> int:
    """The value that a counter comes to rest at."""
    last, calm = -1, 0
    while calm < 20:
        await asyncio.sleep(0.005)
        calm, last = (calm + 1, last) if value() == last else (0, value())
    return last


async def _flooding_client(served: Served) -> Any:
    """A client that opens a huge window, asks for endless output and stops reading."""
    client = await served.client()
    channel = RawChannel(client, window=0xFFFFFFFF)
    await channel.open()
    assert await channel.ask(b"exec", String("source 4000000000"))
    client._transport.pause_reading()
    return client


async def test_output_stops_when_the_client_does_not_read(served: Served) -> None:
    client = await _flooding_client(served)
    (connection,) = served.server.connections
    process = served.gateway.processes[0]
    sent = await settled(lambda: process.sent)
    assert connection._transport is not None
    assert connection._transport.get_write_buffer_size() < WRITE_HIGH + 8 * CHUNK
    assert sent < 30 * MB, "what the kernel's buffers hold, and no more"
    client._transport.resume_reading()
    await until(lambda: process.sent > sent + 10 * MB)
    client.abort()


async def test_the_stock_connection_would_not_stop(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerConnection, "pause_writing", SSHConnection.pause_writing)
    client = await _flooding_client(served)
    process = served.gateway.processes[0]
    await until(lambda: process.sent > 100 * MB)
    client.abort()


async def test_output_stops_while_keys_are_exchanged(served: Served) -> None:
    client = await served.client()
    channel = RawChannel(client, window=0xFFFFFFFF)
    await channel.open()
    assert await channel.ask(b"exec", String("source 4000000000"))
    process = served.gateway.processes[0]
    await until(lambda: process.sent > MB)
    client._recv_handler = lambda: False  # reads on, and answers nothing
    client._send_kexinit()
    (connection,) = served.server.connections
    await until(lambda: not connection._kex_complete)
    sent = await settled(lambda: process.sent)
    assert not process.can_write.is_set()
    assert sum(len(piece) for _, pieces in connection._deferred_packets for piece in pieces) < 4 * CHUNK
    await asyncio.sleep(0)
    assert process.sent == sent
    client.abort()


async def _flood_during_auth(serve: Serve) -> tuple[Any, ServerConnection, asyncio.Event]:
    """A client that sends megabytes while its password is being checked."""
    may_answer = asyncio.Event()

    async def hold() -> None:
        await may_answer.wait()

    served = await serve(FakeGateway(before_answer=hold))
    writer: Any = None

    class Flood(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            nonlocal writer
            writer = conn

    async def connect() -> Any:
        return await served.client(client_factory=Flood)

    task = asyncio.create_task(connect())
    await until(lambda: served.server.connections and served.server.connections[0]._auth_in_progress)
    (connection,) = served.server.connections
    await until(lambda: connection._recv_handler != connection._recv_pkthdr)
    for _ in range(64):
        writer.send_packet(2, String(bytes(200_000)))  # SSH_MSG_IGNORE
        await asyncio.sleep(0)
    return task, connection, may_answer


async def test_a_client_cannot_fill_memory_while_its_password_is_checked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.ssh.connection.STRANGERS_LIMIT", 100 * MB)  # it would end the connection, or not
    task, connection, may_answer = await _flood_during_auth(serve)
    assert await settled(lambda: len(connection._inpbuf)) <= READ_LIMIT + 256 * 1024
    may_answer.set()
    async with asyncio.timeout(10):
        client = await task
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"
        client.close()


async def test_the_stock_connection_would_keep_it_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerConnection, "_regulate_reading", lambda self: None)
    monkeypatch.setattr("moorage.ssh.connection.STRANGERS_LIMIT", 100 * MB)
    task, connection, may_answer = await _flood_during_auth(serve)
    await until(lambda: len(connection._inpbuf) > 5 * MB)
    may_answer.set()
    (await task).abort()


async def test_a_slow_guest_stops_the_client(served: Served) -> None:
    async with served.client() as client:
        process = await client.create_process("stuck", encoding=None)
        process.stdin.write(bytes(20 * MB))
        guest = served.gateway.processes[0]
        taken = await settled(lambda: guest.received)
        assert 0 < taken <= 4 * CHUNK + 32768
        (connection,) = served.server.connections
        (channel,) = connection._channels.values()
        assert sum(len(data) for data, _ in channel._recv_buf) <= WINDOW
        process.channel.abort()


async def test_tiny_packets_cost_no_more_than_their_window(serve: Serve) -> None:
    may_start = asyncio.Event()

    async def hold(_: Any) -> None:
        await may_start.wait()

    served = await serve(FakeGateway(before_start=hold))
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        asked = asyncio.create_task(channel.ask(b"exec", String("count")))
        await asyncio.sleep(0)
        for _ in range(5000):
            channel.write(b"x")
        (connection,) = served.server.connections
        await until(lambda: connection._channels and WINDOW - _first(connection)._recv_window == 5000)
        assert len(_first(connection)._recv_buf) == 1
        may_start.set()
        assert await asked
        channel.write_eof()
        await channel.wait_closed()
        assert served.gateway.processes[0].received == 5000


def _first(connection: ServerConnection) -> Any:
    return next(iter(connection._channels.values()))


async def test_requests_that_wait_for_a_start_are_bounded(serve: Serve) -> None:
    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    served = await serve(FakeGateway(before_start=never))
    client = await served.client()
    channel = RawChannel(client)
    await channel.open()
    for _ in range(100):
        channel._send_request(b"exec", String(bytes(10_000)))
    assert isinstance(await asyncio.wait_for(served.gateway.connections[0].end, 5), asyncssh.ProtocolError)


async def test_channels_are_bounded_and_later_ones_get_small_windows(serve: Serve) -> None:
    served = await serve(max_channels=12)
    async with served.client() as client:
        channels = [RawChannel(client) for _ in range(13)]
        for channel in channels[:12]:
            await channel.open()
        windows = [channel._send_window for channel in channels[:12]]
        assert windows == [WINDOW] * FULL_WINDOWS + [SMALL_WINDOW] * 4
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await channels[12].open()
        assert caught.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
        channels[0].close()
        await channels[0].wait_closed()
        await RawChannel(client).open()


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        (b"tcpip-forward", String("") + UInt32(0)),
        (b"tcpip-forward", b"\xff"),
        (b"cancel-tcpip-forward", String("nowhere") + UInt32(7)),
        (b"streamlocal-forward@openssh.com", String("/tmp/x")),
        (b"cancel-streamlocal-forward@openssh.com", String("/tmp/none")),
        (b"hostkeys-prove-00@openssh.com", String(b"")),
        (b"keepalive@openssh.com", b""),
        (b"\xff\xff", b"junk"),
        (b"unknown", b""),
    ],
)
async def test_every_global_request_is_refused_and_none_is_fatal(served: Served, name: bytes, payload: bytes) -> None:
    async with served.client() as client:
        kind, rest = await client._make_global_request(name, payload)
        assert kind == asyncssh.constants.MSG_REQUEST_FAILURE
        assert rest.get_full_payload() == b"\x52"
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"


@pytest.mark.parametrize(
    ("kind", "payload", "size", "code"),
    [
        (b"session", b"", 8, asyncssh.OPEN_CONNECT_FAILED),
        (b"session", b"surplus", 32768, asyncssh.OPEN_CONNECT_FAILED),
        (b"x11", String("") + UInt32(0), 32768, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE),
        (b"tun@openssh.com", UInt32(1) * 2, 32768, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE),
        (b"auth-agent@openssh.com", b"", 32768, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE),
        (b"\xff", b"", 32768, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE),
        (b"direct-tcpip", b"\0\0", 32768, asyncssh.OPEN_CONNECT_FAILED),
        (b"direct-tcpip", String(b"\xff") + UInt32(1) + String("") + UInt32(0), 32768, asyncssh.OPEN_CONNECT_FAILED),
    ],
)
async def test_a_channel_that_cannot_be_had_is_refused_alone(
    served: Served, kind: bytes, payload: bytes, size: int, code: int
) -> None:
    async with served.client() as client:
        channel = RawChannel(client)
        assert channel._recv_chan is not None
        channel._open_waiter = asyncio.get_running_loop().create_future()
        client.send_packet(
            asyncssh.constants.MSG_CHANNEL_OPEN,
            String(kind),
            UInt32(channel._recv_chan),
            UInt32(65536),
            UInt32(size),
            payload,
        )
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await channel._open_waiter
        assert caught.value.code == code
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"


async def test_extended_data_of_a_client_is_dropped(served: Served) -> None:
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert await channel.ask(b"exec", String("count"))
        channel.send_packet(asyncssh.constants.MSG_CHANNEL_EXTENDED_DATA, UInt32(1), String(b"noise"))
        channel.write(b"signal")
        channel.write_eof()
        await channel.wait_closed()
        assert served.gateway.processes[0].received == 6


async def test_more_than_the_window_ends_the_connection(served: Served) -> None:
    client = await served.client()
    channel = RawChannel(client)
    await channel.open()
    assert await channel.ask(b"exec", String("stuck"))
    channel._send_window = 100 * MB
    channel.write(bytes(10 * MB))
    assert isinstance(await asyncio.wait_for(served.gateway.connections[0].end, 5), asyncssh.ProtocolError)


async def test_a_client_that_only_asks_and_never_reads_is_not_read_any_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.ssh.connection.WRITE_LIMIT", 20_000)
    client = await served.client()
    client._packet_handlers = {**client._packet_handlers, 82: lambda *_: None}
    client._transport.pause_reading()
    (connection,) = served.server.connections
    assert connection._transport is not None
    connection._transport.set_write_buffer_limits(10_000, 5_000)
    for end in (client._transport, connection._transport):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4096)
    packet = String(b"unknown") + Boolean(True)
    async with asyncio.timeout(15):
        while not connection._is_reading_paused:
            for _ in range(100):
                client.send_packet(80, packet)
            await asyncio.sleep(0)
    client._transport.resume_reading()
    await until(lambda: not connection._is_reading_paused)
    client.abort()


async def test_login_has_to_succeed_in_time(serve: Serve) -> None:
    served = await serve(login_grace_time=timedelta(seconds=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"SSH-2.0-Moorage\r\n")
        cause = await served.gateway.connections[0].end
    assert "Login timeout" in str(cause)
    writer.close()


async def test_a_login_in_time_is_not_ended_later(serve: Serve) -> None:
    served = await serve(login_grace_time=timedelta(seconds=0.3))
    async with served.client() as client:
        await asyncio.sleep(0.5)
        assert (await client.run("echo here", encoding=None)).stdout == b"here\n"


async def test_silent_clients_are_probed_and_given_up(serve: Serve) -> None:
    served = await serve(client_alive_interval=timedelta(seconds=0.1), client_alive_count_max=2)
    client = await served.client()
    await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
    client._transport.pause_reading()
    cause = await asyncio.wait_for(served.gateway.connections[0].end, 5)
    assert "sign of life" in str(cause)
    client.abort()


async def test_clients_that_answer_probes_stay(serve: Serve) -> None:
    served = await serve(client_alive_interval=timedelta(seconds=0.05), client_alive_count_max=2)
    async with served.client() as client:
        (connection,) = served.server.connections
        seq = connection._send_seq
        await until(lambda: connection._send_seq >= seq + 8)
        assert (await client.run("echo here", encoding=None)).stdout == b"here\n"


async def test_pings_are_announced_and_answered(served: Served) -> None:
    async with served.client() as client:
        assert served.server.connections[0]._extensions_to_send[b"ping@openssh.com"] == b"0"
        answered = asyncio.get_running_loop().create_future()

        def pong(_self: Any, _kind: int, _number: int, packet: asyncssh.packet.SSHPacket) -> None:
            answered.set_result(packet.get_string())

        client._packet_handlers = {**client._packet_handlers, 193: pong}
        client.send_packet(192, String(b"are you there"))
        assert await asyncio.wait_for(answered, 5) == b"are you there"


@pytest.mark.parametrize(
    "hello",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-\xff\xfe\r\n",
        b"SSH-2.0-x\x1b[2J\r\n",
        b"x" * 10_000,
        b"SSH-2.0-x\r\n" + bytes(64),
        b"SSH-2.0-x\r\n\xff\xff\xff\xff" + bytes(64),
        b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 4, 50) + bytes(10),
        b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 4, 20) + bytes(10),
        b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 4, 94) + bytes(10),
        b"SSH-2.0-x\r\n" + struct.pack(">IBB", 12, 255, 20) + bytes(10),
    ],
)
async def test_garbage_before_the_handshake_ends_that_connection_only(served: Served, hello: bytes) -> None:
    async with served.client() as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(hello)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
            await served.gateway.connections[1].end
        writer.close()
        assert (await other.run("echo alive", encoding=None)).stdout == b"alive\n"


async def test_who_asks_too_often_is_refused_and_what_runs_goes_on(serve: Serve) -> None:
    served = await serve(max_requests_per_second=10)
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert await channel.ask(b"exec", String("cat"))
        answers = [await channel.ask(b"window-change", UInt32(80) * 4) for _ in range(30)]
        assert answers[:10] == [True] * 10
        assert False in answers
        opened = await asyncio.gather(*(RawChannel(client).open() for _ in range(50)), return_exceptions=True)
        assert "Too many requests a second" in {getattr(refusal, "reason", "") for refusal in opened}
        process = served.gateway.processes[0]
        channel.write(b"goes on")
        await until(lambda: process.received == 7)
        assert (await client._make_global_request(b"no-more-sessions@openssh.com"))[0] == 82, "refused"
