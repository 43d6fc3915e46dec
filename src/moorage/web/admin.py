"""The admin socket: who is logged in, and the end of a connection on an operator's word.

A unix socket in a directory of its own below the state directory; that directory's mode says who may use
it (0700 when it is made).  One request a connection, one line of JSON of 4 KiB at most; one answer, one
line of JSON, and the connection is closed::

    {"do": "ls"}                                    {"connections": [{…}, …]}
    {"do": "end", "id": "…", "text": "…"}           {"ended": true}
    anything else                                   {"error": "…"}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId
from moorage.net.unixsocket import short_address

DIRECTORY: Final = "admin"
"""Below the state directory: a socket for each gateway that uses it, ``INSTANCE.sock``."""

REQUEST_BYTES: Final = 4096
_CLIENTS: Final = 16
"""How many may be served at the same time; more are turned away."""
_DEADLINE: Final = 10.0
"""Seconds for one request and its answer."""


class Connections:
    """What is known of each open connection, kept up by its events."""

    def __init__(self) -> None:
        self._rows: dict[ConnectionId, dict[str, Any]] = {}

    def listener(self, identifier: ConnectionId, peer: Address) -> events.Listener:
        """The listener of a new connection."""

        def heard(event: events.Event) -> None:
            match event:
                case events.ConnectionOpened():
                    self._rows[identifier] = {
                        "id": identifier,
                        "user": "",
                        "address": str(peer),
                        "since": event.at,
                        "backend": "",
                        "guest": "none",
                        "sessions": 0,
                    }
                case events.ConnectionClosed():
                    self._rows.pop(identifier, None)
                case _ if (row := self._rows.get(identifier)) is not None:
                    _take(row, event)

        return heard

    def listed(self) -> list[dict[str, Any]]:
        """One row for each connection, the oldest first."""
        return sorted((dict(row) for row in self._rows.values()), key=lambda row: float(row["since"]))


def _take(row: dict[str, Any], event: events.Event) -> None:
    match event:
        case events.LoginAccepted():
            row.update(user=event.login.attempt.username, backend=event.login.config.backend, guest="opening")
        case events.GuestOpened():
            row["guest"] = "open"
        case events.GuestFailed():
            row["guest"] = "failed"
        case events.SessionOpened():
            row["sessions"] += 1
        case events.SessionClosed():
            row["sessions"] -= 1


class AdminServer:
    """The admin socket as a service."""

    name = "admin socket"

    def __init__(self, path: Path, connections: Connections, end: Callable[[str, str], bool]) -> None:
        """`end` is called with a connection's id and the text for its user; False if there is no such connection."""
        self._path = path
        self._connections = connections
        self._end = end
        self._server: asyncio.Server | None = None
        self._open = 0
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Listen; where that is impossible the log says so, and the gateway serves without."""
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            try:
                with short_address(self._path) as address:
                    listener.bind(address)
                self._path.chmod(0o660)  # the directory's mode decides
                self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_BYTES)
            except BaseException:
                listener.close()
                raise
        except OSError as error:
            self._log.warning("There is no admin socket", path=str(self._path), cause=str(error))

    async def drain(self, timeout: float) -> None:
        """Go on: an operator may want to see what is still there."""

    async def stop(self) -> None:
        """Close the socket and remove it.  Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CLIENTS:
                async with asyncio.timeout(_DEADLINE):
                    answer = self._answer(await _line(reader))
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "the request is not one line of JSON of 4 KiB at most"}
        match request:
            case {"do": "ls"}:
                return {"connections": self._connections.listed()}
            case {"do": "end", "id": str(identifier), "text": str(text)}:
                return {"ended": self._end(identifier, text)}
        return {"error": "the request is unknown"}


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""
