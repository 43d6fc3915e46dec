"""What those who have not logged in can do: slow ones, broken ones, endless ones; and who is to blame in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, NameList, String, UInt32
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeConnection, FakeGateway
from tests.unit.ssh.test_limits import until

from moorage.net.penalties import Cause
from moorage.ssh.connection import STRANGERS_LIMIT

HELLO = b"SSH-2.0-Stranger\r\n"


def packet(kind: int, *payload: bytes) -> bytes:
    """A packet as it is before there are keys."""
    body = bytes((kind,)) + b"".join(payload)
    padding = 4 + -(4 + 1 + len(body) + 4) % 8
    return struct.pack(">IB", 1 + len(body) + padding, padding) + body + bytes(padding)


def kexinit(kex: bytes = b"curve25519-sha256") -> bytes:
    """An offer of the algorithms that every server has, and of the key exchange `kex`."""
    lists = [kex, b"ssh-ed25519", *[b"aes128-gcm@openssh.com"] * 2, *[b"hmac-sha2-256"] * 2, *[b"none"] * 2, b"", b""]
    names = (NameList(entry.split(b",") if entry else []) for entry in lists)
    return packet(20, bytes(16), *names, Boolean(False), UInt32(0))


async def _end(served: Served) -> FakeConnection:
    """The last connection, once it has ended."""
    async with asyncio.timeout(10):
        await until(lambda: served.gateway.connections)
        connection = served.gateway.connections[-1]
        await connection.end
    return connection


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"", None),
        (HELLO, None),
        (HELLO + kexinit(), None),
        (HELLO + packet(1, UInt32(2), String("I give up"), String("")), None),
        (b"GET / HTTP/1.1\r\n\r\n" + b"x" * 9000, Cause.PROTOCOL_ERROR),
        (b"SSH-1.5-old\r\n", Cause.PROTOCOL_ERROR),
        (b"SSH-2.0-\xff\r\n", Cause.PROTOCOL_ERROR),
        (HELLO + b"\xff" * 64, Cause.PROTOCOL_ERROR),
        (HELLO + packet(20, bytes(3)), Cause.PROTOCOL_ERROR),
        (HELLO + kexinit(b"kex-of-nobody"), Cause.PROTOCOL_ERROR),
        (HELLO + kexinit() + packet(30, String(bytes(32))), Cause.PROTOCOL_ERROR),
        (HELLO + kexinit() + packet(30, String(b"short")), Cause.PROTOCOL_ERROR),
        (HELLO + kexinit() + packet(50, String("root")), Cause.PROTOCOL_ERROR),
    ],
)
async def test_whose_fault_the_end_was(served: Served, sent: bytes, fault: Cause | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(sent)
    if fault is None:
        writer.write_eof()
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    assert (await _end(served)).fault is fault
    writer.close()


async def test_a_bad_mac_is_the_peers_fault_and_an_exception_of_ours_is_told_apart(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await served.client()
    client._send(os.urandom(64))
    assert (await _end(served)).fault is Cause.PROTOCOL_ERROR
    client.abort()

    async def fail(*_: object) -> bool:
        raise LookupError("a bug")

    monkeypatch.setattr(FakeConnection, "password", fail)
    with pytest.raises((asyncssh.DisconnectError, OSError)):
        await served.client()
    assert (await _end(served)).fault is Cause.INTERNAL_ERROR


async def test_a_login_and_its_end_are_nobodys_fault(served: Served) -> None:
    async with served.client():
        pass
    assert (await _end(served)).fault is None


@pytest.mark.parametrize("sent", [HELLO, HELLO + kexinit(), HELLO + kexinit()[:50]])
async def test_the_grace_time_ends_a_login_in_the_middle_of_the_key_exchange(serve: Serve, sent: bytes) -> None:
    served = await serve(login_grace_time=timedelta(seconds=0.3))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(sent)
    await asyncio.wait_for(reader.read(), 10)
    assert "Login timeout" in str((await _end(served)).end.result())
    writer.close()


async def test_the_grace_time_ends_a_login_while_its_password_is_checked(serve: Serve) -> None:
    is_asked = asyncio.Event()

    async def hold() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    served = await serve(FakeGateway(before_answer=hold), login_grace_time=timedelta(seconds=1))
    with pytest.raises((asyncssh.DisconnectError, OSError)):
        await asyncio.wait_for(served.client(), 10)
    assert is_asked.is_set()
    assert "Login timeout" in str((await _end(served)).end.result())


async def test_a_byte_now_and_then_is_no_sign_of_progress(serve: Serve) -> None:
    served = await serve(login_grace_time=timedelta(seconds=0.4))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            for byte in HELLO + kexinit() + packet(30, String(bytes(32))):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.01)
                if served.gateway.connections and served.gateway.connections[0].end.done():
                    break
        await _end(served)
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()


async def test_slow_strangers_cost_a_descriptor_each_and_nothing_else(served: Served) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with served.client() as honest:
        await until(lambda: len(served.server.connections) == 1)
        files, tasks = descriptors(), len(asyncio.all_tasks())
        slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(100)]
        for _, writer in slow:
            writer.write(b"S")
        await until(lambda: len(served.server.connections) == 101)
        assert descriptors() == files + 2 * 100, "the client's end, and ours"
        assert len(asyncio.all_tasks()) <= tasks
        assert (await honest.run("echo on", encoding=None)).stdout == b"on\n"
        for _, writer in slow:
            writer.close()
        await until(lambda: len(served.server.connections) == 1)
        await until(lambda: descriptors() == files)


async def test_endless_bytes_before_the_login_end_it(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HELLO)
    ignored = packet(2, String(bytes(30_000)))
    sent = 0
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while sent < 20 * STRANGERS_LIMIT:
                writer.write(ignored)
                await writer.drain()
                sent += len(ignored)
        connection = await _end(served)
        with contextlib.suppress(ConnectionError):
            await reader.read()
    assert "Too many bytes" in str(connection.end.result())
    assert connection.fault is Cause.PROTOCOL_ERROR
    writer.close()


async def test_after_the_login_there_is_no_such_limit(served: Served) -> None:
    async with served.client() as client:
        process: Any = await client.create_process("count", encoding=None)
        process.stdin.write(bytes(3 * STRANGERS_LIMIT))
        process.stdin.write_eof()
        async with asyncio.timeout(20):
            assert (await process.stdout.read()).startswith(b"%d " % (3 * STRANGERS_LIMIT))
