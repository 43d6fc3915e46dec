"""A recording as messages, in order, in flat memory, with whatever is wrong with it and where.

Versions 1 and 2 of the format, closed or still growing, cut or damaged.  After damage inside the messages
reading goes on at the next message that can be found; after damage of the compressed bytes it ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from moorage.audit.cbor import BREAK, Incomplete, Malformed, Pairs, is_end, item
from moorage.audit.kinds import BY_NUMBER, Field, Kind

MAGIC: Final = b"ContainerSSH-Auditlog".ljust(32, b"\0")
HEADER: Final = 40
NEWEST: Final = 2

LARGEST_MESSAGE: Final = 20 * 1024 * 1024
"""Unpacked bytes of one message; those that servers write have some 32 KiB."""

_PIECE: Final = 1024 * 1024
"""Unpacked bytes that are looked at in one go."""

_SIGN: Final = b"\x6cconnectionId"
"""How the first key of a message is written: where reading goes on after damage."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message.  Texts that were no UTF-8 hold lone surrogates."""

    connection_id: str
    timestamp: int
    """Nanoseconds since the epoch."""
    number: int
    """The kind's number, which `kinds` may not know."""
    payload: dict[str, Any]
    """Every field of its kind; of a kind that is not known, what is there."""
    channel: int | None
    offset: int
    """Where it begins in the unpacked recording."""
    extra: dict[str, Any]
    """What is there and is no field of the kind."""

    @property
    def kind(self) -> Kind | None:
        """What kind it is; None if it is not known."""
        return BY_NUMBER.get(self.number)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong with the recording.

    `offset` counts unpacked bytes, or bytes of the file where `is_packed`.
    """

    text: str
    offset: int
    is_packed: bool = False
    is_cut: bool = False
    """The recording ends in the middle of something: it is being written, or its writer was killed."""

    def __str__(self) -> str:
        return f"at {'byte' if self.is_packed else 'unpacked byte'} {self.offset}: {self.text}"


Found = Message | Trouble


def read(pieces: Iterable[bytes], raw: Callable[[bytes], None] | None = None) -> Iterator[Found]:
    """What stands in a file, also an asciicast, that comes as `pieces`.  Never raises for what they hold.

    `raw` is told the bytes of each message before it is yielded.
    """
    source = iter(pieces)
    head = next(source, b"")
    if head[:1] == b"{":
        from moorage.audit.casts import read_cast

        yield from read_cast(chain([head], source))
        return
    for piece in source:
        if len(head) >= HEADER:
            source = chain([piece], source)
            break
        head += piece
    version = int.from_bytes(head[32:HEADER], "little")
    if not head:
        yield Trouble("the file is empty", 0, is_packed=True, is_cut=True)
    elif not head.startswith(MAGIC[: len(head)]):
        yield Trouble("this is no recording", 0, is_packed=True)
    elif len(head) < HEADER:
        yield Trouble("the header is cut", len(head), is_packed=True, is_cut=True)
    elif not 1 <= version <= NEWEST:
        yield Trouble(f"version {version} of the format is not known", 32, is_packed=True)
    else:
        inflated = _Inflated(head[HEADER:], source)
        is_empty = True
        for found in _Messages(inflated, is_array=version == 1, raw=raw).found():
            is_empty = False
            yield found
        if inflated.trouble is not None:
            yield inflated.trouble
        elif is_empty:
            yield Trouble("there is no message in it yet", HEADER, is_packed=True, is_cut=True)


class _Inflated:
    """The unpacked bytes, piece by piece; `trouble` tells why they end where that is not a clean end."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self.trouble: Trouble | None = None
        self.packed = 0
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        member = zlib.decompressobj(31)
        for packed in self._pieces():
            waiting = packed
            while waiting:
                before, saved = len(waiting), member.copy()
                try:
                    piece = member.decompress(waiting, _PIECE)
                except zlib.error as error:
                    yield from self._until_damage(saved, waiting)
                    what = f"the compressed bytes are damaged ({str(error).rpartition(': ')[2]})"
                    self.trouble = Trouble(what, HEADER + self.packed, is_packed=True)
                    return
                waiting = member.unused_data if member.eof else member.unconsumed_tail
                self.packed += before - len(waiting)
                if piece:
                    yield piece
                if member.eof:
                    member = zlib.decompressobj(31)
        # A recording is never closed: an end without a trailer is how it should be.

    def _until_damage(self, member: Any, waiting: bytes) -> Iterator[bytes]:
        """What can be unpacked of `waiting`, of which the library gives nothing when something in it is damaged."""
        for step in (4096, 64, 1):
            while waiting:
                saved = member.copy()
                try:
                    piece = member.decompress(waiting[:step])
                except zlib.error:
                    member = saved
                    break
                self.packed += len(waiting[:step])
                waiting = waiting[step:]
                if piece:
                    yield piece

    def _pieces(self) -> Iterator[bytes]:
        yield self._first
        yield from self._rest


