"""Webhook servers that behave in every way a real one can, each way with a name.

`HookServer` speaks HTTP/1.1 on a loopback socket and keeps the raw bytes of what it is
sent, so that a test can compare them with what other implementations send.  What it answers
is an `Actor`'s business; the actors below fail in the ways that must never become a login.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Request:
    """What a client has sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Under lower-case names."""
    body: bytes
    raw: bytes
    """Head and body, byte for byte."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Send = Callable[[bytes], Awaitable[None]]
Actor = Callable[[Request, Send], Awaitable[bool]]
"""Answers one request by `Send`; True keeps the connection, False closes it."""


class HookServer:
    """An HTTP server on 127.0.0.1 for the length of an ``async with``; `actor` may be changed at any time."""

    def __init__(self, actor: Actor, *, context: ssl.SSLContext | None = None) -> None:
        self.actor = actor
        self.requests: list[Request] = []
        self.connections = 0
        self.asked = asyncio.Event()
        """Set with every request that has arrived."""
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The server's URL, without a final slash."""
        return f"{'https' if self._context else 'http'}://{'localhost' if self._context else '127.0.0.1'}:{self.port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1

        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                while True:
                    request = await _read(reader)
                    self.requests.append(request)
                    self.asked.set()
                    if not await self.actor(request, send):
                        break
            writer.close()
        except asyncio.CancelledError:
            # The server's end; asyncio's stream protocol reports a cancelled handler as an error.
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, head + body)


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A response's bytes; ``Content_Type`` and the like become header names."""
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body


# Actors that answer


def saying(body: object, *, status: int = 200, **headers: str) -> Actor:
    """Answers with `body` as JSON, or byte for byte if it is `bytes`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def act(_: Request, send: Send) -> bool:
        await send(response(status, content, **headers))
        return True

    return act


def deciding(decide: Callable[[Request], object]) -> Actor:
    """Answers with what `decide` makes of the request, as JSON."""

    async def act(request: Request, send: Send) -> bool:
        await send(response(200, json.dumps(decide(request)).encode()))
        return True

    return act


accepting = saying({"success": True})
refusing = saying({"success": False})


def in_turn(*actors: Actor) -> Actor:
    """One actor after the other, a request each; the last one stays."""
    waiting = list(actors)

    async def act(request: Request, send: Send) -> bool:
        return await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request, send)

    return act


# Actors that fail


async def silent(_: Request, __: Send) -> bool:
    """Never answers."""
    await asyncio.Event().wait()
    return False


async def closing(_: Request, __: Send) -> bool:
    """Closes the connection instead of answering."""
    return False


async def closing_early(_: Request, send: Send) -> bool:
    """Closes the connection in the middle of a yes."""
    await send(response(200, b'{"success":true}')[:-4])
    return False


async def dripping(_: Request, send: Send) -> bool:
    """Begins an answer and never ends it."""
    await send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await asyncio.Event().wait()
    return False


async def no_http(_: Request, send: Send) -> bool:
    """Answers in another protocol."""
    await send(b"SSH-2.0-OpenSSH_9.6\r\n")
    return False


async def flooding(_: Request, send: Send) -> bool:
    """Says yes and 10 MB more."""
    await send(response(200, b'{"success":true}' + b" " * 10_000_000))
    return False


async def endless(_: Request, send: Send) -> bool:
    """Says yes in chunks that never end."""
    await send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"success":true}\r\n')
    while True:
        await send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


inflating = saying(gzip.compress(b'{"success":true}' + b" " * 50_000_000, 9), Content_Encoding="gzip")
"""50 MB in 50 kB."""

long_headed = saying({"success": True}, X_Long="x" * 1_000_000)
"""A header line of 1 MB."""

empty = saying(b"")
no_json = saying(b"<html>It works!</html>")
cut_json = saying(b'{"success":true')
deep_json = saying(b'{"success":true,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
a_list = saying([{"success": True}])
just_true = saying(True)
lying = saying({"success": "true"})
"""A yes of the wrong type."""
counting = saying({"success": 1})
broken = saying({"success": True}, status=500)
busy = saying({"success": True}, status=429)
missing = saying({"success": True}, status=404)
created = saying({"success": True}, status=201)
without_content = saying(b"", status=204)
unauthorized = saying({"success": True}, status=401)


def redirecting(location: str, status: int = 307) -> Actor:
    """Sends the client elsewhere."""
    return saying(b"", status=status, Location=location)
