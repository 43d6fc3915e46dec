"""Connections of an HTTP client, all of which are gone when it is closed, whatever was cancelled before."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

_PATIENCE: Final = 2.0
"""Seconds that `close` waits for connections that are being made."""


class Connector(aiohttp.TCPConnector):
    """A pool of connections; the arguments are those of its base.

    A TLS connection that is cancelled while it begins is never closed by asyncio, and one whose call is cancelled
    closes when the server has answered, for which nobody waits.  So each is made in a task of its own, which goes on
    when its caller is cancelled (for as long as the session's ``sock_connect`` allows), and is known until it is gone.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._making: set[asyncio.Task[Any]] = set()
        self._open: dict[asyncio.Future[None], asyncio.Transport] = {}

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        making = asyncio.get_running_loop().create_task(self._made(*args, **kwargs), name="http/connect")
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_unused)
            raise

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Cut all connections; returns when they are gone."""
        if self._making:
            _, late = await asyncio.wait(tuple(self._making), timeout=_PATIENCE)
            for making in late:
                making.cancel()
            if late:
                await asyncio.wait(late)
        ends = dict(self._open)
        for transport in ends.values():
            transport.abort()
        await super().close(abort_ssl=abort_ssl)
        if ends:
            await asyncio.wait(ends, timeout=_PATIENCE)

    async def _made(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super().connect(*args, **kwargs)
        protocol, transport = connection.protocol, connection.transport
        closed = None if protocol is None else protocol.closed
        if closed is not None and isinstance(transport, asyncio.Transport) and closed not in self._open:
            self._open[closed] = transport
            closed.add_done_callback(self._gone)
        return connection

    def _gone(self, closed: asyncio.Future[None]) -> None:
        self._open.pop(closed, None)
        if not closed.cancelled():
            closed.exception()  # which the call itself has been told


def _unused(making: asyncio.Task[Any]) -> None:
    """Close a connection that nobody waits for."""
    if not making.cancelled() and making.exception() is None:
        making.result().close()
