"""The admin socket: who is logged in, and the end of a connection on an operator's word.

A unix socket in a directory of its own below the state directory; that directory's mode says who may use
it (0700 when it is made).  One request a connection, one line of JSON of 4 KiB at most; one answer, one
line of JSON, and the connection is closed::

    {"do": "ls"}                                    {"connections": [{…}, …]}
    {"do": "end", "id": "…", "text": "…"}           {"ended": true}
    {"do": "watch"}                                 {"event": "begin", "at": …, "id": …, …}
                                                    {"event": "change", …}
                                                    {"event": "end", …}
    anything else                                   {"error": "…"}

``watch`` alone is answered by any number of lines: ``begin`` for each connection that is open, then what comes to
pass, until the client goes away.  Each line has all that is known of the connection.  A client that is too slow is
sent ``{"event": "lost"}`` and closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId
from moorage.net.unixsocket import short_address
from moorage.web.feed import Feed, Feeds, TooManyWatchers

DIRECTORY: Final = "admin"
"""Below the state directory: a socket for each gateway that uses it, ``INSTANCE.sock``."""

REQUEST_BYTES: Final = 4096
_CLIENTS: Final = 16
"""How many may be served at the same time, watchers apart; more are turned away."""
_DEADLINE: Final = 10.0
"""Seconds for one request and its answer."""


class Connections:
    """What is known of each open connection, kept up by its events."""

    def __init__(self) -> None:
        self._rows: dict[ConnectionId, dict[str, Any]] = {}
        self.feeds = Feeds()
        """Who is watching."""

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
                    self._tell("begin", event.at, self._rows[identifier])
                case events.ConnectionClosed():
                    if (row := self._rows.pop(identifier, None)) is not None:
                        self._tell("end", event.at, row)
                case _ if (row := self._rows.get(identifier)) is not None and _take(row, event):
                    self._tell("change", event.at, row)

        return heard

    def _tell(self, what: str, at: float, row: dict[str, Any]) -> None:
        if self.feeds:
            self.feeds.tell({"event": what, "at": at, **row})

    def listed(self) -> list[dict[str, Any]]:
        """One row for each connection, the oldest first."""
        return sorted((dict(row) for row in self._rows.values()), key=lambda row: float(row["since"]))


def _take(row: dict[str, Any], event: events.Event) -> bool:
    """Bring `row` up to date; was there anything to change?"""
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
        case _:
            return False
    return True


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
        """Close the socket and remove it, and end what is still watched.  Idempotent."""
        self._connections.feeds.end()
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._open >= _CLIENTS:
                return
            self._open += 1
            try:
                async with asyncio.timeout(_DEADLINE):
                    request = _read(await _line(reader))
                    if not _is_watch(request):
                        await _send(writer, self._answer(request))
            finally:
                self._open -= 1
            if _is_watch(request):
                await self._watch(reader, writer)
        except TooManyWatchers:
            with contextlib.suppress(OSError, TimeoutError):
                await _send(writer, {"error": "too many are watching already"})
        except (OSError, TimeoutError):
            pass  # it has gone, or does not read
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._connections.feeds.opened() as feed:
            now = time.time()
            for row in self._connections.listed():  # as of now; what changes from here on waits in the feed
                await _send(writer, {"event": "begin", "at": now, **row})
            async with asyncio.TaskGroup() as tasks:
                gone = tasks.create_task(_end_with(reader, feed), name="admin/gone")
                with contextlib.suppress(OSError, TimeoutError):
                    while (fact := await feed.next()) is not None:
                        await _send(writer, fact)
                gone.cancel()

    def _answer(self, request: Any) -> dict[str, Any]:
        match request:
            case {"do": "ls"}:
                return {"connections": self._connections.listed()}
            case {"do": "end", "id": str(identifier), "text": str(text)}:
                return {"ended": self._end(identifier, text)}
            case None:
                return {"error": "the request is not one line of JSON of 4 KiB at most"}
        return {"error": "the request is unknown"}


def _is_watch(request: Any) -> bool:
    return isinstance(request, dict) and request.get("do") == "watch"


def _read(line: bytes) -> Any:
    """The request; None for what is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    """One line, within the deadline: OSError or TimeoutError for a client that does not take it."""
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(_DEADLINE):
        await writer.drain()


async def _end_with(reader: asyncio.StreamReader, feed: Feed) -> None:
    """End `feed` when the client goes away, or says anything more."""
    with contextlib.suppress(OSError):
        await reader.read(1)
    feed.end()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""
