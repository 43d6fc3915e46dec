"""What is logged during a test."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import structlog

from moorage import log


@contextlib.contextmanager
def captured_log(level: str = "debug") -> Iterator[list[dict[str, Any]]]:
    """The lines that are really written at `level`, read back from the format that operators see."""
    written = io.StringIO()

    root = logging.getLogger()
    before = structlog.get_config(), list(root.handlers), root.level
    lines: list[dict[str, Any]] = []
    log.configure(level=level, destination=log.Destination(stream=written))
    try:
        yield lines
    finally:
        structlog.configure(**before[0])
        root.handlers[:] = before[1]
        root.setLevel(before[2])
        lines.extend(json.loads(line) for line in written.getvalue().splitlines())
