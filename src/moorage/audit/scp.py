"""The old protocol of scp, listened to: which files go where.

Each side says in a line what comes (``C0644 SIZE NAME``), then the bytes follow, then a zero byte.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

from moorage.audit.transfers import Fact, Keep, Transfer

_LONGEST_LINE: Final = 8192
_DEEPEST: Final = 64
_FILE: Final = re.compile(rb"C([0-7]{4,5}) (\d{1,19}) ([^\n]*)")
_FOLDER: Final = re.compile(rb"D([0-7]{4,5}) \d+ ([^\n]*)")


def direction(command: bytes) -> tuple[str, bytes] | None:
    """What ``scp -t PATH`` or ``scp -f PATH`` is: ``upload`` or ``download``, and the path; None for other commands."""
    try:
        words = shlex.split(command.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None
    if not words or words[0].rpartition("/")[2] != "scp":
        return None
    options = "".join(word[1:] for word in words[1:] if word.startswith("-") and not word.startswith("--"))
    path = words[-1].encode("utf-8", "surrogateescape")
    return ("upload", path) if "t" in options else ("download", path) if "f" in options else None


class ScpListener:
    """Listens to one session; implements `moorage.audit.transfers.Listener`."""

    def __init__(self, keep: Keep, operation: str, path: bytes) -> None:
        self._keep = keep
        self._operation = operation
        self._path = path
        self._folders: list[bytes] = []
        self._line = b""
        self._transfer: Transfer | None = None
        self._left = 0
        self._at = 0
        self._has_given_up = False

    def client(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the client."""
        if self._operation == "upload":
            yield from self._source(data)

    def server(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the program."""
        if self._operation == "download":
            yield from self._source(data)

    def end(self) -> Iterator[Fact]:
        """The session is over."""
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            yield transfer.end("cut" if self._left else "ok")

    def _source(self, data: bytes) -> Iterator[Fact]:
        while data and not self._has_given_up:
            if self._transfer is not None and self._left:
                part, data = data[: self._left], data[self._left :]
                self._transfer.data(self._at, part)
                self._at += len(part)
                self._left -= len(part)
                continue
            if self._transfer is not None:  # the byte after the content says whether it could be read
                status, data = data[:1], data[1:]
                transfer, self._transfer = self._transfer, None
                yield transfer.end("ok" if status == b"\0" else "failure")
                continue
            if not self._line and data[:1] == b"\0":  # an acknowledgement
                data = data[1:]
                continue
            end = data.find(b"\n") + 1
            self._line += data[:end] if end else data
            data = data[end:] if end else b""
            if len(self._line) > _LONGEST_LINE:
                yield from self._give_up("a line that is too long")
            elif end:
                line, self._line = self._line[:-1], b""
                yield from self._understood(line)

    def _understood(self, line: bytes) -> Iterator[Fact]:
        if found := _FILE.fullmatch(line):
            path = b"/".join([self._path, *self._folders, found[3]])
            self._transfer = Transfer(self._keep, self._operation, path, int(found[1], 8))
            self._left, self._at = int(found[2]), 0
        elif found := _FOLDER.fullmatch(line):
            if len(self._folders) == _DEEPEST:
                yield from self._give_up("too many folders")
            self._folders.append(found[2])
        elif line == b"E":
            self._folders = self._folders[:-1]
        elif line[:1] not in {b"T", b"\1", b"\2"}:
            yield from self._give_up("a line that means nothing")

    def _give_up(self, why: str) -> Iterator[Fact]:
        self._has_given_up = True
        yield Fact("unknown", self._path, result=f"this is no scp that can be followed: {why}")
