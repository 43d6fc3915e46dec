"""A guest whose network and files are this machine's: what is dialled and listened on are real sockets."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from moorage.errors import Refused
from moorage.gateway.contract import Accepted, Receiver, Transport
from moorage.gateway.model import Address, AgentSocket, ListenSpec, Target, TcpTarget, UnixTarget, X11Display


class Socket(asyncio.Protocol):
    """One connection, as a `Transport`."""

    def __init__(self, accepted: Accepted | None = None, receiver: Receiver | None = None) -> None:
        self._accepted = accepted
        self._receiver = receiver
        self._has_written_eof = False
        self._stream: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = transport
        if self._accepted is not None:
            name = transport.get_extra_info("peername")
            peer = Address(name[0], name[1]) if isinstance(name, tuple) else None
            try:
                self._receiver = self._accepted(peer, self)
            except Refused:
                self._stream.abort()

    def data_received(self, data: bytes) -> None:
        assert self._receiver is not None
        self._receiver.data_received(data)

    def eof_received(self) -> bool:
        assert self._receiver is not None
        self._receiver.eof_received()
        if self._has_written_eof:
            self._stream.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._receiver is not None:
            self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        assert self._receiver is not None
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        assert self._receiver is not None
        self._receiver.resume_writing()

    def write(self, data: bytes) -> None:
        if not self._stream.is_closing() and not self._has_written_eof:
            self._stream.write(data)

    def write_eof(self) -> None:
        if not self._has_written_eof and not self._stream.is_closing():
            self._has_written_eof = True
            self._stream.write_eof()

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def close(self) -> None:
        self._stream.close()


class Listening:
    """A listening socket; implements `Listener`."""

    def __init__(self, server: asyncio.Server, port: int, environment: Mapping[bytes, bytes]) -> None:
        self.port = port
        self.environment = environment
        self.is_closed = asyncio.Event()
        self._server = server

    async def close(self) -> None:
        self._server.close()
        self.is_closed.set()


async def dial(target: Target, receiver: Receiver) -> Transport:
    """See `Guest.dial`."""
    loop = asyncio.get_running_loop()
    try:
        match target:
            case TcpTarget(host, port):
                _, made = await loop.create_connection(lambda: Socket(receiver=receiver), host, port)
            case UnixTarget(path):
                _, made = await loop.create_unix_connection(lambda: Socket(receiver=receiver), os.fsdecode(path))
    except OSError as error:
        raise Refused(str(error), user_text="Connection refused.") from error
    return cast("Transport", made)


async def listen(spec: ListenSpec, accepted: Accepted) -> Listening:
    """See `Guest.listen`."""
    loop = asyncio.get_running_loop()
    try:
        match spec:
            case UnixTarget(path):
                return Listening(await loop.create_unix_server(lambda: Socket(accepted), os.fsdecode(path)), 0, {})
            case AgentSocket():
                place = Path(tempfile.mkdtemp()) / "agent"
                server = await loop.create_unix_server(lambda: Socket(accepted), place)
                return Listening(server, 0, {b"SSH_AUTH_SOCK": os.fsencode(place)})
            case TcpTarget(_, port):
                server = await loop.create_server(lambda: Socket(accepted), "127.0.0.1", port)
                return Listening(server, server.sockets[0].getsockname()[1], {})
            case X11Display():
                server = await loop.create_server(lambda: Socket(accepted), "127.0.0.1", 0)
                port = server.sockets[0].getsockname()[1]
                return Listening(server, 0, {b"DISPLAY": b"127.0.0.1:%d.0" % (port - 6000)})
    except OSError as error:
        raise Refused(str(error), user_text="The address is in use.") from error
