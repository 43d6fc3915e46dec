"""Messages as lines for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from moorage.audit.kinds import STDIN, STDOUT
from moorage.audit.reading.words import decoded, jsonable, moment, safe, size
from moorage.audit.recording import Message

_STREAMS: Final = {STDIN: "<", STDOUT: ">"}
_SHOWN: Final = 512
"""Characters of one value that are shown."""

Paint = Callable[[str, str], str]
"""Gives a text a colour by its name, or leaves it as it is."""


def unpainted(text: str, colour: str) -> str:
    """No colour."""
    del colour
    return text


def as_text(message: Message, started: int, paint: Paint = unpainted) -> str:
    """One line: the time since the beginning, the channel, the kind, and what there is to say."""
    seconds = (message.timestamp - started) / 1e9
    channel = "" if message.channel is None else str(message.channel)
    kind = message.kind
    head = f"{seconds:10.3f} {channel:>3} "
    if message.number == 500:
        stream = message.payload["stream"]
        sign, colour = _STREAMS.get(stream, "!"), {STDIN: "green", STDOUT: "white"}.get(stream, "red")
        return f"{head}{sign} {paint(_cut(decoded(message.payload['data'] or b'')), colour)}"
    name = kind.id if kind is not None else f"type {message.number}"
    said = " ".join(
        f"{key}={_value(value)}" for key, value in {**message.payload, **message.extra}.items() if key != "requestId"
    )
    return f"{head}{paint(name, _colour(message.number))} {said}".rstrip()


def _colour(number: int) -> str:
    if number in {102, 103, 106, 107, 110, 111, 198, 302, 501}:
        return "red"
    return "cyan" if number >= 400 else "yellow"


def _value(value: object) -> str:
    match value:
        case bytes():
            text = decoded(value)
        case str():
            text = value
        case _:
            return safe(json.dumps(jsonable(value), ensure_ascii=False))
    shown = _cut(text)
    return f'"{shown}"' if not shown or " " in shown or "=" in shown else shown


def _cut(text: str) -> str:
    shown = safe(text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}… ({size(len(text.encode('utf-8', 'surrogateescape')))})"


def as_json(message: Message) -> str:
    """One JSON object with the time as people read it; bytes as text where they are."""
    kind = message.kind
    found = {
        "time": moment(message.timestamp),
        "timestamp": message.timestamp,
        "connectionId": jsonable(message.connection_id),
        "type": message.number,
        "kind": kind.id if kind is not None else f"type_{message.number}",
        "channel": message.channel,
        "payload": jsonable({**message.payload, **message.extra}),
    }
    return json.dumps(found, ensure_ascii=False)