class _Messages:
    """Messages out of unpacked bytes."""

    def __init__(self, pieces: Iterable[bytes], *, is_array: bool, raw: Callable[[bytes], None] | None) -> None:
        self._raw = raw
        self._pieces = iter(pieces)
        self._is_array = is_array
        self._buffer = b""
        self._base = 0
        """The offset of the buffer's first byte."""
        self._at = 0

    def found(self) -> Iterator[Found]:
        if self._is_array and self._have(1):
            if self._buffer[0] == 0x9F:
                self._at = 1
            else:
                yield Trouble("the array of messages does not begin", 0)
        while True:
            if not self._have(1):
                if self._is_array and self._base + self._at:
                    yield Trouble("the array of messages does not end", self._base + self._at, is_cut=True)
                return
            if self._is_array and self._buffer[self._at] == BREAK:
                return
            start = self._base + self._at
            try:
                value, end = item(self._buffer, self._at)
                message = _message(value, start)
            except Incomplete as wanted:
                missing = wanted.size - self._at
                if missing <= LARGEST_MESSAGE and self._have(missing):
                    continue
                is_cut = missing <= LARGEST_MESSAGE
                found = self._resume()
                text = "a message is damaged" if found or not is_cut else "the last message is cut"
                yield Trouble(text, start, is_cut=is_cut and not found)
                if not found:
                    return
            except Malformed as error:
                yield Trouble(f"this is no message: {error}", start)
                if not self._resume():
                    return
            else:
                if self._raw is not None:
                    self._raw(self._buffer[self._at : end])
                self._at = end
                yield message

    def _have(self, size: int) -> bool:
        """Have at least `size` bytes from here on in the buffer; False if there are no more."""
        while len(self._buffer) - self._at < size:
            piece = next(self._pieces, b"")
            if not piece:
                return False
            self._base += self._at
            self._buffer = self._buffer[self._at :] + piece
            self._at = 0
        return True

    def _resume(self) -> bool:
        """Go to the next message that can be found; False if there is none."""
        first = self._base + self._at + 2  # not the same message again
        while True:
            sign = self._buffer.find(_SIGN, max(first - self._base, self._at))
            if sign >= 1:
                self._at = sign - 1
                return True
            self._at = max(self._at, len(self._buffer) - len(_SIGN) - 1)
            if not self._have(len(self._buffer) - self._at + 1):
                return False


_KEYS: Final = {name.lower(): name for name in ("connectionId", "timestamp", "type", "payload", "channelId")}
_LARGEST: Final = {"timestamp": 1 << 63, "type": 1 << 31, "channelId": 1 << 64}


def _message(value: object, offset: int) -> Message:
    """The message that a map is.  Raises `Malformed` if it cannot be one."""
    if not isinstance(value, Pairs):
        raise Malformed("the end of the array" if is_end(value) else "it is no map", offset)
    found: dict[str, Any] = {}
    for key, part in value:
        name = _KEYS.get(key.lower()) if isinstance(key, str) else None
        if name is not None:
            found.setdefault(name, part)
    number = _number(found.get("type", 0), "type", offset)
    payload, extra = _payload(BY_NUMBER.get(number), found.get("payload"), offset)
    connection = found.get("connectionId", "")
    if not isinstance(connection, str):
        raise Malformed("its connectionId is no text", offset)
    channel = found.get("channelId")
    return Message(
        connection,
        _number(found.get("timestamp", 0), "timestamp", offset),
        number,
        payload,
        None if channel is None else _number(channel, "channelId", offset),
        offset,
        extra,
    )


def _number(value: object, name: str, offset: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 < value < _LARGEST[name]:
        raise Malformed(f"its {name} is no number that it can be", offset)
    return value


def _payload(kind: Kind | None, value: object, offset: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `kind` in their order, and what else there is."""
    given: dict[str, Any] = {}
    if isinstance(value, Pairs):
        for key, part in value:
            if not isinstance(key, str):
                raise Malformed("its payload has a key that is no text", offset)
            given[key] = part
    elif value is not None:
        raise Malformed("its payload is no map", offset)
    if kind is None:
        return given, {}
    lowered = {key.lower(): key for key in given}
    fields: dict[str, Any] = {}
    for name, field in kind.fields.items():
        key = lowered.get(name.lower())
        if key is None and kind.id == "io" and name == "data":
            key = lowered.get("testdata")  # so called by snapshots between 0.4 and 0.5
        fields[name] = _field(field, given.pop(key) if key is not None else None, name, offset)
    return fields, given


def _field(field: Field, value: object, name: str, offset: int) -> Any:
    match field:
        case Field.TEXT if value is None or isinstance(value, str):
            return value or ""
        case Field.BYTES if value is None or isinstance(value, bytes):
            return value
        case Field.BYTES if isinstance(value, list) and all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return bytes(value)
        case Field.NUMBER | Field.NUMBER32:
            if value is None:
                return 0
            if isinstance(value, float) and abs(value) < 1 << 53:
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
                return value & 0xFFFFFFFF if field is Field.NUMBER32 else value
        case Field.FLAG if value is None or isinstance(value, bool):
            return bool(value)
        case Field.QUESTIONS | Field.ANSWERS:
            if value is None:
                return None
            if isinstance(value, list):
                return [_part(field, one, name, offset) for one in value]
        case _:
            pass
    raise Malformed(f"its field {name} has another type than it should", offset)


def _part(field: Field, value: object, name: str, offset: int) -> dict[str, Any]:
    if not isinstance(value, Pairs):
        raise Malformed(f"its field {name} has another type than it should", offset)
    given = {str(key).lower(): part for key, part in value}
    second, kind = ("echo", Field.FLAG) if field is Field.QUESTIONS else ("answer", Field.TEXT)
    return {
        "question": _field(Field.TEXT, given.get("question"), name, offset),
        second: _field(kind, given.get(second), name, offset),
    }
