"""Recordings and captured files do not stay for ever: what is too old goes, and the oldest where there is too much.

Only regular files with the name of a finished recording or a SHA-256 are looked at; what else is in a directory,
what is being written and what waits for its upload stays.  A file's age counts from its last change: a recording's
from its end, and a captured file's from the last upload of that content.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from moorage.codes import Code
from moorage.config.sections.audit import AuditConfig

EVERY: Final = 600.0
"""Seconds from one look to the next."""

_OURS: Final = re.compile(r"[0-9a-f]{32}(\.age)?|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class _Kept:
    """A file, the oldest first in order."""

    changed: float
    path: str
    size: int


class Retention:
    """The rules of ``audit.retention`` for some directories."""

    def __init__(
        self,
        directories: Sequence[Path],
        *,
        seconds: float,
        size: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """What is older than `seconds` goes, and what is beyond `size` bytes in a directory; 0 means no bound."""
        self._directories = directories
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._log = structlog.get_logger()

    def enforce(self) -> None:
        """Remove what is to go, and say so in the log.  Blocks; raises nothing."""
        for directory in self._directories:
            try:
                kept = sorted(_files(directory))
                expired = list(self._expired(kept))
                for one in expired:
                    Path(one.path).unlink(missing_ok=True)
            except OSError as error:
                text = "Old recordings cannot be removed"
                self._log.error(text, code=Code.AUDIT_STORAGE_FAILED, directory=str(directory), cause=str(error))
                continue
            if expired:
                self._log.info(
                    "Old recordings were removed",
                    code=Code.AUDIT_EXPIRED,
                    directory=str(directory),
                    count=len(expired),
                    bytes=sum(one.size for one in expired),
                )

    def _expired(self, kept: Sequence[_Kept]) -> Iterator[_Kept]:
        """Those of `kept`, which is in order of age, that are to go."""
        oldest = self._clock() - self._seconds if self._seconds else float("-inf")
        too_much = sum(one.size for one in kept) - self._size if self._size else 0
        for one in kept:
            if one.changed >= oldest and too_much <= 0:
                return
            too_much -= one.size
            yield one


def _files(directory: Path) -> Iterator[_Kept]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                yield _Kept(about.st_mtime, entry.path, about.st_size)


def retention(config: AuditConfig) -> Retention | None:
    """The rules that `config` asks for; None if everything is kept."""
    rules = config.retention
    if not (rules.age or rules.size):
        return None
    recordings = config.s3.keep if config.storage == "s3" else config.file.directory
    directories = [Path(one) for one in (recordings, config.capture.directory) if one]
    return Retention(directories, seconds=rules.age.total_seconds(), size=rules.size)
