"""A door lets one agent in, and no connection is lost in the moment in which a login is given up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from pathlib import Path

import pytest

from moorage.backend.docker.injection import Door


@pytest.fixture
def door(tmp_path: Path) -> Door:
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    return Door(tmp_path / "door", agent)


class Link(asyncio.Protocol):
    """Keeps what comes, and its transport, to be closed by the test."""

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self.came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came.set_result(data)

    async def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            await asyncio.sleep(0.01)  # it closes in its own time


async def test_the_first_who_dials_is_let_in_and_nobody_else(door: Door, tmp_path: Path) -> None:
    link = Link()
    accepting = asyncio.create_task(door.accept(lambda: link))
    with socket.socket(socket.AF_UNIX) as agent, socket.socket(socket.AF_UNIX) as other:
        agent.connect(str(tmp_path / "door" / "socket"))
        agent.sendall(b"hello")
        await accepting
        assert await link.came == b"hello"
        with pytest.raises(FileNotFoundError):
            other.connect(str(tmp_path / "door" / "socket"))
    await link.close()
    door.close()
    door.close()
    assert not (tmp_path / "door").exists()


@pytest.mark.parametrize("steps", range(8))
async def test_a_connection_is_closed_at_whatever_moment_its_login_is_given_up(
    door: Door, tmp_path: Path, steps: int
) -> None:
    link = Link()
    accepting = asyncio.create_task(door.accept(lambda: link))
    await asyncio.sleep(0)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(str(tmp_path / "door" / "socket"))
        for _ in range(steps):
            await asyncio.sleep(0)
        is_in = accepting.done()
        accepting.cancel()
        await asyncio.wait({accepting})
        door.close()
        if is_in:
            await link.close()
        await asyncio.sleep(0.01)
        agent.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert agent.recv(1) == b"", "nobody holds it"
    gc.collect()  # what was not closed complains now
