"""What a directory that means harm may send, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.ldap import ber
from moorage.auth.ldap.client import SUBTREE, LDAPError, Server, connect
from moorage.net import tls

ANY = ber.octets("objectClass", 0x87)


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that reads a request and answers with these bytes."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read(65536)
            writer.write(answer)
            await reader.read(65536)
        writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"ldap://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def message(tag: int, *content: bytes, number: int = 1) -> bytes:
    return ber.element(ber.SEQUENCE, ber.number(number), ber.element(tag, *content))


def result(code: int) -> bytes:
    return ber.number(code, ber.ENUMERATED) + ber.octets("") + ber.octets("")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x80",
        b"\x30\x02\x02\x01",
        message(0x61, result(0), number=7),
        message(0x61, b""),
        message(0x61, ber.number(0)),
        message(0x65, result(0)),
        message(0x61, result(53)),
        message(0x78, result(52), number=0),
    ],
    ids=["http", "4GB", "endless", "cut", "number", "empty", "no-code", "tag", "unwilling", "goodbye"],
)
async def test_a_bind_answered_with_anything_else_is_an_error(answer: bytes) -> None:
    async with saying(answer) as url:
        with pytest.raises(LDAPError):
            async with connect(Server(url), seconds=20) as connection:
                await connection.bind("cn=a", b"secret")


@pytest.mark.parametrize("code", [32, 34, 49])
async def test_a_refused_bind_is_no_error(code: int) -> None:
    async with saying(message(0x61, result(code))) as url, connect(Server(url), seconds=20) as connection:
        assert not await connection.bind("cn=a", b"secret")


async def test_more_entries_than_were_asked_for_are_an_error() -> None:
    entry = message(0x64, ber.octets("cn=a"), ber.element(ber.SEQUENCE))
    async with saying(entry * 3 + message(0x65, result(0))) as url:
        with pytest.raises(LDAPError, match="more entries"):
            async with connect(Server(url), seconds=20) as connection:
                await connection.search("", SUBTREE, ANY, [], most=2)


async def test_nothing_that_is_said_before_tls_counts_after_it() -> None:
    """A man in the middle answers the bind together with the request for TLS."""
    forged = message(0x78, result(0)) + message(0x61, result(0), number=2)
    async with saying(forged) as url:
        server = Server(url.replace("127.0.0.1", "localhost"), tls.client_context(ca=""), start_tls=True)
        with pytest.raises(LDAPError):
            async with connect(server, seconds=20) as connection:
                await connection.bind("cn=a", b"secret")


async def test_a_server_that_refuses_tls_is_told_no_password() -> None:
    async with saying(message(0x78, result(2))) as url:
        server = Server(url, tls.client_context(ca=""), start_tls=True)
        with pytest.raises(LDAPError, match="TLS"):
            async with connect(server, seconds=20):
                pytest.fail("no connection was to be had")


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    elements = ber.Elements(data)
    with contextlib.suppress(ber.Malformed):
        while not elements.is_empty:
            elements.next()


@given(st.binary(max_size=300), st.integers(0, 2**40))
def test_what_is_written_is_read_back(content: bytes, number: int) -> None:
    elements = ber.Elements(ber.octets(content) + ber.number(number))
    assert (elements.take(ber.OCTETS), elements.number()) == (content, number)
    assert elements.is_empty
