"""A small HTTP server for endpoints that answer at once, as a service.

It reads no bodies, answers one request a connection, and ends every connection after
`LONGEST`, so that whoever reaches the port can hold little and not for long.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import web

from moorage.codes import Code
from moorage.config.sections.http import HTTPServerConfig
from moorage.errors import ConfigError
from moorage.gateway.model import Address
from moorage.net import tls

LONGEST: Final = 30.0
"""Seconds that a connection may take, from its first byte to its last."""

MOST_CONNECTIONS: Final = 128
_HANDSHAKE_SECONDS: Final = 10.0
_LINGER: Final = 1.0
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What an endpoint is asked; the method does not matter to any of them."""

    path: str
    accept: str
    """The header of that name; empty if there is none."""
    query: str = field(default="", repr=False)
    """What stands behind the question mark, as it came; it may hold a secret."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What it answers."""

    status: int = 200
    body: bytes = b""
    content_type: str = _TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


Endpoint = Callable[[Request], Reply]


class WebServer:
    """Serves one endpoint where a block of the configuration says; implements `moorage.service.Service`."""

    def __init__(
        self, name: str, section: str, block: HTTPServerConfig, endpoint: Endpoint, *, available: Code, path: str = "/"
    ) -> None:
        """`section` is the block's key, for errors; `available` the code of the line that shows the URL with `path`."""
        self.name = name
        self._section = section
        self._block = block
        self._endpoint = endpoint
        self._available = available
        self._path = path
        self._handlers: _Handlers | None = None
        self._listener: asyncio.Server | None = None
        self.address = Address("", 0)
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Returns when the server listens; raises `ConfigError` that names the key if it cannot."""
        context = self._context()
        host, _, port = self._block.listen.rpartition(":")
        self._handlers = _Handlers(self._answer)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._handlers,
                host.strip("[]") or None,
                int(port),
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
            )
        except OSError as cause:
            raise ConfigError(
                f"{self._section}.listen: {self._block.listen} cannot be listened on: {_reason(cause)}",
                code=Code.HTTP_LISTEN_FAILED,
            ) from cause
        self.address = Address(*self._listener.sockets[0].getsockname()[:2])
        url = f"{'https' if context else 'http'}://{self.address}{self._path}"
        structlog.get_logger().info(f"The {self.name} is available", code=self._available, url=url)

    async def drain(self, timeout: float) -> None:
        """End; requests are too short to wait for."""
        del timeout
        await self.stop()

    async def stop(self) -> None:
        """Close the listener and all connections.  Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        handlers, self._handlers = self._handlers, None
        if handlers is not None:
            handlers.pre_shutdown()
            await handlers.shutdown(_LINGER)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        reply = self._endpoint(Request(request.path, request.headers.get("Accept", ""), query))
        kind = {"Content-Type": reply.content_type} if reply.body else {}
        headers = {"Server": "Moorage", **kind, **reply.headers}
        response = web.Response(status=reply.status, body=reply.body, headers=headers)
        response.force_close()
        return response

    def _context(self) -> ssl.SSLContext | None:
        block = self._block
        if not block.cert:
            return None
        try:
            return tls.server_context(
                certificate=tls.pem_text(block.cert),
                key=tls.pem_text(block.key.get_secret_value()),
                client_ca=tls.pem_text(block.clientcacert),
                version=block.tls_version,
                curves=block.curves,
                ciphers=block.cipher,
            )
        except ValueError as cause:
            raise ConfigError(f"{self._section}: {cause}", code=Code.HTTP_LISTEN_FAILED) from cause


def _reason(cause: OSError) -> str:
    # asyncio puts the whole story into the text; the number says what matters, unless a look-up failed.
    return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(cause)


class _Handlers(web.Server):
    """Makes the handlers of connections, and ends those that are too many or too slow."""

    def __init__(self, answer: Callable[[web.BaseRequest], object]) -> None:
        super().__init__(
            answer,  # type: ignore[arg-type]
            access_log=None,
            lingering_time=_LINGER,
            keepalive_timeout=LONGEST,
        )
        self._deadlines: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._deadlines) >= MOST_CONNECTIONS:
            transport.abort()
        else:
            self._deadlines[handler] = asyncio.get_running_loop().call_later(LONGEST, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if (deadline := self._deadlines.pop(handler, None)) is not None:
            deadline.cancel()
        super().connection_lost(handler, exc)
