"""No connection outlives its client, at whatever moment a call is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.parts.kubepki import Authority

from moorage.backend.kubernetes.access import Access
from moorage.backend.kubernetes.api import Api
from moorage.backend.kubernetes.credentials import fixed
from moorage.net.http import Endpoint, WebClient

Call = Callable[[Access, float], Awaitable[None]]


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
    writer.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Access]:
    """A server with TLS in a thread of its own, and how it is reached."""
    authority = Authority(tmp_path / "pki")
    authority.issue("server", "server", names=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pki" / "server.crt", tmp_path / "pki" / "server.key")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(_answered, sock=listening, ssl=context):
            await over.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    yield Access(f"https://127.0.0.1:{port}", "", fixed(token="t"), (tmp_path / "pki" / "ca.crt").read_text())
    loop.call_soon_threadsafe(over.set)
    thread.join(10)


def _open_to(port: int) -> int:
    """The sockets of this process that are connected to `port`."""
    found = 0
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as copy:
                    found += copy.getpeername()[1:2] == (port,)
    return found


async def _by_api(server: Access, seconds: float) -> None:
    """A call of a cluster that is cancelled after `seconds`."""
    api = Api(server)
    await _cancelled(api.call("GET", "/", timeout=10), seconds)
    await api.close()


async def _by_web_client(server: Access, seconds: float) -> None:
    """A call of a webhook that is cancelled after `seconds`."""
    client = WebClient(Endpoint(url=server.url, cacert=server.ca, timeout=timedelta(seconds=10)))
    await _cancelled(client.post(b"{}"), seconds)
    await client.close()


async def _cancelled(work: Coroutine[Any, Any, Any], seconds: float) -> None:
    call = asyncio.get_running_loop().create_task(work)
    await asyncio.sleep(seconds)
    call.cancel()
    await asyncio.wait((call,))


@pytest.mark.parametrize("call", [_by_api, _by_web_client], ids=["cluster", "webhook"])
async def test_no_connection_is_left_at_whatever_moment_a_call_is_cancelled(server: Access, call: Call) -> None:
    port = int(server.url.rpartition(":")[2])
    for number in range(300):
        await call(server, number * 0.00002)
        assert _open_to(port) == 0, f"cancelled after {number * 20} µs"
