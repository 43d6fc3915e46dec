"""What recordings tell of files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from moorage.audit.recording import Message
from moorage.audit.transfers import FILE

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final[dict[str, type]] = {
    "operation": str,
    "path": str,
    "result": str,
    "target": str,
    "mode": str,
    "sha256": str,
    "size": int,
    "kept": bool,
}


def facts(messages: Iterable[Message]) -> Iterator[tuple[int, dict[str, Any]]]:
    """When something was done with a file, and what; fields that are not as they should be are left out."""
    for message in messages:
        if message.number != 400 or message.payload["requestType"] != FILE:
            continue
        try:
            found = json.loads(message.payload["payload"] or b"")
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            kept = {name: found[name] for name, kind in _KINDS.items() if isinstance(found.get(name), kind)}
            yield message.timestamp, {"operation": "unknown", "path": "", "result": "", **kept}


def extracted(fact: dict[str, Any], kept: Path, directory: Path) -> Path:
    """A copy of what was kept of a file, under a name that cannot lead anywhere else.  Raises `OSError`."""
    digest = str(fact.get("sha256", ""))
    if not _DIGEST.fullmatch(digest):
        raise FileNotFoundError("nothing was kept")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", str(fact["path"]).rpartition("/")[2])[-64:].lstrip(".")
    directory.mkdir(parents=True, exist_ok=True)
    copy = directory / f"{digest[:16]}-{name or 'file'}"
    shutil.copyfile(kept / digest, copy)
    return copy
