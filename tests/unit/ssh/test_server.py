"""The listener: addresses, draining, ending; and key exchange peculiarities of clients."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import asyncssh
import pytest
from asyncssh.connection import SSHClientConnection
from tests.parts import need
from tests.unit.ssh.conftest import HOST_KEY, Serve, Served
from tests.unit.ssh.fakes import FakeGateway, settings

from moorage.errors import ConfigError
from moorage.gateway.model import Address
from moorage.ssh.addresses import address
from moorage.ssh.server import SshServer


def server(**changes: Any) -> SshServer:
    return SshServer(settings(**changes), [HOST_KEY], FakeGateway())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listen", "host"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("localhost:0", "127.0.0.1")]
)
async def test_it_listens_where_it_is_told(listen: str, host: str) -> None:
    service = server(listen=listen)
    bound = await service.start()
    assert Address(host, bound[0].port) in bound
    _, writer = await asyncio.open_connection(host, bound[0].port)
    writer.close()
    await service.stop()


async def test_no_host_means_all_addresses_of_both_families() -> None:
    service = server(listen=":0")
    assert {bound.host for bound in await service.start()} >= {"0.0.0.0"}
    await service.stop()


async def test_a_taken_address_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = server(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(OSError, match="address already in use"):
            await service.start()
        await service.stop()


def test_impossible_settings_are_config_errors() -> None:
    with pytest.raises(ConfigError):
        server(kex=("nothing",))


async def test_after_close_nobody_connects_and_those_inside_go_on(served: Served) -> None:
    async with served.client() as client:
        served.server.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", served.port)
        assert (await client.run("echo on", encoding=None)).stdout == b"on\n"


async def test_stop_ends_everyone_and_says_so(served: Served) -> None:
    client = await served.spawn("-o", "LogLevel=INFO", "localhost", "cat")
    silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", served.port)
    async with asyncio.timeout(10):
        while len(served.gateway.processes) < 1:
            await asyncio.sleep(0.002)
        await served.server.stop()
        _, err = await client.communicate()
        await silent_reader.read()
    assert b"The server is shutting down." in err
    assert served.server.connections == ()
    assert all(connection.end.done() for connection in served.gateway.connections)
    silent_writer.close()


async def test_stop_does_not_wait_for_a_client_that_does_not_read(served: Served) -> None:
    client = await served.client()
    client._transport.pause_reading()
    async with asyncio.timeout(10):
        await served.server.stop()
    client.abort()


async def test_a_refused_connection_gets_a_line_and_no_handshake(serve: Serve) -> None:
    served = await serve(FakeGateway(is_draining=True))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    assert await asyncio.wait_for(reader.read(), 5) == b"The server is shutting down.\r\n"
    writer.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("10.0.0.1", 5), Address("10.0.0.1", 5)),
        (("::ffff:10.0.0.1", 5, 0, 0), Address("10.0.0.1", 5)),
        (("fe80::1%eth0", 5, 0, 2), Address("fe80::1", 5)),
        (("2001:db8::1", 5, 0, 0), Address("2001:db8::1", 5)),
        ("/run/socket", Address("0.0.0.0", 0)),
        (None, Address("0.0.0.0", 0)),
    ],
)
def test_addresses_are_plain(name: Any, expected: Address) -> None:
    assert address(name) == expected


def _guess(monkeypatch: pytest.MonkeyPatch, *, wrong_packet: bool) -> None:
    """Clients announce that their first key exchange packet is a guess (RFC 4253 §7)."""
    stock = SSHClientConnection.send_packet

    def send_packet(self: Any, pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype == 20 and not self._session_id:
            payload = args[0][:-5] + b"\x01" + args[0][-4:]
            self._client_kexinit = b"\x14" + payload
            stock(self, 20, payload, handler=handler)
            if wrong_packet:
                stock(self, 30, b"\0\0\0\x04junk", handler=handler)
            return
        stock(self, pkttype, *args, handler=handler)

    monkeypatch.setattr(SSHClientConnection, "send_packet", send_packet)


async def test_a_wrong_guess_is_ignored_even_if_its_method_is_agreed_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _guess(monkeypatch, wrong_packet=True)
    async with served.client(kex_algs=["curve25519-sha256"]) as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


async def test_a_right_guess_is_taken(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    _guess(monkeypatch, wrong_packet=False)
    first = ["mlkem768x25519-sha256", "curve25519-sha256"]
    async with served.client(kex_algs=first, server_host_key_algs=["ssh-ed25519"]) as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


@pytest.mark.parametrize("kex", ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"])
async def test_every_default_key_exchange_works(served: Served, kex: str) -> None:
    async with served.client(kex_algs=[kex]) as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
async def test_sha1_key_exchange_needs_to_be_asked_for(serve: Serve) -> None:
    served = await serve()
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await served.client(kex_algs=["diffie-hellman-group14-sha1"])
    served = await serve(kex=("diffie-hellman-group14-sha1",))
    async with served.client(kex_algs=["diffie-hellman-group14-sha1"]):
        pass


async def test_dropbear_guesses_and_logs_in(served: Served) -> None:
    need.program("dbclient", "dropbear-bin")
    process = await asyncio.create_subprocess_exec(
        *("dbclient", "-y", "-y", "-p", str(served.port), "alice@127.0.0.1", "echo in"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(served.directory), "DROPBEAR_PASSWORD": "secret"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert out == b"in\n", err


async def test_a_connection_that_was_accepted_and_never_made_holds_up_nothing(served: Served) -> None:
    """The loop drops what it accepted when the listener is closed before it makes the connection."""
    accepted = served.server._accept()
    async with asyncio.timeout(10):
        await served.server.stop()
    assert accepted not in served.server.connections
