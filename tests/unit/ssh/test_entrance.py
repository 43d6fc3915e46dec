"""Connections through proxies: whom the address in a header is believed of, and what it costs to send none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway
from tests.unit.ssh.test_limits import until

HEADER = b"PROXY TCP4 192.0.2.1 203.0.113.9 50000 22\r\n"
HELLO = b"SSH-2.0-Moorage\r\n"


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines


async def _served(serve: Serve, **changes: Any) -> Served:
    served: Served = await serve(proxy_protocol_allowed_cidrs=("127.0.0.0/8",), **changes)
    return served


async def _talk(served: Served, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.001)
    return reader, writer


async def _nothing(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "pieces",
    [
        (HEADER,),
        (HEADER + b"SSH-2.0-x\r\n",),
        tuple(bytes((byte,)) for byte in HEADER),
        (HEADER[:-1], b"\nSSH-2.0-x\r\n"),
    ],
)
async def test_the_address_in_the_header_is_the_clients(serve: Serve, pieces: tuple[bytes, ...]) -> None:
    served = await _served(serve)
    reader, writer = await _talk(served, *pieces)
    async with asyncio.timeout(5):
        assert await reader.readline() == HELLO
    (connection,) = served.gateway.connections
    assert str(connection.peer) == "192.0.2.1:50000"
    if b"SSH-2.0-x" in pieces[-1]:
        await until(lambda: connection.version == "SSH-2.0-x")
    writer.close()


async def test_a_proxy_that_speaks_for_itself_has_its_own_address(serve: Serve) -> None:
    served = await _served(serve)
    reader, writer = await _talk(served, b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
    async with asyncio.timeout(5):
        assert await reader.readline() == HELLO
    assert served.gateway.connections[0].peer.host == "127.0.0.1"
    writer.close()


async def test_a_header_from_elsewhere_is_not_believed(serve: Serve) -> None:
    served: Served = await serve(proxy_protocol_allowed_cidrs=("10.0.0.0/8",))
    reader, writer = await _talk(served, HEADER)
    async with asyncio.timeout(5):
        assert await reader.readline() == HELLO
        await reader.read()
        await served.gateway.connections[0].end
    assert served.gateway.connections[0].peer.host == "127.0.0.1"
    writer.close()


async def test_who_is_not_trusted_logs_in_without_a_header(serve: Serve) -> None:
    served: Served = await serve(proxy_protocol_allowed_cidrs=("10.0.0.0/8",))
    async with served.client() as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"PROXY TCP4 x\r\n", bytes(5000)])
async def test_a_trusted_address_that_sends_no_header_is_closed(serve: Serve, logged: list[Any], data: bytes) -> None:
    served = await _served(serve)
    reader, writer = await _talk(served, data)
    async with asyncio.timeout(5):
        await _nothing(reader)
    writer.close()
    assert served.gateway.connections == []
    assert [line["code"] for line in logged] == ["SSH_PROXY_FAILED"]


async def test_a_header_has_to_come_in_time(serve: Serve, logged: list[Any]) -> None:
    served = await _served(serve, proxy_protocol_timeout=timedelta(milliseconds=100))
    reader, writer = await _talk(served, HEADER[:9])
    async with asyncio.timeout(5):
        await _nothing(reader)
    writer.close()
    assert served.gateway.connections == []
    assert [line["reason"] for line in logged] == ["the header has not come in time"]


async def test_a_probe_that_only_connects_is_no_news(serve: Serve, logged: list[Any]) -> None:
    served = await _served(serve)
    reader, writer = await _talk(served)
    writer.write_eof()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert logged == []
    assert served.gateway.connections == []


async def test_those_who_wait_are_bounded_and_end_with_the_server(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr("moorage.ssh.entrance.MOST_WAITING", 2)
    served = await _served(serve)
    entrances = served.server._entrances
    assert entrances is not None
    talks = [await _talk(served) for _ in range(2)]
    await until(lambda: len(entrances.waiting) == 2)
    reader, writer = await _talk(served)
    async with asyncio.timeout(5):
        await _nothing(reader)
        writer.close()
        await served.server.stop()
        for reader, writer in talks:
            await _nothing(reader)
            writer.close()
    assert entrances.waiting == set()
    assert len(logged) == 3


async def test_a_refusal_reaches_a_client_behind_a_proxy(serve: Serve) -> None:
    served: Served = await serve(FakeGateway(is_draining=True), proxy_protocol_allowed_cidrs=("127.0.0.1",))
    reader, writer = await _talk(served, HEADER + b"SSH-2.0-x\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b"The server is shutting down.\r\n"
    writer.close()
