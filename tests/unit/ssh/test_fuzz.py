"""Packets that OpenSSH's client has sent after its login, made wrong: nobody else notices, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from asyncssh.connection import SSHConnection
from asyncssh.packet import SSHPacket, SSHPacketHandler, String, UInt32
from tests.parts.mutation import CASES, sequence
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway
from tests.unit.ssh.test_limits import until

from moorage.codes import Code

PER_LOGIN = 5


async def _recorded(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What OpenSSH's client sends, from its login on: terminal, environment, tunnels, data, the end."""
    packets: list[bytes] = []
    stock = SSHPacketHandler.process_packet

    def process_packet(self: Any, kind: int, number: int, packet: SSHPacket) -> Any:
        packets.append(packet.get_full_payload())
        return stock(self, kind, number, packet)

    with monkeypatch.context() as patch:
        patch.setattr(SSHPacketHandler, "process_packet", process_packet)
        done = await served.ssh(
            *(
                "-tt",
                "-A",
                "-R",
                "0:localhost:9",
                "-o",
                "SetEnv=A=b",
                "-o",
                "ServerAliveInterval=1",
                "localhost",
                "cat",
            ),
            input=b"typed\n\x04",
        )
        assert b"typed" in done.out
        await served.ssh("-W", f"127.0.0.1:{served.port}", "localhost")
        await served.ssh("-s", "localhost", "sftp")
    kinds = {packet[0] for packet in packets}
    assert {50, 80, 90, 96, 98} <= kinds
    data = b"\x5e" + UInt32(0) + String("typed")  # taken off the wire without a handler
    return [packet for packet in packets if packet[0] >= 80] + [data]


async def _try(served: Served, rng: random.Random, packets: list[bytes]) -> None:
    """One login, and then what it should not send."""
    client = await served.client()
    client._packet_handlers = dict.fromkeys(range(256), lambda *_: True)
    client.process_packet = lambda *_: True
    for _ in range(PER_LOGIN):
        for payload in sequence(rng, packets):
            if client._transport is None:
                break
            client._kex_complete = client._auth_complete = True
            SSHConnection.send_packet(client, payload[0] if payload else 0, payload[1:])
        await asyncio.sleep(0)
    ended = served.gateway.connections[-1].end
    with contextlib.suppress(TimeoutError):  # a sequence that is wrong in no way leaves the connection as it is
        await asyncio.wait_for(asyncio.shield(ended), 0.02)
    client.abort()
    await asyncio.wait_for(ended, 10)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(3600 if CASES > 1000 else 120)
async def test_mutated_packets_after_the_login(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(FakeGateway(is_loopback=False, may_dial=True), max_channels=10)
    packets = await _recorded(served, monkeypatch)
    witness = await served.client()
    await until(lambda: len(served.server.connections) == 1)
    gc.collect()
    files, tasks = _descriptors(), len(asyncio.all_tasks())
    seed = random.randrange(2**32)
    with structlog.testing.capture_logs() as logged:
        for number in range(CASES // PER_LOGIN):
            await _try(served, random.Random(f"{seed}/{number}"), packets)
            bugs = [line for line in logged if line.get("code") == Code.SSH_INTERNAL_ERROR]
            assert bugs == [], f"seed {seed}/{number}: {bugs[0].get('exc_info')!r}"
            logged.clear()
            for process in served.gateway.processes:
                process.close()
            served.gateway.processes.clear()
            del served.gateway.connections[:-1]
    assert (await witness.run("echo alive", encoding=None)).stdout == b"alive\n"
    await until(lambda: len(served.server.connections) == 1)
    await until(lambda: len(asyncio.all_tasks()) <= tasks + 1)
    gc.collect()
    assert _descriptors() <= files
    witness.close()
