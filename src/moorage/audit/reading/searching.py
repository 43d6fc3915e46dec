"""Searches a recording: lines that were typed or shown, programs, files, names, targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from moorage.audit.reading.summary import Lines
from moorage.audit.reading.words import decoded, plain
from moorage.audit.recording import Message

_STREAMS: Final = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was looked for: the message (of a line: its last), where in it, and the line or value."""

    message: Message
    where: str
    text: str


def hits(messages: Iterable[Message], expression: re.Pattern[str]) -> Iterator[Hit]:
    """Where `expression` is found, in order.  Keys of clients and terminal modes are not looked at."""
    lines = Lines()
    for message in messages:
        if message.number == 500:
            yield from _of_lines(lines.of(message), expression)
        else:
            yield from _values(message, expression)
    yield from _of_lines(lines.rest(), expression)


def _of_lines(lines: Iterable[tuple[Message, int, str]], expression: re.Pattern[str]) -> Iterator[Hit]:
    for message, stream, line in lines:
        shown = decoded(plain(line.encode("utf-8", "surrogateescape")))
        if expression.search(shown):
            yield Hit(message, _STREAMS[stream] if stream < len(_STREAMS) else f"stream {stream}", shown)


def _values(message: Message, expression: re.Pattern[str]) -> Iterator[Hit]:
    for name, value in {**message.payload, **message.extra}.items():
        if isinstance(value, str) and name != "key" and expression.search(value):
            yield Hit(message, f"{message.kind.id if message.kind else message.number} {name}", value)
