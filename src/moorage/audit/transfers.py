"""Files that go through a session: what is told of each, and where its content is kept if it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

FILE: Final = "file@moorage"
"""The type of the channel request (400) that tells of a file."""

_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fact:
    """Something was done with a file, or was to be done.

    `operation` is ``upload``, ``download``, ``stdin`` (what a command was given to read), ``remove``, ``rename``,
    ``link``, ``symlink``, ``mkdir``, ``rmdir``, ``chmod``, or ``unknown``.
    """

    operation: str
    path: bytes = b""
    target: bytes = b""
    mode: int | None = None
    size: int = 0
    sha256: str = ""
    """Of the content, where all of it went by from its beginning to its end."""
    is_kept: bool = False
    """The content was kept under its hash."""
    result: str = "ok"

    def as_json(self) -> dict[str, Any]:
        """What stands in a recording; what says nothing is left out."""
        found: dict[str, Any] = {"operation": self.operation, "path": _text(self.path), "result": self.result}
        if self.target:
            found["target"] = _text(self.target)
        if self.mode is not None:
            found["mode"] = f"{self.mode & 0o7777:04o}"
        if self.operation in {"upload", "download", "stdin"}:
            found |= {"size": self.size, "sha256": self.sha256, "kept": self.is_kept}
        return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


class Listener(Protocol):
    """Listens to the bytes of one session in both directions."""

    def client(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the client."""

    def server(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the program."""

    def end(self) -> Iterator[Fact]:
        """The session is over."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Where the content of uploads is kept; nowhere if `directory` is None."""

    directory: Path | None = None
    limit_bytes: int = 0
    """Of one file; of a larger one nothing is kept."""


class Transfer:
    """The content of one file as it goes by, at whatever offsets."""

    def __init__(self, keep: Keep, operation: str, path: bytes, mode: int | None = None) -> None:
        self.path = path
        self._operation = operation
        self._mode = mode
        self._keep = keep
        self._hash = hashlib.sha256()
        self._hashed = 0
        """The bytes from the beginning on that went by in order."""
        self._end = 0
        self._is_sparse = False
        self._failure = ""
        self._file: int | None = None
        self._name = ""
        self._is_too_large = keep.directory is None or operation == "download"

    def data(self, offset: int, data: bytes) -> None:
        """Some bytes of the content."""
        self._end = max(self._end, offset + len(data))
        if offset == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)
        elif offset + len(data) > self._hashed:
            self._is_sparse = True
        if not self._is_too_large:
            self._store(offset, data)

    def failed(self, reason: str) -> None:
        """A part of it was not written."""
        self._failure = self._failure or reason

    def end(self, result: str) -> Fact:
        """There is no more of it."""
        is_whole = self._hashed == self._end and not self._failure
        digest = self._hash.hexdigest() if is_whole and not self._is_sparse else ""
        kept = self._kept()
        if self._is_sparse and kept:
            digest = kept
        outcome = self._failure or result
        return Fact(self._operation, self.path, b"", self._mode, self._end, digest, bool(kept), outcome)

    def _store(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self._keep.limit_bytes:
            self._forget()
            return
        try:
            if self._file is None:
                self._file, self._name = tempfile.mkstemp(prefix=".capture.", dir=self._keep.directory)
            os.pwrite(self._file, data, offset)
        except OSError:  # a disk that is full: the recording goes on without the content
            self._forget()

    def _forget(self) -> None:
        self._is_too_large = True
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with contextlib.suppress(OSError):
                Path(self._name).unlink()

    def _kept(self) -> str:
        """The hash under which the content is kept; empty if it is not."""
        if self._file is None or self._keep.directory is None:
            return ""
        digest = hashlib.sha256()
        try:
            at = 0
            while piece := os.pread(self._file, _PIECE, at):
                digest.update(piece)
                at += len(piece)
            Path(self._name).rename(self._keep.directory / digest.hexdigest())
        except OSError:
            self._forget()
            return ""
        os.close(self._file)
        self._file = None
        return digest.hexdigest()


class StdinListener:
    """What a command without a terminal was given to read, as one file."""

    def __init__(self, keep: Keep, command: bytes) -> None:
        self._transfer = Transfer(keep, "stdin", command)
        self._size = 0

    def client(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the client."""
        self._transfer.data(self._size, data)
        self._size += len(data)
        yield from ()

    def server(self, data: bytes) -> Iterator[Fact]:
        """The output does not matter."""
        del data
        yield from ()

    def end(self) -> Iterator[Fact]:
        """The session is over."""
        if self._size:
            yield self._transfer.end("ok")
