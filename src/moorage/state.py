"""The state directory: what outlives a run — host keys, the instance's name, the sockets of guests."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from moorage.codes import Code
from moorage.errors import ConfigError

_SYSTEM: Final = Path("/var/lib/moorage")


def default_state_directory() -> Path:
    """``$STATE_DIRECTORY`` (as systemd sets it), ``/var/lib/moorage`` for root, else a place in the home directory."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return _SYSTEM
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "moorage"


class State:
    """An open state directory.

    `instance` names this gateway on what it creates elsewhere.  It is the same from run to run, unless
    another running gateway holds the directory: then it is a fresh one, so that neither takes the other's
    guests for its own leftovers.
    """

    def __init__(self, directory: Path) -> None:
        """Open `directory`, making it if need be; raises `ConfigError` if that cannot be done."""
        self.directory = directory
        self._lock = -1
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
            self.instance = self._claim()
        except OSError as error:
            raise ConfigError(
                f"the state directory {directory} cannot be used: {error.strerror}; "
                "make it writable or set state.directory",
                code=Code.CORE_CONFIG_ERROR,
            ) from error

    def _claim(self) -> str:
        path = self.directory / "instance"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return secrets.token_hex(8)
        name = os.read(self._lock, 64).decode("ascii", "replace").strip()
        if len(name) != 16 or not name.isalnum():
            name = secrets.token_hex(8)
            os.truncate(self._lock, 0)
            os.pwrite(self._lock, f"{name}\n".encode(), 0)
        return name

    def close(self) -> None:
        """Let another gateway have the directory.  Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
