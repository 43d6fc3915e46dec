"""Messages as bytes, in version 2 of ContainerSSH's format.

A file is a header of 40 bytes and a gzip stream that is flushed after each message and never closed, so that it
can be read while it grows and after a crash.  Inside stand CBOR maps (RFC 8949), one after another, their
keys in a fixed order.  `moorage.audit.recording` reads it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from isal import isal_zlib

from moorage.audit.kinds import BY_NUMBER
from moorage.audit.recording import MAGIC

VERSION: Final = 2
HEADER: Final = MAGIC + VERSION.to_bytes(8, "little")
_GZIP: Final = bytes.fromhex("1f8b08000000000000ff")

LEVEL: Final = 1
"""Of compression, from 0 to 3: recording must keep up with a terminal that is flooded."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to be written: its kind's number, the payload's fields in any order, and what else the payload holds.

    Fields that are missing are empty; `extra` comes after them, and readers that do not know it pass it over.
    """

    number: int
    timestamp: int
    """Nanoseconds since the epoch."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    channel: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = True
    """False for bytes that are listened to and not recorded."""


def encode(connection_id: str, entry: Entry) -> bytes:
    """The CBOR of one message.  Texts that are no UTF-8 get U+FFFD where they are not."""
    kind = BY_NUMBER[entry.number]
    payload: dict[str, Any] | None = None
    if kind.has_payload:
        payload = {name: entry.payload.get(name, one.nothing) for name, one in kind.fields.items()}
    if entry.extra:
        payload = {**(payload or {}), **entry.extra}
    message = {
        "connectionId": connection_id,
        "timestamp": entry.timestamp,
        "type": entry.number,
        "payload": payload,
        "channelId": entry.channel,
    }
    try:
        return cbor2.dumps(message)
    except UnicodeEncodeError:
        return cbor2.dumps(_repaired(message))


def _repaired(value: Any) -> Any:
    """`value` with texts that can be written: lone surrogates stand for bytes that were no UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {key: _repaired(part) for key, part in value.items()}
        case list():
            return [_repaired(part) for part in value]
    return value


class Packer:
    """Makes the bytes of one file: `begin`, then `pack` again and again.

    Large messages that do not get smaller are stored as they are, so that a flood of such bytes costs a copy
    and no compression.
    """

    def __init__(self, *, level: int = LEVEL) -> None:
        self._deflate = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
        self._dense_left = 0
        self._has_window = True
        """Something was compressed since the last full flush."""

    def begin(self) -> bytes:
        """What stands before the first message."""
        return HEADER + _GZIP

    def pack(self, messages: Iterable[bytes]) -> bytes:
        """`messages`, compressed; whoever has these bytes can read all of them.

        Few calls with much to do each: a thread gives way to others at each call that is worth it.
        """
        parts: list[bytes] = []
        thin: list[bytes] = []
        for message in messages:
            if len(message) >= _LARGE and self._is_dense(message):
                if thin or self._has_window:
                    # Nothing after a full flush refers to what stands before it, so that bytes may be put in between.
                    parts += [self._deflate.compress(b"".join(thin)), self._deflate.flush(isal_zlib.Z_FULL_FLUSH)]
                    thin, self._has_window = [], False
                parts.extend(stored(message))
            else:
                thin.append(message)
        if thin:
            self._has_window = True
            parts += [self._deflate.compress(b"".join(thin)), self._deflate.flush(isal_zlib.Z_SYNC_FLUSH)]
        return b"".join(parts)

    def _is_dense(self, message: bytes) -> bool:
        """Would `message` stay as large as it is?  What was found of one is believed of the next few."""
        if self._dense_left:
            self._dense_left -= 1
            return True
        if _is_dense(message):
            self._dense_left = _BELIEVED
            return True
        return False


_LARGE: Final = 8192
_BELIEVED: Final = 7
_SAMPLE: Final = 1024
_STORED: Final = 0xFFFF
"""The most bytes of one stored block (RFC 1951 §3.2.4)."""


def _is_dense(message: bytes) -> bool:
    middle = len(message) // 2
    sample = message[middle : middle + _SAMPLE]
    return len(isal_zlib.compress(sample, LEVEL)) > len(sample) * 0.7


def stored(data: bytes) -> Iterator[bytes]:
    """`data` as blocks that are not compressed, which may stand between any two others."""
    for at in range(0, len(data), _STORED):
        block = data[at : at + _STORED]
        yield b"\0" + len(block).to_bytes(2, "little") + (len(block) ^ _STORED).to_bytes(2, "little")
        yield block
