"""Asciicasts, versions 2 and 3, as the messages of a recording: what was shown and typed, on channel 0.

Hostile files are read in flat memory; a line that is none is passed over, and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from moorage.audit.kinds import STDIN, STDOUT
from moorage.audit.recording import Found, Message, Trouble

LONGEST_LINE: Final = 16 * 1024 * 1024
_LATEST: Final = 1e11
"""Seconds that a moment can be at most."""

_MOST_TROUBLES: Final = 100
_CHANNEL: Final = 0
_STREAMS: Final = {"o": STDOUT, "i": STDIN}


class _NoEvent(ValueError):
    """A line that says nothing that can be understood."""


def read_cast(pieces: Iterable[bytes]) -> Iterator[Found]:
    """What stands in an asciicast.  Never raises for what it holds."""
    cast = _Cast()
    troubles = 0
    for offset, line in _lines(pieces):
        try:
            if line is None:
                raise _NoEvent("a line that is too long")
            yield from cast.of(line, offset)
        except _NoEvent as error:
            troubles += 1
            is_fatal = not cast.version
            if is_fatal or troubles <= _MOST_TROUBLES:
                yield Trouble(f"this is no event: {error}" if not is_fatal else str(error), offset, is_packed=True)
            if is_fatal:
                return


def _lines(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lines that hold something, and where they begin; None for one that is too long."""
    held: list[bytes] = []
    size = at = 0
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for part in whole:
            size += len(part)
            line = b"".join([*held, part]) if size <= LONGEST_LINE else None
            if line is None or line.strip():
                yield at, line
            at += size + 1
            held, size = [], 0
        size += len(rest)
        if size <= LONGEST_LINE:
            held.append(rest)
        else:
            held = []
    if size:
        yield at, b"".join(held) if size <= LONGEST_LINE else None


class _Cast:
    """One file."""

    def __init__(self) -> None:
        self.version = 0
        self._started = 0
        self._at = 0.0

    def of(self, line: bytes, offset: int) -> Iterator[Message]:
        if line.startswith(b"#") and self.version:  # a comment
            return
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _NoEvent("a line that is no JSON") from error
        if not self.version:
            yield from self._header(value, offset)
        else:
            yield from self._event(value, offset)

    def _message(self, number: int, payload: dict[str, Any], offset: int) -> Message:
        at = self._started + round(self._at * 1e6) * 1000
        return Message("", at, number, payload, _CHANNEL, offset, {})

    def _header(self, head: Any, offset: int) -> Iterator[Message]:
        version = head.get("version") if isinstance(head, dict) else None
        if version not in {2, 3} or isinstance(version, bool):
            raise _NoEvent("this is no asciicast of version 2 or 3")
        term = head.get("term") if version == 3 else None
        term = term if isinstance(term, dict) else {}
        env = head.get("env")
        env = env if isinstance(env, dict) else {}
        self.version = version
        self._started = _whole(head.get("timestamp"), 1 << 33) * 1_000_000_000
        size = {"columns": _whole(term.get("cols") or head.get("width")), "width": 0, "height": 0}
        size["rows"] = _whole(term.get("rows") or head.get("height"))
        name = _text(term.get("type") or env.get("TERM"))
        for key, setting in list(env.items())[:100]:
            yield self._message(402, {"requestId": 0, "name": key, "value": _text(setting)}, offset)
        yield self._message(404, {"requestId": 0, "term": name, **size, "modelist": b""}, offset)
        if command := _text(head.get("command")):
            yield self._message(403, {"requestId": 0, "program": command}, offset)
        else:
            yield self._message(405, {"requestId": 0}, offset)

    def _event(self, event: Any, offset: int) -> Iterator[Message]:
        match event:
            case [int() | float() as at, str(code), str(data)] if not isinstance(at, bool) and 0 <= at < _LATEST:
                self._at = min(self._at + at, _LATEST) if self.version == 3 else float(at)
            case _:
                raise _NoEvent("it is not [TIME, CODE, TEXT]")
        if code in _STREAMS:
            payload = {"stream": _STREAMS[code], "data": data.encode("utf-8", "replace")}
            yield self._message(500, payload, offset)
        elif code == "r":
            columns, _, rows = data.partition("x")
            size = {"columns": _whole(columns), "rows": _whole(rows), "width": 0, "height": 0}
            yield self._message(408, {"requestId": 0, **size}, offset)
        elif code == "x":
            yield self._message(499, {"exitStatus": _whole(data)}, offset)


def _whole(value: object, below: int = 1 << 16) -> int:
    """A whole number; 0 for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and 0 <= value < below:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
