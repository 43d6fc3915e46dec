"""The byte path: every byte once, in order, whatever the cipher and however often keys change."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import asyncssh
import pytest
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import BLOCK, CHUNK

from moorage.ssh.algorithms import CIPHERS, MACS
from moorage.ssh.ciphers import PacketCipher
from moorage.ssh.connection import ServerConnection

MB = 1024 * 1024


def expected(size: int) -> str:
    """The hash of what the program ``source`` sends."""
    digest = hashlib.sha256()
    whole, rest = divmod(size, CHUNK)
    for _ in range(whole):
        digest.update(BLOCK)
    digest.update(BLOCK[:rest])
    return digest.hexdigest()


async def fetch(served: Served, size: int, *options: str) -> None:
    """`size` bytes come out exactly, then the exit status."""
    client = await served.spawn(*options, "localhost", f"source {size}")
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.close()
    digest, total = hashlib.sha256(), 0
    while data := await client.stdout.read(MB):
        digest.update(data)
        total += len(data)
    assert await client.wait() == 7
    assert (total, digest.hexdigest()) == (size, expected(size))


async def store(served: Served, size: int, *options: str) -> None:
    """`size` bytes go in exactly."""
    client = await served.spawn(*options, "localhost", "count")
    assert client.stdin is not None
    assert client.stdout is not None
    left = size
    while left:
        piece = BLOCK[:left]
        client.stdin.write(piece)
        left -= len(piece)
        await client.stdin.drain()
    client.stdin.write_eof()
    total, digest = (await client.stdout.read()).decode().split()
    assert await client.wait() == 0
    assert (int(total), digest) == (size, expected(size))


def counted_exchanges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many key exchanges have ended since."""
    count = [0]
    stock = ServerConnection.send_newkeys

    def send_newkeys(self: ServerConnection, k: bytes, h: bytes) -> None:
        count[0] += 1
        stock(self, k, h)

    monkeypatch.setattr(ServerConnection, "send_newkeys", send_newkeys)
    return count


@pytest.mark.parametrize("cipher", [*CIPHERS, "aes128-cbc", "3des-cbc"])
async def test_every_cipher_is_byte_exact_both_ways_across_rekeys(serve: Serve, cipher: str) -> None:
    served = await serve(ciphers=(cipher,), rekey_bytes=2 * MB)
    size = 5 * MB + 12345
    await fetch(served, size, "-c", cipher)
    await store(served, size, "-c", cipher)


