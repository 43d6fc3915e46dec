"""Frames of the agent protocol (docs/agent-protocol.md §1), encoded and decoded without any I/O.

What comes from a guest is hostile.  A frame is judged by its header, before a byte of its payload is
looked at: type, channel and length each have a bound in `FRAMES`.  Nothing is ever allocated by a length
that a guest has sent: payload of DATA and STDERR is handed on as it arrives, in whatever pieces, and the
short control frames are collected from the bytes that are really there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any, Final, NamedTuple, NoReturn

HELLO: Final = 0x01
PING: Final = 0x02
PONG: Final = 0x03
ERROR: Final = 0x04
OPEN: Final = 0x10
OPENED: Final = 0x11
REFUSED: Final = 0x12
DATA: Final = 0x20
STDERR: Final = 0x21
EOF: Final = 0x22
WINDOW: Final = 0x23
RESIZE: Final = 0x30
SIGNAL: Final = 0x31
EXIT: Final = 0x32
CLOSE: Final = 0x3F

MAX_PAYLOAD: Final = 262_144
"""The protocol's bound on any payload."""

MAX_DATA: Final = 65_536
"""What a sender puts into one DATA frame, so that channels take turns on the stream."""

MAX_WINDOW: Final = 16_777_216
"""The most credit that may stand open on a channel, and so the most that one WINDOW may give."""

_HEADER: Final = Struct(">BII")
HEADER_SIZE: Final = _HEADER.size


class ProtocolError(Exception):
    """The other side has broken the agent protocol; its stream must end."""


class FrameRule(NamedTuple):
    """What is allowed for one type of frame."""

    name: str
    of_stream: bool
    """On channel 0 only; all others on a channel's number only."""
    shortest: int
    longest: int


FRAMES: Final[Mapping[int, FrameRule]] = {
    HELLO: FrameRule("HELLO", True, 2, 4_096),
    PING: FrameRule("PING", True, 0, 64),
    PONG: FrameRule("PONG", True, 0, 64),
    ERROR: FrameRule("ERROR", True, 2, MAX_PAYLOAD),
    OPEN: FrameRule("OPEN", False, 2, MAX_PAYLOAD),
    OPENED: FrameRule("OPENED", False, 2, MAX_PAYLOAD),
    REFUSED: FrameRule("REFUSED", False, 2, MAX_PAYLOAD),
    DATA: FrameRule("DATA", False, 1, MAX_PAYLOAD),
    STDERR: FrameRule("STDERR", False, 1, MAX_PAYLOAD),
    EOF: FrameRule("EOF", False, 0, 0),
    WINDOW: FrameRule("WINDOW", False, 4, 4),
    RESIZE: FrameRule("RESIZE", False, 2, MAX_PAYLOAD),
    SIGNAL: FrameRule("SIGNAL", False, 2, MAX_PAYLOAD),
    EXIT: FrameRule("EXIT", False, 2, MAX_PAYLOAD),
    CLOSE: FrameRule("CLOSE", False, 0, 0),
}


class Frame(NamedTuple):
    """One frame, or a piece of a DATA or STDERR frame."""

    type: int
    channel: int
    payload: bytes


def header(kind: int, channel: int, length: int) -> bytes:
    """The nine bytes that stand before a payload of `length` bytes."""
    return _HEADER.pack(kind, channel, length)


def encode(kind: int, channel: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return _HEADER.pack(kind, channel, len(payload)) + payload


def encode_json(kind: int, channel: int, value: Mapping[str, Any]) -> bytes:
    """A whole frame with a JSON object as its payload; `ValueError` if it is longer than its type may be."""
    payload = json.dumps(value, separators=(",", ":")).encode()
    rule = FRAMES[kind]
    if len(payload) > rule.longest:
        raise ValueError(f"{rule.name} of {len(payload)} bytes: at most {rule.longest} are allowed")
    return encode(kind, channel, payload)


def encode_window(channel: int, credit: int) -> bytes:
    """A WINDOW frame: `credit` bytes more may be sent to us."""
    return _HEADER.pack(WINDOW, channel, 4) + credit.to_bytes(4, "big")


def decode_window(frame: Frame) -> int:
    """The credit that a WINDOW frame gives."""
    credit = int.from_bytes(frame.payload, "big")
    if credit > MAX_WINDOW:
        raise ProtocolError(f"{_where(frame.type, frame.channel)}: {credit} bytes, at most {MAX_WINDOW} are allowed")
    return credit


def decode_json(frame: Frame) -> dict[str, Any]:
    """The JSON object in `frame`: UTF-8, one object, no NaN, no member twice."""
    try:
        value = json.loads(frame.payload.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{_where(frame.type, frame.channel)}: not valid JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"{_where(frame.type, frame.channel)}: JSON, but not an object")
    return value


class Decoder:
    """Turns a stream of bytes, cut anywhere, into frames.

    An error is final: a decoder that has raised, or whose iteration was left early, is of no further use.
    """

    __slots__ = ("_collected", "_kind", "_left", "_number")

    def __init__(self) -> None:
        self._collected = bytearray()
        """An unfinished header or control payload: at most `MAX_PAYLOAD` bytes, all of them received."""
        self._kind = 0
        """The type of the frame whose payload is under way; 0 between frames."""
        self._number = 0
        self._left = 0

    @property
    def is_between_frames(self) -> bool:
        """Nothing of an unfinished frame is held."""
        return not self._kind and not self._collected

    def feed(self, chunk: bytes | memoryview) -> Iterator[Frame]:
        """The frames in `chunk`, and pieces of DATA and STDERR as far as they have come.

        The payloads are copies: `chunk` may be a view of a buffer that is used again.
        """
        view = memoryview(chunk)
        at, end = 0, len(view)
        while at < end:
            if not self._kind:
                collected = self._collected
                if not collected and end - at >= HEADER_SIZE:
                    kind, number, length = _HEADER.unpack_from(view, at)
                    at += HEADER_SIZE
                else:
                    missing = HEADER_SIZE - len(collected)
                    collected += view[at : at + missing]
                    at += missing
                    if len(collected) < HEADER_SIZE:
                        return
                    kind, number, length = _HEADER.unpack(collected)
                    collected.clear()
                _judge(kind, number, length)
                if not length:
                    yield Frame(kind, number, b"")
                    continue
                self._kind, self._number, self._left = kind, number, length
            piece = view[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            kind = self._kind
            if not self._left:
                self._kind = 0
            if kind in (DATA, STDERR):
                if piece:
                    yield Frame(kind, self._number, bytes(piece))
            elif self._left:
                self._collected += piece
            elif self._collected:
                payload = bytes(self._collected) + piece
                self._collected.clear()
                yield Frame(kind, self._number, payload)
            else:
                yield Frame(kind, self._number, bytes(piece))


def _judge(kind: int, number: int, length: int) -> None:
    """Refuse a header that no valid frame has."""
    rule = FRAMES.get(kind)
    if rule is None:
        raise ProtocolError(f"type 0x{kind:02x} is unknown")
    if rule.of_stream != (number == 0):
        raise ProtocolError(f"{rule.name} on channel {number}")
    if not rule.shortest <= length <= rule.longest:
        raise ProtocolError(f"{_where(kind, number)}: {length} bytes, allowed are {rule.shortest} to {rule.longest}")


def _where(kind: int, number: int) -> str:
    return f"{FRAMES[kind].name} on channel {number}" if number else FRAMES[kind].name


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
