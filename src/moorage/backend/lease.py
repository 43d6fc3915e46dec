"""The proof that what a gateway created still has a living owner.

*Outside* the process a lease is a set of labels on a container or pod: who made it and until when it
must have been launched.  *Inside* the machine it is a directory with a lock that the kernel releases when
the process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INSTANCE: Final = "moorage_instance"
OWNER: Final = "moorage_owner"
CREATED: Final = "moorage_created"
LAUNCH_BY: Final = "moorage_launch_by"

SLACK: Final = 120.0
"""Seconds by which clocks of two gateways may differ, and that an engine may take to answer."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose something is: the gateway `instance`, the process `owner`, and its times in seconds since the epoch."""

    instance: str
    owner: str
    created: float
    launch_by: float

    def labels(self) -> dict[str, str]:
        """The lease as labels."""
        return {
            INSTANCE: self.instance,
            OWNER: self.owner,
            CREATED: str(int(self.created)),
            LAUNCH_BY: str(int(self.launch_by)),
        }

    @classmethod
    def read(cls, labels: Mapping[str, object]) -> Lease | None:
        """The lease that `labels` hold; None if they hold none that can be understood."""
        try:
            return cls(
                str(labels[INSTANCE]), str(labels[OWNER]), float(str(labels[CREATED])), float(str(labels[LAUNCH_BY]))
            )
        except (KeyError, ValueError):
            return None

    def launch_is_over(self, now: float) -> bool:
        """Nobody can still be launching this, even if clocks differ a little."""
        return now > self.launch_by + SLACK


class Owner:
    """This process as an owner: a directory that vanishes with `release`, or is swept by the next owner.

    `directory` is readable by nobody else; what stands in it is removed with it.
    """

    def __init__(self, parent: Path) -> None:
        """Take a fresh directory below `parent`, and remove those of dead processes; raises `OSError`."""
        parent.mkdir(parents=True, exist_ok=True)
        parent.chmod(0o700)
        self._parent = parent
        self.token = secrets.token_hex(8)
        self.directory = parent / self.token
        self._path = parent / f"{self.token}.lock"
        with (parent / "sweep").open("w") as sweep:  # one at a time: a lock that is being taken looks like a dead one's
            fcntl.flock(sweep, fcntl.LOCK_EX)
            self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self.directory.mkdir(mode=0o700)
            for token in self._dead():
                shutil.rmtree(parent / token, ignore_errors=True)
                (parent / f"{token}.lock").unlink(missing_ok=True)

    def is_alive(self, token: str) -> bool:
        """Does the process that took `token`, on this machine and below the same parent, still run?"""
        return token == self.token or (token.isalnum() and self._is_held(token))

    def release(self) -> None:
        """Remove the directory and all in it.  Idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.directory, ignore_errors=True)
            self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def _dead(self) -> Iterator[str]:
        for path in tuple(self._parent.iterdir()):
            token = path.name.removesuffix(".lock")
            if path.name != "sweep" and token != self.token and not self._is_held(token):
                yield token

    def _is_held(self, token: str) -> bool:
        try:
            descriptor = os.open(self._parent / f"{token}.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
            return True
        finally:
            os.close(descriptor)
