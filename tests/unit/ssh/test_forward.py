"""Forwarded connections: dialled in the guest, half-closed both ways, refused with the reason."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway

from moorage.gateway.model import Address, TcpTarget, UnixTarget


async def test_a_tcp_forward_carries_bytes_and_half_close(serve: Serve) -> None:
    served = await serve(FakeGateway(may_dial=True))
    result = await served.ssh("-W", "db.internal:5432", "localhost", input=b"query")
    assert (result.code, result.out) == (0, b"querybye\n")
    target, originator = served.gateway.dialled[0]
    assert target == TcpTarget("db.internal", 5432)
    assert isinstance(originator, Address)


async def test_a_unix_forward_names_the_path(serve: Serve) -> None:
    served = await serve(FakeGateway(may_dial=True))
    async with served.client() as client:
        reader, writer = await client.open_unix_connection("/run/app.sock", encoding=None)
        writer.write(b"x" * 100_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 100_000 + b"bye\n"
    assert served.gateway.dialled == [(UnixTarget(b"/run/app.sock"), None)]


async def test_a_refused_forward_says_why_and_the_connection_goes_on(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.open_connection("db", 1)
        assert (caught.value.code, caught.value.reason) == (
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
            "Forwarding is disabled.",
        )
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"


async def test_remote_forwards_are_refused_and_the_session_goes_on(served: Served) -> None:
    result = await served.ssh("-R", "0:localhost:1", "-o", "ExitOnForwardFailure=no", "localhost", "echo fine")
    assert result.out == b"fine\n"


async def test_agent_and_x11_forwarding_are_refused_and_the_session_goes_on(served: Served) -> None:
    assert (await served.ssh("-A", "localhost", "echo fine")).out == b"fine\n"


async def test_forwards_end_with_the_connection(serve: Serve) -> None:
    served = await serve(FakeGateway(may_dial=True))
    client = await served.client()
    await client.open_connection("db", 1)
    client.abort()
    await asyncio.wait_for(served.gateway.connections[0].end, 5)
