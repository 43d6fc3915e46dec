"""Listens to the sessions of one connection for files, and tells of them as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from moorage.audit import scp
from moorage.audit.codec import Entry
from moorage.audit.kinds import STDIN, STDOUT
from moorage.audit.scp import ScpListener
from moorage.audit.sftp import SftpListener
from moorage.audit.transfers import FILE, Fact, Keep, Listener, StdinListener

Seen = Callable[[Fact, float, int], None]


class FileWatch:
    """Turns the messages of a connection into themselves, with what is to be told of files among them."""

    def __init__(self, keep: Keep, seen: Seen | None = None) -> None:
        """`seen` is told of each fact too, with when it was, in seconds since the epoch, and its channel."""
        self._keep = keep
        self._seen = seen
        self._listeners: dict[int, Listener] = {}
        self._terminals: set[int] = set()

    def of(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """`entries` that are kept, and after each what it tells of files."""
        for entry in entries:
            if entry.is_kept:
                yield entry
            if entry.channel is None:
                if entry.number == 1:
                    for channel in tuple(self._listeners):
                        yield from self._told(self._end(channel), entry, channel)
                continue
            yield from self._told(self._facts(entry, entry.channel), entry, entry.channel)

    def _facts(self, entry: Entry, channel: int) -> Iterator[Fact]:
        match entry.number:
            case 404:
                self._terminals.add(channel)
            case 403 if channel not in self._terminals:
                self._listeners[channel] = self._for_command(entry.payload["program"])
            case 407 if entry.payload["subsystem"] == "sftp":
                self._listeners[channel] = SftpListener(self._keep)
            case 500 if (listener := self._listeners.get(channel)) is not None:
                stream, data = entry.payload["stream"], entry.payload["data"]
                if stream == STDIN:
                    yield from listener.client(data)
                elif stream == STDOUT:
                    yield from listener.server(data)
            case 496 | 497:
                yield from self._end(channel)
            case _:
                pass

    def _for_command(self, program: str) -> Listener:
        command = program.encode("utf-8", "surrogateescape")
        if command.strip().rpartition(b"/")[2].startswith(b"sftp-server"):
            return SftpListener(self._keep)
        copied = scp.direction(command)
        return StdinListener(self._keep, command) if copied is None else ScpListener(self._keep, *copied)

    def _end(self, channel: int) -> Iterator[Fact]:
        self._terminals.discard(channel)
        listener = self._listeners.pop(channel, None)
        if listener is not None:
            yield from listener.end()

    def _told(self, facts: Iterable[Fact], entry: Entry, channel: int) -> Iterator[Entry]:
        for fact in facts:
            if self._seen is not None:
                self._seen(fact, entry.timestamp / 1e9, channel)
            payload = json.dumps(fact.as_json(), ensure_ascii=False).encode("utf-8", "replace")
            yield Entry(400, entry.timestamp, {"requestId": 0, "requestType": FILE, "payload": payload}, channel)