@pytest.mark.parametrize("mac", [*MACS, "hmac-sha1", "umac-128-etm@openssh.com"])
async def test_every_mac_is_byte_exact_both_ways(serve: Serve, mac: str) -> None:
    served = await serve(macs=(mac,), rekey_bytes=MB)
    await fetch(served, 2 * MB + 1, "-c", "aes128-ctr", "-m", mac)
    await store(served, 2 * MB + 1, "-c", "aes128-ctr", "-m", mac)


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
async def test_out_of_the_guest_under_rekeys_from_both_sides(
    serve: Serve, cipher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(rekey_bytes=3 * MB)
    exchanges = counted_exchanges(monkeypatch)
    await fetch(served, 120 * MB + 1, "-c", cipher, "-o", "RekeyLimit=5M")
    assert exchanges[0] > 30


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
async def test_into_the_guest_under_rekeys_from_both_sides(
    serve: Serve, cipher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(rekey_bytes=3 * MB)
    exchanges = counted_exchanges(monkeypatch)
    await store(served, 120 * MB + 1, "-c", cipher, "-o", "RekeyLimit=5M")
    assert exchanges[0] > 30


async def test_both_ways_at_once_under_rekeys(serve: Serve) -> None:
    served = await serve(rekey_bytes=MB)
    client = await served.spawn("-o", "RekeyLimit=2M", "localhost", "cat")
    assert client.stdin is not None
    assert client.stdout is not None
    digest, total = hashlib.sha256(), 0

    async def read() -> None:
        nonlocal total
        assert client.stdout is not None
        while data := await client.stdout.read(MB):
            digest.update(data)
            total += len(data)

    reading = asyncio.create_task(read())
    for _ in range(24 * MB // CHUNK):
        client.stdin.write(BLOCK)
        await client.stdin.drain()
    client.stdin.write_eof()
    await reading
    await client.wait()
    assert (total, digest.hexdigest()) == (24 * MB, expected(24 * MB))


async def test_channels_of_one_connection_do_not_mix(serve: Serve) -> None:
    served = await serve(rekey_bytes=2 * MB)
    async with served.client(rekey_bytes=3 * MB) as client:

        async def one(size: int) -> None:
            result = await client.run(f"source {size}", encoding=None)
            assert hashlib.sha256(result.stdout).hexdigest() == expected(size)
            result = await client.run("count", input=result.stdout, encoding=None)
            assert result.stdout.decode().split() == [str(size), expected(size)]

        await asyncio.gather(*(one(size) for size in (MB, 2 * MB + 1, 3 * MB + 77, 5)))


async def test_the_steady_state_uses_our_ciphers(served: Served) -> None:
    async with served.client(encryption_algs=["aes128-gcm@openssh.com"]) as client:
        (connection,) = served.server.connections
        await client.run("exit 0", encoding=None)
        assert isinstance(connection._send_encryption, PacketCipher)
        assert isinstance(connection._recv_encryption, PacketCipher)


async def test_packets_of_one_turn_leave_in_one_write_and_none_are_ignored_ones(served: Served) -> None:
    async with served.client(encryption_algs=["aes128-gcm@openssh.com"]) as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        (connection,) = served.server.connections
        writes: list[int] = []
        real = connection._transport
        assert real is not None

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def writelines(self, pieces: list[bytes]) -> None:
                writes.append(sum(map(len, pieces)))
                assert real is not None
                real.writelines(pieces)

        connection._transport = Counting()  # type: ignore[assignment]
        seq = connection._send_seq
        output = served.gateway.processes[0].receiver
        for _ in range(10):
            output.data_received(b"x" * 100)
        assert writes == []
        await asyncio.sleep(0)
        assert len(writes) == 1
        assert connection._send_seq == seq + 10
        output.data_received(bytes(CHUNK * 4))
        assert len(writes) == 2, "256 KiB are written at once"
        connection._transport = real
        channel.close()


async def test_output_that_the_transport_still_holds_is_not_lost_at_the_end(served: Served) -> None:
    size = 8 * MB
    async with served.client() as client:
        result = await client.run(f"source {size}", encoding=None)
        assert hashlib.sha256(result.stdout).hexdigest() == expected(size)
        assert result.exit_status == 7


async def test_the_last_text_reaches_a_client_that_is_still_sending(served: Served) -> None:
    client = await served.spawn("-o", "LogLevel=INFO", "localhost", "count")
    assert client.stdin is not None
    client.stdin.write(bytes(CHUNK))
    await asyncio.wait_for(_until(lambda: served.gateway.processes != []), 5)
    goodbye = served.gateway.connections[0].disconnect
    assert goodbye is not None
    client.stdin.write(bytes(MB))
    goodbye("The server is shutting down.")
    _, err = await client.communicate()
    assert b"The server is shutting down." in err


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_forged_packet_ends_the_connection(served: Served) -> None:
    client = await served.client(encryption_algs=["aes128-gcm@openssh.com"])
    await client.run("exit 0", encoding=None)
    client._transport.write((32).to_bytes(4, "big") + bytes(48))
    assert isinstance(await asyncio.wait_for(served.gateway.connections[0].end, 5), asyncssh.MACError)


@pytest.mark.parametrize("length", [0, 7, 300_000, 0xFFFFFFFF])
async def test_an_impossible_packet_length_ends_the_connection(served: Served, length: int) -> None:
    client = await served.client(encryption_algs=["aes128-gcm@openssh.com"])
    await client.run("exit 0", encoding=None)
    client._transport.write(length.to_bytes(4, "big") + bytes(48))
    assert isinstance(await asyncio.wait_for(served.gateway.connections[0].end, 5), asyncssh.ProtocolError)


async def test_bytes_may_arrive_one_at_a_time(served: Served) -> None:
    async with served.client() as client:
        (connection,) = served.server.connections
        feed = ServerConnection.data_received

        def drip(self: ServerConnection, data: bytes, datatype: int | None = None) -> None:
            for index in range(len(data)):
                feed(self, data[index : index + 1], datatype)

        connection.data_received = drip.__get__(connection)  # type: ignore[method-assign]
        result = await client.run("count", input=BLOCK, encoding=None)
        assert result.stdout.decode().split()[0] == str(CHUNK)
