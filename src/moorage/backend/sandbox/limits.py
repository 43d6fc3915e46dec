"""Limits on a guest: a control group where we may make one, and a user id of its own where we are root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OLD: Final = 60.0
"""Seconds from the making of a control group within which its guest is in it."""

_FIRST_UID: Final = 2_000_000_000
_UIDS: Final = 60_000
"""Host user ids for guests, far from any account: no two guests share one, so no limit or signal crosses over."""


class UserIds:
    """Hands out host user ids, each to one guest at a time."""

    def __init__(self) -> None:
        self._next = secrets.randbelow(_UIDS)
        self._taken: set[int] = set()

    def take(self) -> int:
        """A user id that no other guest of ours has.  Raises `OSError` when there are none left."""
        for _ in range(_UIDS):
            uid = _FIRST_UID + self._next
            self._next = (self._next + 1) % _UIDS
            if uid not in self._taken:
                self._taken.add(uid)
                return uid
        raise OSError("all user ids for guests are taken")

    def give_back(self, uid: int) -> None:
        """`uid` may be handed out again."""
        self._taken.discard(uid)


class ControlGroup:
    """A control group for one guest, version 1 or 2; empty where the host lets us make none."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    @classmethod
    def make(cls, name: str, *, processes: int, memory_bytes: int) -> ControlGroup:
        """A group that holds at most `processes` processes and `memory_bytes` of memory."""
        wanted = (
            [("pids", "pids.max", processes), ("memory", "memory.limit_in_bytes", memory_bytes)]
            if (_ROOT / "pids").is_dir()
            else [("", "pids.max", processes), ("", "memory.max", memory_bytes)]
        )
        paths: list[Path] = []
        for controller, file, value in wanted:
            path = _ROOT / controller / "moorage" / name
            try:
                if controller == "" and not paths:
                    path.parent.mkdir(exist_ok=True)
                    (path.parent / "cgroup.subtree_control").write_text("+pids +memory")
                path.mkdir(parents=True, exist_ok=True)
                (path / file).write_text(str(value))
            except OSError:
                continue
            if path not in paths:
                paths.append(path)
        return cls(paths)

    @property
    def entries(self) -> list[str]:
        """The files into which a process writes its id to join."""
        return [str(path / "cgroup.procs") for path in self._paths]

    async def remove(self) -> None:
        """Remove the group once its processes are gone; gives up after two seconds."""
        for path in self._paths:
            for _ in range(100):
                try:
                    path.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    await asyncio.sleep(0.02)  # the kernel has no event for "the last task is gone"
                else:
                    break


def confined(arguments: Sequence[str], *, uid: int | None, group: ControlGroup) -> list[str]:
    """`arguments` behind a prefix that joins the control group and becomes `uid` before they run."""
    prefix: list[str] = []
    if group.entries:
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'
        prefix += ["/bin/sh", "-c", script, "sh", str(len(group.entries)), *group.entries]
    if uid is not None:
        prefix += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--"]
    return [*prefix, *arguments]


def is_root() -> bool:
    """Do we run as root of the host?"""
    return os.geteuid() == 0


def sweep(instance: str) -> None:
    """Remove the control groups that killed servers left behind: all of `instance`, those of others once they are old.

    Only groups that nothing runs in can be removed; one that is being put to use is never old.
    """
    long_ago = time.time() - _OLD
    for base in (_ROOT / "pids" / "moorage", _ROOT / "memory" / "moorage", _ROOT / "moorage"):
        for path in base.glob("*/"):
            with contextlib.suppress(OSError):
                if path.name.startswith(f"{instance}-") or path.stat().st_mtime < long_ago:
                    path.rmdir()
