"""Accepting connections: on every address, and also when the machine has nothing left for one."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from tests.parts import need

from moorage.net import accepting
from moorage.net.accepting import Acceptor, listening_sockets


class Greeter(asyncio.Protocol):
    """Says hello and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def greeting(port: int, host: str = "127.0.0.1") -> bytes:
    """What is said to a connection."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port)
        said = await reader.read()
        writer.close()
        return said


class Failing:
    """A listening socket whose `accept` raises what it is told to, once each."""

    def __init__(self, real: socket.socket, *errors: int) -> None:
        self._real = real
        self._errors = list(errors)
        self.tries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def accept(self) -> Any:
        self.tries += 1
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, "told to")
        return self._real.accept()


async def test_connections_are_accepted_until_it_is_closed() -> None:
    (listening,) = await listening_sockets("127.0.0.1", 0)
    acceptor = Acceptor(listening, Greeter, lambda _: None)
    assert await asyncio.gather(*(greeting(acceptor.name[1]) for _ in range(150))) == [b"hello"] * 150
    acceptor.close()
    acceptor.close()
    with pytest.raises(ConnectionRefusedError):
        await greeting(acceptor.name[1])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_is_told_once_and_tried_again_later(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(accepting, "PAUSE", 0.05)
    (real,) = await listening_sockets("127.0.0.1", 0)
    listening = Failing(real, number, number)
    told: list[OSError] = []
    acceptor = Acceptor(listening, Greeter, told.append)  # type: ignore[arg-type]
    assert await greeting(acceptor.name[1]) == b"hello"
    assert [error.errno for error in told] == [number, number]
    assert listening.tries <= 5
    acceptor.close()


async def test_closing_while_it_waits_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE", 0.02)
    (real,) = await listening_sockets("127.0.0.1", 0)
    listening = Failing(real, *[errno.EMFILE] * 1000)
    is_told = asyncio.Event()
    acceptor = Acceptor(listening, Greeter, lambda _: is_told.set())  # type: ignore[arg-type]
    client = asyncio.create_task(greeting(acceptor.name[1]))
    async with asyncio.timeout(10):
        await is_told.wait()
        acceptor.close()
        with pytest.raises(ConnectionError):
            await client


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
async def test_a_connection_that_has_gone_is_passed_over(number: int) -> None:
    (real,) = await listening_sockets("127.0.0.1", 0)
    told: list[OSError] = []
    acceptor = Acceptor(Failing(real, number), Greeter, told.append)  # type: ignore[arg-type]
    assert await greeting(acceptor.name[1]) == b"hello"
    assert told == []
    acceptor.close()


async def test_no_host_means_every_address() -> None:
    bound = await listening_sockets("", 0)
    assert "0.0.0.0" in [one.getsockname()[0] for one in bound]
    for one in bound:
        one.close()


async def test_ipv6_and_ipv4_share_a_port() -> None:
    need.ipv6()
    (six,) = await listening_sockets("::", 0)
    (four,) = await listening_sockets("0.0.0.0", six.getsockname()[1])
    six.close()
    four.close()


async def test_a_taken_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"address already in use: 127.0.0.1 port {port}"):
            await listening_sockets("127.0.0.1", port)
