"""Tokens of a Kerberos ticket on the wire: ``gssapi-with-mic`` (RFC 4462 §3), Kerberos 5 only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from asyncssh.packet import SSHPacket, String

KERBEROS: Final = bytes.fromhex("06092a864886f712010202")
"""The mechanism's object identifier, 1.2.840.113554.1.2.2, in DER."""

MOST_MECHANISMS: Final = 32
LONGEST_TOKEN: Final = 64 * 1024
MOST_TOKENS: Final = 16
"""What one exchange may hold; Kerberos needs one token each way."""

MSG_RESPONSE: Final = 60
MSG_TOKEN: Final = 61
MSG_EXCHANGE_COMPLETE: Final = 63
MSG_ERROR: Final = 64
MSG_ERROR_TOKEN: Final = 65
MSG_MIC: Final = 66


def offers_kerberos(packet: SSHPacket) -> bool:
    """Is Kerberos among the mechanisms of a request?  Takes the rest of it."""
    count = packet.get_uint32()
    if count > MOST_MECHANISMS:
        return False
    mechanisms = [packet.get_string() for _ in range(count)]
    packet.check_end()
    return KERBEROS in mechanisms


def signed_data(session_id: bytes, username: bytes) -> bytes:
    """What the client vouches for with its context (RFC 4462 §3.5)."""
    return String(session_id) + b"\x32" + String(username) + String(b"ssh-connection") + String(b"gssapi-with-mic")


class TicketPackets:
    """The packets of one exchange; implements `moorage.gateway.contract.TicketExchange`."""

    def __init__(self, send: Callable[..., None], data: bytes, heard: Callable[[], None] = lambda: None) -> None:
        """`send` sends a packet; `data` is what the client has to vouch for; `heard` is told of each of its packets."""
        self._send = send
        self._data = data
        self._heard = heard
        self._tokens: asyncio.Queue[bytes] = asyncio.Queue()
        self._count = 0
        loop = asyncio.get_running_loop()
        self._mic: asyncio.Future[bytes] = loop.create_future()
        self.broken: asyncio.Future[None] = loop.create_future()
        """Done when the client has given up or not kept to the protocol."""

    def begin(self) -> None:
        """Tell the client which mechanism it is."""
        self._send(MSG_RESPONSE, String(KERBEROS))

    async def receive(self) -> bytes:
        return await self._tokens.get()

    def send(self, token: bytes) -> None:
        self._send(MSG_TOKEN, String(token))

    async def proof(self) -> tuple[bytes, bytes]:
        return self._data, await asyncio.shield(self._mic)

    def process_packet(self, kind: int, _number: int, packet: SSHPacket) -> bool:
        """Take a packet; one without integrity (§3.4) is as good as none."""
        if kind not in {MSG_TOKEN, MSG_EXCHANGE_COMPLETE, MSG_ERROR, MSG_ERROR_TOKEN, MSG_MIC}:
            return False
        self._heard()
        value = packet.get_string() if kind in {MSG_TOKEN, MSG_MIC} else b""
        if kind == MSG_TOKEN and len(value) <= LONGEST_TOKEN and self._count < MOST_TOKENS and not self._mic.done():
            self._count += 1
            self._tokens.put_nowait(value)
        elif kind == MSG_MIC and len(value) <= LONGEST_TOKEN and self._count and not self._mic.done():
            self._mic.set_result(value)
        elif not self.broken.done():
            self.broken.set_result(None)
        return True

    def log_received_packet(self, *_: object) -> None:
        """Stay silent."""

    def cancel(self) -> None:
        """The connection is gone, and its tasks with it."""
