"""Compression: off unless switched on, byte-exact, and no way to fill our memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib

import asyncssh
import pytest
from tests.unit.ssh.conftest import Serve, Served

from moorage.ssh.compression import LARGEST, BoundedDecompressor

DEADLINE = 15


def test_what_was_compressed_comes_back_packet_by_packet() -> None:
    source, undo = zlib.compressobj(), BoundedDecompressor()
    for payload in (b"x", b"hello " * 5000, os.urandom(40_000), bytes(LARGEST)):
        packet = source.compress(payload) + source.flush(zlib.Z_SYNC_FLUSH)
        assert undo.decompress(packet) == payload


@pytest.mark.parametrize("packet", [b"", b"no zlib at all", zlib.compress(bytes(LARGEST + 1)), zlib.compress(b"")])
def test_what_is_no_packet(packet: bytes) -> None:
    assert BoundedDecompressor().decompress(packet) is None


def test_a_bomb_unfolds_to_its_bound_only() -> None:
    source = zlib.compressobj(9)
    bomb = source.compress(bytes(200_000_000)) + source.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < LARGEST
    assert BoundedDecompressor().decompress(bomb) is None


async def test_it_is_off_by_default(served: Served) -> None:
    process = await served.spawn("-v", "-C", "localhost", "echo fine")
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert out == b"fine\n"
    assert b"compression: none" in err
    assert b"compression: zlib" not in err


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"])
async def test_bytes_are_exact_both_ways_and_across_key_exchanges(serve: Serve, cipher: str) -> None:
    served = await serve(compression=True, rekey_bytes=1 << 20)
    data = (os.urandom(70_000) + bytes(130_000)) * 20
    options = "-C", "-c", cipher, "-o", "RekeyLimit=1M", "localhost"
    counted = await served.ssh(*options, "count", input=data)
    assert counted.out == f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()
    assert (await served.ssh(*options, "cat", input=data)).out == data


async def test_the_client_is_told_that_it_is_on(serve: Serve) -> None:
    served = await serve(compression=True)
    process = await served.spawn("-v", "-C", "localhost", "echo fine")
    _, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert b"compression: zlib@openssh.com" in err


class Bomb(asyncssh.compression.Compressor):
    """Sends packets that unfold to far more than a packet."""

    def compress(self, data: bytes) -> bytes:
        source = zlib.compressobj(9)
        return source.compress(bytes(100_000_000)) + source.flush(zlib.Z_SYNC_FLUSH)


async def test_a_bomb_ends_its_connection_and_no_other(serve: Serve) -> None:
    served = await serve(compression=True)
    async with served.client(compression_algs=["zlib@openssh.com"]) as client, served.client() as other:
        client._compressor = Bomb()
        client.send_packet(192, b"ping")
        await asyncio.wait_for(client.wait_closed(), DEADLINE)
        assert (await other.run("echo fine", encoding=None)).stdout == b"fine\n"
