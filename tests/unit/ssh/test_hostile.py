"""Packets that no client would send: each ends at most its own connection, none is a bug of ours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import RawChannel, Served

from moorage.codes import Code

ROUNDS = 150


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def _payload(rng: random.Random) -> bytes:
    pieces = [
        String(b"session"),
        String(b"exec"),
        String(b"env"),
        String(b"pty-req"),
        String(b"shell"),
        String(b"signal"),
        String(b"window-change"),
        String(b"tcpip-forward"),
        String(b"direct-tcpip"),
        String(b"direct-streamlocal@openssh.com"),
        String(b"keepalive@openssh.com"),
        String(b"cat"),
        String(b""),
        String(bytes(300)),
        UInt32(0),
        UInt32(1),
        UInt32(0xFFFFFFFF),
        UInt32(0x7FFFFFFF),
        Boolean(True),
        Boolean(False),
        b"\xff\xff",
        rng.randbytes(rng.randrange(40)),
    ]
    return b"".join(rng.choices(pieces, k=rng.randrange(7)))


@pytest.mark.parametrize("seed", range(4))
async def test_random_packets_after_login(served: Served, logged: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS // 4):
        client = await served.client()
        channel = RawChannel(client)
        await channel.open()
        await channel.ask(b"exec", String("cat"))
        client._packet_handlers = dict.fromkeys(range(256), lambda *_: True)
        client.process_packet = lambda *_: True
        for _ in range(30):
            kind = rng.choice([1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 60, 61, *range(79, 101), 192, 255])
            if client._transport is None:
                break
            client._kex_complete = client._auth_complete = True
            payload = _payload(rng)
            if 90 < kind < 101 and rng.random() < 0.8:
                payload = UInt32(rng.choice([0, 0, 0, 1])) + payload
            if kind not in {1, 20}:
                client.send_packet(kind, payload)
        await asyncio.sleep(0)
        client.abort()
        await asyncio.wait_for(served.gateway.connections[-1].end, 5)
    assert [line for line in logged if line["code"] == Code.SSH_INTERNAL_ERROR] == []


@pytest.mark.parametrize("seed", range(4))
async def test_random_plain_packets_before_keys(served: Served, logged: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS // 4):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        hello = await reader.readline()
        assert hello.startswith(b"SSH-2.0-")
        writer.write(b"SSH-2.0-Fuzz\r\n")
        if rng.random() < 0.7:
            writer.write(_plain(20, _kexinit(rng)))
        for _ in range(rng.randrange(4)):
            writer.write(_plain(rng.choice([1, 2, 3, 4, 5, 20, 21, 30, 31, 32, 34, 50, 80, 90, 94]), _payload(rng)))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        await asyncio.wait_for(served.gateway.connections[-1].end, 5)
        writer.close()
    assert [line for line in logged if line["code"] == Code.SSH_INTERNAL_ERROR] == []


def _plain(kind: int, payload: bytes) -> bytes:
    padding = 4 + -(4 + 1 + 1 + len(payload) + 4) % 8
    body = bytes((padding, kind)) + payload + bytes(padding)
    return UInt32(len(body)) + body


def _kexinit(rng: random.Random) -> bytes:
    kex = [b"curve25519-sha256", b"mlkem768x25519-sha256", b"kex-strict-c-v00@openssh.com", b"ext-info-c", b"junk"]
    lists = [
        b",".join(rng.sample(kex, rng.randrange(6))),
        rng.choice([b"ssh-ed25519", b"ssh-rsa", b""]),
        *[rng.choice([b"aes128-ctr", b"aes128-gcm@openssh.com", b"none", b"\xff"])] * 2,
        *[rng.choice([b"hmac-sha2-256", b"", b"none"])] * 2,
        *[rng.choice([b"none", b"zlib"])] * 2,
        b"",
        b"",
    ]
    packed = b"".join(String(names) for names in lists)
    return bytes(16) + packed + Boolean(rng.random() < 0.3) + UInt32(0)
