"""An engine that behaves badly on purpose: a real socket, and a programme for each call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONTAINER = "c0ffee" * 10


@dataclass
class Call:
    """One request as it came."""

    method: str
    path: str
    query: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


Behaviour = Callable[[Call], Awaitable[None]]


def answer(status: int, value: Any = None, **headers: str) -> Behaviour:
    """An ordinary answer in JSON."""
    body = b"" if value is None else json.dumps(value).encode()
    return raw(status, body, **headers)


def raw(status: int, body: bytes, **headers: str) -> Behaviour:
    """An answer with any body."""

    async def behave(call: Call) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        call.writer.write(head.encode() + b"\r\n" + (b"" if call.method == "HEAD" else body))
        await call.writer.drain()

    return behave


async def hang(call: Call) -> None:
    """Take the request and say nothing until the other side gives up."""
    await call.reader.read()


async def die(call: Call) -> None:
    """Cut the connection without a word."""
    call.writer.transport.abort()


async def babble(call: Call) -> None:
    """Answer something that is not HTTP."""
    call.writer.write(b"\x00\x01SSH-2.0-hello\r\n\r\n" * 10)
    call.writer.close()


async def flood(call: Call) -> None:
    """Answer a JSON string that never ends, for as long as anybody listens."""
    call.writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"\r\n')
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with contextlib.suppress(ConnectionError):
        while True:
            call.writer.write(chunk)
            await call.writer.drain()


def after(event: asyncio.Event, then: Behaviour) -> Behaviour:
    """Wait for `event` first."""

    async def behave(call: Call) -> None:
        await event.wait()
        await then(call)

    return behave


def upgraded(then: Callable[[Call], Awaitable[None]]) -> Behaviour:
    """Switch to a raw stream."""

    async def behave(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        await then(call)
        call.writer.close()

    return behave


@dataclass
class ScriptedEngine:
    """What an engine answers; later rules win.  Without one of its own a call gets a healthy answer."""

    socket: Path
    calls: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    _rules: list[tuple[re.Pattern[str], Behaviour]] = field(default_factory=list)
    _served: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def host(self) -> str:
        """What stands in ``docker.connection.host``."""
        return f"unix://{self.socket}"

    def on(self, pattern: str, behaviour: Behaviour) -> None:
        """Do `behaviour` for calls whose ``METHOD /path`` matches; the version is cut off."""
        self._rules.insert(0, (re.compile(pattern), behaviour))

    def heard(self, pattern: str) -> int:
        """How many calls matched."""
        return sum(1 for call in self.calls if re.search(pattern, call))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of one connection."""
        try:
            while (call := await _read(reader, writer)) is not None:
                name = f"{call.method} {call.path}"
                self.calls.append(name)
                if call.body[:1] == b"{":
                    self.bodies.append(call.json)
                behaviour = next(b for pattern, b in self._rules if pattern.search(name))
                await behaviour(call)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted_engine(directory: Path) -> AsyncIterator[ScriptedEngine]:
    """An engine for the time of the block, healthy until told otherwise."""
    engine = ScriptedEngine(directory / "engine.sock")
    engine.on(r".", answer(404, {"message": "page not found"}))
    engine.on(r"^GET /_ping", answer(200, {}, Api_Version="1.41"))
    engine.on(r"^GET /version", answer(200, {"Arch": "amd64"}))
    engine.on(r"^GET /images/", answer(200, {"Architecture": "amd64"}))
    engine.on(r"^GET /containers/json", answer(200, []))
    engine.on(r"^POST /containers/create", answer(201, {"Id": CONTAINER}))
    engine.on(r"^POST /containers/\w+/start", answer(204))
    engine.on(r"^DELETE /containers/", answer(204))
    server = await asyncio.start_unix_server(engine.serve, engine.socket)
    try:
        yield engine
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return Call(method, re.sub(r"^/v\d+\.\d+", "", path), query, body, reader, writer)
