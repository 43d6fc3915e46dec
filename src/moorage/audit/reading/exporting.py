"""Recordings in other formats: asciicast for players and web pages, and plain text."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator

from moorage.audit.asciicast import header
from moorage.audit.kinds import STDERR, STDOUT
from moorage.audit.reading.words import decoded, plain
from moorage.audit.recording import Message


def channel_of(messages: Iterable[Message]) -> int | None:
    """The channel that is worth watching: the first with a terminal that runs a program, else the first with output."""
    terminals: set[int | None] = set()
    first: int | None = None
    for message in messages:
        if message.number == 404:
            terminals.add(message.channel)
        elif message.number in {403, 405, 407} and message.channel in terminals:
            return message.channel
        elif message.number == 500 and message.payload["stream"] in {STDOUT, STDERR} and first is None:
            first = message.channel
    return first


def asciicast(messages: Iterable[Message], channel: int | None) -> Iterator[str]:
    """The lines of an asciicast, version 2, of one channel: output and sizes, in seconds since its first request."""
    started, width, height, command = 0, 80, 24, ""
    env: dict[str, str] = {}
    has_header = False
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = 0.0
    for message in messages:
        if message.channel != channel:
            continue
        payload = message.payload
        started = started or message.timestamp
        last = max(last, round((message.timestamp - started) / 1e9, 6))
        match message.number:
            case 402 if not has_header:
                env[payload["name"]] = payload["value"]
            case 404 if not has_header:
                width, height, env["TERM"] = payload["columns"] or 80, payload["rows"] or 24, payload["term"]
            case 403 | 405 | 407:
                command = payload.get("program") or payload.get("subsystem") or ""
            case 408 if has_header:
                yield json.dumps([last, "r", f"{payload['columns']}x{payload['rows']}"]) + "\n"
            case 500 if payload["stream"] in {STDOUT, STDERR}:
                if not has_header:
                    has_header = True
                    yield header(
                        width=width, height=height, timestamp=started // 1_000_000_000, command=command, env=env
                    )
                if shown := decoder.decode(payload["data"] or b""):
                    yield json.dumps([last, "o", shown], ensure_ascii=False) + "\n"
            case _:
                pass
    if not has_header:
        yield header(width=width, height=height, timestamp=started // 1_000_000_000, command=command, env=env)


def text(messages: Iterable[Message], channel: int | None) -> Iterator[str]:
    """What one channel has shown, without colours and cursor movements."""
    for message in messages:
        if message.number == 500 and message.channel == channel and message.payload["stream"] in {STDOUT, STDERR}:
            shown = decoded(plain(message.payload["data"] or b"")).replace("\r\n", "\n")
            yield "".join(one if one.isprintable() or one in "\n\t" else "" for one in shown)
