"""A file that is read anew when it changes, and that nobody gets past while it cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from moorage.codes import Code
from moorage.errors import AuthError, ConfigError

_T = TypeVar("_T")
_Signature = tuple[int, int, int, int]


class WatchedFile(Generic[_T]):
    """What `parse` makes of a file of at most `largest` bytes.  A change counts from the next look on.

    A file that is gone, too large or malformed is an error at every look, never the content it had before:
    the change may have been a revocation.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], _T], *, largest: int, key: str) -> None:
        """Reads the file; raises `ConfigError` that names `key` if it cannot be used."""
        self._path = path
        self._parse = parse
        self._largest = largest
        try:
            self._read: tuple[_Signature, _T] | None = self._look()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{key}: {self._sentence(error)}", code=Code.AUTH_CONFIG_ERROR) from error

    async def current(self) -> _T:
        """The content as it stands on the disk; raises `AuthError` if it cannot be used."""
        try:
            if self._read is None or _signature(self._path) != self._read[0]:
                self._read = None
                self._read = await asyncio.to_thread(self._look)
        except (OSError, ValueError) as error:
            raise AuthError(self._sentence(error)) from error
        return self._read[1]

    def _look(self) -> tuple[_Signature, _T]:
        signature = _signature(self._path)
        with self._path.open("rb") as file:
            content = file.read(self._largest + 1)
        if len(content) > self._largest:
            raise ValueError(f"it is larger than {self._largest} bytes")
        return signature, self._parse(content)

    def _sentence(self, error: Exception) -> str:
        what = error.strerror if isinstance(error, OSError) else str(error)
        return f"the file {self._path} cannot be used: {what}"


def _signature(path: Path) -> _Signature:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
