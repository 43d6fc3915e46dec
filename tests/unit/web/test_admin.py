"""The admin socket: what it answers, what it bounds, and who may reach it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId
from moorage.net.unixsocket import short_address
from moorage.web.admin import REQUEST_BYTES, AdminServer, Connections

PEER = Address("192.0.2.7", 4711)


def opened(connections: Connections, name: str, at: float) -> events.Listener:
    listener = connections.listener(ConnectionId(name), PEER)
    listener(events.ConnectionOpened(at=at, remote_address=PEER))
    return listener


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture(params=["a", "a-state-directory-whose-path-is-longer-than-an-address/" * 3], ids=["short", "long"])
async def socket(tmp_path: Path, connections: Connections, request: pytest.FixtureRequest) -> AsyncIterator[Path]:
    path = tmp_path / request.param / "admin" / "i.sock"
    path.parent.parent.mkdir(parents=True)
    server = AdminServer(path, connections, lambda identifier, text: (identifier, text) == ("one", "bye"))
    await server.start()
    yield path
    await server.stop()
    assert not path.exists()


async def asked(socket: Path, request: bytes) -> dict[str, Any]:
    with short_address(socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer: dict[str, Any] = json.loads(await reader.read())
            return answer
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_row_lives_as_long_as_its_connection_and_counts_its_sessions(connections: Connections) -> None:
    opened(connections, "late", 2.0)
    hear = opened(connections, "early", 1.0)
    for event in (
        events.SessionOpened(channel=0),
        events.SessionOpened(channel=1),
        events.SessionClosed(channel=0),
        events.GuestOpened(backend="sandbox", seconds=0.1),
    ):
        hear(event)
    first, second = connections.listed()
    assert (first["id"], first["sessions"], first["guest"]) == ("early", 1, "open")
    assert (second["id"], second["sessions"], second["guest"]) == ("late", 0, "none")
    hear(events.ConnectionClosed(reason=""))
    assert [row["id"] for row in connections.listed()] == ["late"]


def test_a_refused_connection_leaves_no_row(connections: Connections) -> None:
    refused = events.ConnectionRefused(remote_address=PEER, reason="too many")
    connections.listener(ConnectionId("one"), PEER)(refused)
    assert connections.listed() == []


async def test_only_the_owner_may_reach_the_socket(socket: Path) -> None:
    assert socket.parent.stat().st_mode & 0o777 == 0o700


async def test_it_lists_and_ends(socket: Path, connections: Connections) -> None:
    opened(connections, "one", 1.0)
    assert [row["id"] for row in (await asked(socket, b'{"do": "ls"}\n'))["connections"]] == ["one"]
    assert await asked(socket, b'{"do": "end", "id": "one", "text": "bye"}\n') == {"ended": True}
    assert await asked(socket, b'{"do": "end", "id": "two", "text": "bye"}\n') == {"ended": False}


@pytest.mark.parametrize("request_", [b"\n", b"", b"[]\n", b"{\n", b'{"do": "rm"}\n', b'{"do": "end", "id": 1}\n'])
async def test_nonsense_is_an_error_and_the_socket_goes_on(socket: Path, request_: bytes) -> None:
    assert "error" in await asked(socket, request_)
    assert "connections" in await asked(socket, b'{"do": "ls"}\n')


async def test_a_request_without_end_is_cut_off(socket: Path) -> None:
    assert "error" in await asked(socket, b"x" * (REQUEST_BYTES + 1))
