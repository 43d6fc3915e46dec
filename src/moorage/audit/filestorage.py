"""Recordings as files of one directory, named by the connection's id.

While a recording is written its name ends in ``.part`` and it is locked; when it is finished it is put to
disk and renamed.  What a server that was killed has left is finished at the next start.  All methods of a
`RecordingFile` block and belong to one thread at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from moorage.audit.encryption import SUFFIX, Encryption
from moorage.codes import Code

PART: Final = ".part"
_NAME: Final = re.compile(r"[0-9a-f]{32}")


class RecordingFile:
    """One recording that is being written."""

    def __init__(self, path: Path, *, sync_each: bool, encryption: Encryption | None = None) -> None:
        """Create `path`, which must not be there yet.  Raises `OSError`."""
        self._path = path
        self._encryption = encryption
        self._part = path.with_name(path.name + PART)
        self._sync_each = sync_each
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._size = 0
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def name(self) -> str:
        """What it is called when it is finished."""
        return self._path.name if self._encryption is None else self._path.name + SUFFIX

    def write(self, data: bytes) -> None:
        """Append `data` wholly, or raise `OSError` and leave the file as it was."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.pwrite(self._file, view, self._size + len(data) - len(view)) :]
            if self._sync_each:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def finish(self) -> None:
        """Put it to disk under its own name.  Raises `OSError`; may be tried again.  Idempotent."""
        if self._file < 0:
            return
        os.fsync(self._file)
        if self._encryption is None:
            self._part.rename(self._path)
        elif self._part.exists():
            self._encryption.seal(self._part, self._path.with_name(self.name))
        _sync_directory(self._path.parent)
        self.abandon()

    def abandon(self) -> None:
        """Leave it for the next start.  Idempotent."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class FileStorage:
    """A directory of recordings."""

    def __init__(self, directory: Path, *, sync_each: bool = False, encryption: Encryption | None = None) -> None:
        self.directory = directory
        self._sync_each = sync_each
        self._encryption = encryption
        self._log = structlog.get_logger()

    def create(self, name: str) -> RecordingFile:
        """A new recording; raises `OSError`."""
        return RecordingFile(self.directory / name, sync_each=self._sync_each, encryption=self._encryption)

    def recover(self, close: Callable[[Path], object] = lambda _: None) -> list[str]:
        """Let `close` close what was left behind, finish it, and say what that was.  Raises `OSError`.

        What another server is writing to, which its lock shows, stays as it is, and so does what cannot be
        closed for want of room: for the next start.
        """
        found = []
        for part in sorted(self.directory.glob(f"*{PART}")):
            name = part.name.removesuffix(PART)
            if not _NAME.fullmatch(name):
                continue
            with _locked(part) as is_ours:
                if not is_ours:
                    continue
                if part.stat().st_size == 0:
                    part.unlink()
                    continue
                try:
                    close(part)
                    if self._encryption is None:
                        part.rename(part.with_name(name))
                    else:
                        self._encryption.seal(part, part.with_name(name + SUFFIX))
                except OSError as error:
                    self._log.error(
                        "A recording that was cut cannot be finished",
                        code=Code.AUDIT_STORAGE_FAILED,
                        recording=name,
                        cause=str(error),
                    )
                else:
                    found.append(name)
        return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # finished this very moment, or a link
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield path.exists()
    finally:
        os.close(file)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
