"""Reads a recording that is made as it is read, and says how much memory that took: ``hostile KIND MEGABYTES``."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.audit.codec import Entry, Packer, encode
from moorage.audit.reading.searching import hits
from moorage.audit.reading.summary import summary
from moorage.audit.recording import Message, read

_ID: Final = "5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e"
_BATCH: Final = 256 * 1024


def _said(channel: int, data: bytes) -> bytes:
    return encode(_ID, Entry(500, 1, {"stream": 1, "data": data}, channel))


def _terminal() -> Iterator[bytes]:
    """Sequences without an end, on ever new channels, and lines that never end."""
    channel = 0
    while True:
        yield _said(channel, b"\x1b]0;" + b"A" * 16000 + b"\x1b[" * 50)
        yield _said(0, b"x" * 16000)
        channel += 1


def _garbage() -> Iterator[bytes]:
    """Nothing that is a message, with what looks as if one began."""
    chance = random.Random(7)
    while True:
        yield chance.randbytes(60_000) + b"\xa5\x6cconnectionId" + chance.randbytes(4000)


def _zeros() -> Iterator[bytes]:
    """What gets small: a few MB of file are a GB."""
    while True:
        yield bytes(65536)


def _small() -> Iterator[bytes]:
    """Very many messages, of every user and with every name."""
    number = 0
    while True:
        number += 1
        yield encode(_ID, Entry(100, number, {"username": f"user{number}", "password": b"p" * 200}))
        yield encode(_ID, Entry(403, number, {"requestId": number, "program": f"run {number}"}, number))


def _claims() -> Iterator[bytes]:
    """Messages of which each says that 16 MB of it follow, and of which none do."""
    while True:
        yield b"\xa5\x6cconnectionId\x61x\x67payload\xa1\x64data\x5a" + (16_000_000).to_bytes(4, "big") + bytes(8192)


KINDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "terminal": _terminal,
    "garbage": _garbage,
    "zeros": _zeros,
    "small": _small,
    "claims": _claims,
}


@dataclass(frozen=True)
class Hostile:
    """A source of so many unpacked bytes."""

    kind: str
    wanted: int
    name: str = "hostile"
    place: str = "hostile"
    size: int = 0
    is_open: bool = False

    def pieces(self) -> Iterator[bytes]:
        packer, left = Packer(), self.wanted
        yield packer.begin() + packer.pack([encode(_ID, Entry(0, 1, {"remoteAddr": "192.0.2.7", "country": "XX"}))])
        made = KINDS[self.kind]()
        while left > 0:
            batch, size = [], 0
            while size < _BATCH:
                batch.append(next(made))
                size += len(batch[-1])
            left -= size
            yield packer.pack(batch)


def main(kind: str, megabytes: int) -> None:
    source = Hostile(kind, megabytes * 1_000_000)
    found = summary(source)
    assert found.messages
    messages = (one for one in read(source.pieces()) if isinstance(one, Message))
    assert not any(hits(messages, re.compile("is not in it")))
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"{int(peak) // 1024}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
