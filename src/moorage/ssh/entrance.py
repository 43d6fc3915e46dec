"""The entrance for proxies: what a trusted one says of its client comes before anything of SSH."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import structlog

from moorage.codes import Code
from moorage.gateway.model import Address
from moorage.net.networks import Networks
from moorage.net.proxy import LONGEST, ProxyError, read_header
from moorage.ssh.addresses import address

if TYPE_CHECKING:
    from moorage.ssh.connection import ServerConnection

MOST_WAITING: Final = 4096
"""Connections of which the header has not come; more are closed."""


class Entrances:
    """All connections that wait for a proxy's header, and who may send one."""

    def __init__(self, trusted: Networks, timeout: float, make: Callable[[], ServerConnection]) -> None:
        self.trusted = trusted
        self.timeout = timeout
        self.make = make
        self.waiting: set[Entrance] = set()

    def __call__(self) -> Entrance:
        """A protocol for a connection that is about to be accepted."""
        return Entrance(self)

    def close(self) -> None:
        """Close those that wait.  Idempotent."""
        for entrance in tuple(self.waiting):
            entrance.close("the server is shutting down")


class Entrance(asyncio.Protocol):
    """One connection until its header is read; from an untrusted address it is the client's at once.

    A trusted proxy has to send a header, and within the time that it has for it.
    """

    def __init__(self, entrances: Entrances) -> None:
        self._entrances = entrances
        self._transport: asyncio.Transport | None = None
        self._proxy = Address("", 0)
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted."""
        self._transport = cast("asyncio.Transport", transport)
        self._proxy = address(transport.get_extra_info("peername"))
        if self._proxy.host not in self._entrances.trusted:
            self._hand_over(None)
            return
        if len(self._entrances.waiting) >= MOST_WAITING:
            self.close("too many connections wait for their headers")
            return
        self._entrances.waiting.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._entrances.timeout, self.close, "the header has not come in time")

    def data_received(self, data: bytes) -> None:
        """Part of a header, or all of it and more."""
        if self._transport is None:
            return
        self._received += data
        try:
            header = read_header(self._received[:LONGEST])
        except ProxyError as error:
            self.close(str(error))
            return
        if header is None:
            return
        rest = self._received[header.size :]
        self._hand_over(None if header.source is None else Address(*header.source), rest)

    def eof_received(self) -> bool:
        """Nothing more will come: a load balancer that only looks whether somebody answers does that."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy has gone."""
        del exc
        self._leave()

    def close(self, reason: str) -> None:
        """Close the connection without a word, and log why."""
        transport = self._leave()
        if transport is not None:
            structlog.get_logger().info(
                "A proxy's connection was closed",
                code=Code.SSH_PROXY_FAILED,
                remoteAddr=self._proxy.host,
                reason=reason,
            )
            transport.abort()

    def _hand_over(self, peer: Address | None, rest: bytes = b"") -> None:
        transport = self._leave()
        assert transport is not None
        connection = self._entrances.make()
        connection.peer = peer
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if rest:
            connection.data_received(rest)

    def _leave(self) -> asyncio.Transport | None:
        transport, self._transport = self._transport, None
        self._entrances.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        return transport
