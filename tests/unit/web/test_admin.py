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
from moorage.web.feed import WAITING, WATCHERS

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


class Watcher:
    """A client that watches."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, socket: Path) -> Watcher:
        with short_address(socket) as address:
            watcher = cls(*await asyncio.open_unix_connection(address))
        watcher.writer.write(b'{"do": "watch"}\n')
        return watcher

    async def told(self) -> dict[str, Any] | None:
        async with asyncio.timeout(10):
            line = await self.reader.readline()
        return json.loads(line) if line else None

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_a_watcher_is_told_what_is_there_and_what_comes_to_pass(socket: Path, connections: Connections) -> None:
    first = opened(connections, "one", 1.0)
    watcher = await Watcher.at(socket)
    fact = await watcher.told()
    assert fact is not None
    assert fact | {"at": 0} == {
        "event": "begin", "at": 0, "id": "one", "user": "", "address": "192.0.2.7:4711", "since": 1.0,
        "backend": "", "guest": "none", "sessions": 0,
    }  # fmt: skip
    opened(connections, "two", 2.0)
    first(events.GuestOpened(at=3.0, backend="sandbox", seconds=0.1))
    first(events.OutputBegun(at=4.0, channel=0))
    first(events.ConnectionClosed(at=5.0, reason=""))
    told = [await watcher.told() for _ in range(3)]
    assert [(f["event"], f["id"], f["at"], f["guest"]) for f in told if f] == [
        ("begin", "two", 2.0, "none"),
        ("change", "one", 3.0, "open"),
        ("end", "one", 5.0, "open"),
    ]
    await watcher.close()


async def test_a_watcher_that_goes_makes_room(socket: Path, connections: Connections) -> None:
    opened(connections, "one", 1.0)
    watchers = [await Watcher.at(socket) for _ in range(WATCHERS)]
    for watcher in watchers:
        assert await watcher.told() is not None
    late = await Watcher.at(socket)
    assert await late.told() == {"error": "too many are watching already"}
    assert await late.told() is None
    await late.close()
    assert "connections" in await asked(socket, b'{"do": "ls"}\n'), "others are not in their way"
    for watcher in watchers:
        await watcher.close()
    async with asyncio.timeout(10):
        while connections.feeds:
            await asyncio.sleep(0)
    again = await Watcher.at(socket)
    assert await again.told() is not None
    await again.close()


async def test_the_end_of_the_server_ends_its_watchers(tmp_path: Path, connections: Connections) -> None:
    server = AdminServer(tmp_path / "admin" / "i.sock", connections, lambda *_: False)
    await server.start()
    opened(connections, "one", 1.0)
    watcher = await Watcher.at(tmp_path / "admin" / "i.sock")
    assert await watcher.told() is not None
    await server.stop()
    assert await watcher.told() is None
    await watcher.close()


async def test_a_watcher_that_does_not_read_holds_nobody_up(socket: Path, connections: Connections) -> None:
    watcher = await Watcher.at(socket)
    hear = opened(connections, "one", 1.0)
    assert await watcher.told() is not None
    for _ in range(WAITING * 4):
        hear(events.SessionOpened(channel=0))
    facts = []
    while (fact := await watcher.told()) is not None:
        facts.append(fact)
    assert facts[-1] == {"event": "lost"}
    await watcher.close()
