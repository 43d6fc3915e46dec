"""Structured logs: one line per message, with a stable code and the reference's field names.

Every room logs by ``structlog.get_logger()``; `configure` decides once where lines go.
A JSON line holds ``timestamp`` (RFC 3339), ``level``, ``code``, ``message`` and
``details``.  Values whose names say that they are secret are masked, whatever their type.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from moorage.codes import Code

LEVELS: Final[Mapping[str, int]] = {
    "debug": 10,
    "info": 20,
    "notice": 25,
    "warning": 30,
    "error": 40,
    "crit": 50,
    "alert": 50,
    "emerg": 50,
}
"""The reference's level names and the standard library's thresholds that they stand for."""

_SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "authorization", "cookie", "privatekey", "private_key")
_LONGEST_VALUE: Final = 4096
"""Characters of one value that are written; hostile peers choose some of them."""


class Target(Protocol):
    """Where lines go; it also has a method for each severity, by the names of the standard library."""

    @property
    def is_enveloped(self) -> bool:
        """True if it adds the time and the level itself."""

    def reopen(self) -> None:
        """Begin anew, after a rotation; raises `OSError` and stays as it was if that fails."""

    def close(self) -> None:
        """Bring out what was written, within bounds, and let go; what is written later is lost.  Idempotent."""


class Destination:
    """A target that is a stream (by default standard output), or a file.

    `reopen` opens a file anew after it was rotated away.
    """

    is_enveloped = False

    def __init__(self, path: Path | None = None, *, stream: TextIO | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stream: TextIO = stream or sys.stdout
        if path is not None:
            self._stream = path.open("a", encoding="utf-8", buffering=1)

    def write(self, line: str) -> None:
        """Write one line; a destination that is gone (a closed pipe, a full disk) loses it silently."""
        line = line.encode("utf-8", "backslashreplace").decode()  # half a character must not cost the line
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass

    def reopen(self) -> None:
        """Close and open the file again; raises `OSError` and keeps the old one if that fails."""
        if self._path is None:
            return
        stream = self._path.open("a", encoding="utf-8", buffering=1)
        with self._lock:
            old, self._stream = self._stream, stream
        old.close()

    def close(self) -> None:
        """Close the file; what is written later is lost.  A stream that was given stays open."""
        if self._path is not None:
            self._stream.close()

    msg = debug = info = warning = warn = error = critical = fatal = exception = log = failure = write


_destination: Target | None = None


def configure(*, level: str = "notice", format: str = "ljson", destination: Target | None = None) -> None:  # noqa: A002
    """Send all logs of the process to `destination` from `level` up.

    `format` is ``ljson`` or ``text``.  May be called again: without a `destination` the one in use stays, its
    file opened anew; where that fails the old one is kept and the failure logged.
    """
    global _destination  # noqa: PLW0603 - a process has one log
    failure = ""
    if destination is not None:
        _destination = destination
    elif _destination is None:
        _destination = Destination()
    else:
        try:
            _destination.reopen()
        except OSError as error:
            failure = str(error)
    threshold, target = LEVELS[level], _destination
    renderers = {
        ("ljson", False): _json_line,
        ("ljson", True): _json_body,
        ("text", False): _text_line,
        ("text", True): _text_body,
    }
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            _masked,
            renderers[format, target.is_enveloped],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(30 if threshold == 25 else threshold),
        logger_factory=lambda *_: target,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Foreign()]
    root.setLevel(logging.DEBUG if threshold <= 10 else logging.WARNING)
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    if failure:
        structlog.get_logger().error(f"The log file could not be reopened: {failure}", code=Code.LOG_ROTATE_FAILED)


class _Foreign(logging.Handler):
    """Takes what libraries log by the standard library and gives it the shape of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            min(50, max(10, record.levelno // 10 * 10)),
            record.getMessage(),
            module=record.name,
            exc_info=record.exc_info,
        )


def _masked(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: _safe(key, value) for key, value in event.items()}


def _safe(key: str, value: Any) -> Any:
    name = key.lower()
    if any(word in name for word in _SECRET_WORDS):
        return "***" if value else ""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _split(method: str, event: EventDict) -> tuple[str, str, str, str, dict[str, Any]]:
    details = dict(event)
    message = details.pop("event", "")
    code = details.pop("code", Code.UNKNOWN_ERROR)
    if (trace := details.pop("exception", None)) is not None:
        details["exception"] = trace
    details.pop("exc_info", None)
    level = {"critical": "crit", "exception": "error", "warn": "warning"}.get(method, method)
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return stamp, level, str(code), str(message), details


def _json_line(_: WrappedLogger, method: str, event: EventDict) -> str:
    stamp, level, code, message, details = _split(method, event)
    return json.dumps(
        {"timestamp": stamp, "level": level, "code": code, "message": message, "details": details},
        ensure_ascii=False,
        default=str,
    )


def _json_body(_: WrappedLogger, method: str, event: EventDict) -> str:
    """A line for a target that adds the time and the level."""
    _stamp, _level, code, message, details = _split(method, event)
    return json.dumps({"code": code, "message": message, "details": details}, ensure_ascii=False, default=str)


def _text_line(_: WrappedLogger, method: str, event: EventDict) -> str:
    stamp, level, code, message, details = _split(method, event)
    trace = details.pop("exception", None)
    line = f"{stamp} {level:7} {_said(code, message, details)}"
    return f"{line}\n{trace}" if trace else line


def _text_body(_: WrappedLogger, method: str, event: EventDict) -> str:
    """One line, whatever it tells, for a target that adds the time and the level."""
    _stamp, _level, code, message, details = _split(method, event)
    return _said(code, message, details)


def _said(code: str, message: str, details: Mapping[str, Any]) -> str:
    tail = " ".join(f"{key}={_quoted(value)}" for key, value in details.items())
    return f"{code} {_one_line(message)}" + (f"  {tail}" if tail else "")


def _quoted(value: Any) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text


def _one_line(text: str) -> str:
    """`text` with its control characters made visible: no peer may forge a line or drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
