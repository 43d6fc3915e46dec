"""gssapi-with-mic on the wire: what is vouched for, and what breaks an exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway
from tests.unit.ssh.test_auth import _manual, _request, _until

from moorage.ssh.gssapi import KERBEROS, MOST_MECHANISMS, MOST_TOKENS, signed_data

SPNEGO = bytes.fromhex("06062b0601050502")


@pytest.fixture
async def served(serve: Serve) -> Served:
    served: Served = await serve(FakeGateway(methods=("gssapi-with-mic",)))
    return served


async def _begin(served: Served, *mechanisms: bytes) -> tuple[Any, list[tuple[int, bytes]]]:
    connection, received = await _manual(served)

    class Keep:
        def process_packet(self, kind: int, _number: int, packet: Any) -> bool:
            received.append((kind, packet.get_remaining_payload()))
            return True

        def log_received_packet(self, *_: object) -> None: ...

        def cancel(self) -> None: ...

    connection._auth = Keep()
    listed = UInt32(len(mechanisms)) + b"".join(map(String, mechanisms))
    _request(connection, b"alice", "gssapi-with-mic", listed)
    return connection, received


async def _end(connection: Any) -> None:
    connection.abort()
    await connection.manual_task


async def test_tokens_go_both_ways_and_the_mic_decides(served: Served) -> None:
    connection, received = await _begin(served, SPNEGO, KERBEROS)
    await _until(lambda: received)
    assert received[0] == (60, String(KERBEROS))
    connection.send_packet(61, String(b"token"))
    await _until(lambda: len(received) == 2)
    assert received[1] == (61, String(b"answer to token"))
    connection.send_packet(66, String(b"good"))
    await _until(lambda: len(received) == 3)
    assert received[2][0] == 52
    data = signed_data(connection._session_id, b"alice")
    assert served.gateway.tickets == [("alice", b"token", data, b"good")]
    assert data.startswith(String(connection._session_id) + b"\x32" + String(b"alice") + String(b"ssh-connection"))
    await _end(connection)


async def test_a_wrong_mic_is_a_failure(served: Served) -> None:
    connection, received = await _begin(served, KERBEROS)
    connection.send_packet(61, String(b"token"))
    connection.send_packet(66, String(b"bad"))
    await _until(lambda: received and received[-1][0] == 51)
    await _end(connection)


@pytest.mark.parametrize(
    "packets",
    [
        [(63, b"")],
        [(61, String(b"token")), (63, b"")],
        [(64, UInt32(1) + UInt32(2) + String(b"no") + String(b""))],
        [(65, String(b"error token"))],
        [(66, String(b"good"))],
        [(61, String(b"x" * (64 * 1024 + 1)))],
        [(61, String(b"t"))] * (MOST_TOKENS + 1),
    ],
    ids=["complete", "complete without integrity", "error", "error token", "mic first", "huge", "endless"],
)
async def test_what_is_out_of_order_is_a_failure(served: Served, packets: list[tuple[int, bytes]]) -> None:
    connection, received = await _begin(served, KERBEROS)
    await _until(lambda: received)
    for kind, body in packets:
        connection.send_packet(kind, body)
    await _until(lambda: received[-1][0] == 51)
    assert not served.gateway.tickets
    await _end(connection)


@pytest.mark.parametrize("mechanisms", [(), (SPNEGO,), (KERBEROS[2:],), (KERBEROS,) * (MOST_MECHANISMS + 1)])
async def test_without_kerberos_there_is_nothing_to_talk_about(served: Served, mechanisms: tuple[bytes, ...]) -> None:
    connection, received = await _begin(served, *mechanisms)
    await _until(lambda: received)
    assert received[0][0] == 51
    await _end(connection)


async def test_another_attempt_gives_the_exchange_up(served: Served) -> None:
    served.gateway.users = {"alice": b"secret"}
    connection, received = await _begin(served, KERBEROS)
    await _until(lambda: received)
    _request(connection, b"alice", "password", Boolean(False), String(b"secret"))
    await _until(lambda: received[-1][0] == 52)
    await asyncio.sleep(0)
    assert not served.gateway.tickets
    await _end(connection)
