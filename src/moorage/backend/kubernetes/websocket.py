"""A WebSocket (RFC 6455) as Kubernetes speaks it: binary messages, each of which begins with the number of a stream.

The protocol is ``v5.channel.k8s.io``, or ``v4`` with older servers; only the fifth can end our direction of a stream.
Bytes go straight from a `RawStream` to a receiver: no task, no queue, no message is kept whole.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Final, Protocol

from moorage.net.stream import RawStream

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ERROR: Final = 3
RESIZE: Final = 4
CLOSE: Final = 255

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION: Final = 0
_TEXT: Final = 1
_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_CONTROL_LIMIT: Final = 125
_HEADER_LIMIT: Final = 10
_CHUNK: Final = 32 * 1024
"""Bytes of our messages: what the servers in between read at once."""


class StreamsReceiver(Protocol):
    """Where the streams of a socket are delivered."""

    def stream_received(self, stream: int, data: bytes) -> None:
        """Some bytes of one of the server's streams; never empty."""

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def ended(self, cause: Exception | None) -> None:
        """The last call: the server has closed in good order (None), we have, or the connection broke."""


class BadFrameError(ValueError):
    """What arrived is not a WebSocket's frame from a server."""


def new_key() -> str:
    """A fresh Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


def accepted(key: str) -> str:
    """The Sec-WebSocket-Accept that answers `key`."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()


def encode(opcode: int, payload: bytes) -> bytes:
    """One whole, masked frame (RFC 6455 §5.2, §5.3)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


class Streams:
    """The streams of one attach or exec, on an upgraded connection."""

    def __init__(self, stream: RawStream, receiver: StreamsReceiver, *, protocol: str) -> None:
        self._stream = stream
        self._receiver = receiver
        self.can_end_input = protocol == PROTOCOLS[0]
        """The server understands that our direction has ended."""

        self._header = bytearray()
        self._opcode = _CONTINUATION
        self._is_final = True
        self._left = 0
        self._channel = -1
        self._control = bytearray()
        self._input_ended = False
        self._closing = False
        self._orderly = False
        self._bad: BadFrameError | None = None

    def begin(self) -> None:
        """Deliver from the next turn of the loop on."""
        self._stream.attach(self)

    # Writing.

    def write(self, data: bytes, channel: int = STDIN) -> None:
        """Send `data` on `channel`, in order."""
        if not data or self._closing or (self._input_ended and channel == STDIN):
            return
        prefix = bytes((channel,))
        if len(data) <= _CHUNK:
            self._stream.write(encode(_BINARY, prefix + data))
            return
        for at in range(0, len(data), _CHUNK):
            self._stream.write(encode(_BINARY, prefix + data[at : at + _CHUNK]))

    def write_eof(self) -> None:
        """End our direction, where the server can be told."""
        if not self._input_ended and not self._closing:
            self._input_ended = True
            if self.can_end_input:
                self._stream.write(encode(_BINARY, bytes((CLOSE, STDIN))))

    def ping(self) -> None:
        """Something for those in between that cut what is silent."""
        if not self._closing:
            self._stream.write(encode(_PING, b""))

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``."""
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again."""
        self._stream.resume_reading()

    def close(self) -> None:
        """Send what was written, then end both directions; idempotent."""
        if not self._closing:
            self.write_eof()
            self._closing = True
            self._stream.write(encode(_CLOSE, (1000).to_bytes(2, "big")))
            self._stream.close()

    def abort(self) -> None:
        """End both directions now."""
        self._closing = True
        self._stream.abort()

    # StreamReceiver

    def data_received(self, data: bytes) -> None:
        if self._bad is not None:
            return
        try:
            self._feed(data)
        except BadFrameError as error:
            self._bad = error
            self.abort()

    def eof_received(self) -> None:
        self._stream.close()

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()

    def connection_lost(self, cause: Exception | None) -> None:
        if self._bad is not None:
            cause = self._bad
        elif self._closing or self._orderly:
            cause = None
        else:
            cause = cause or ConnectionError("the API server ended the stream without a word")
        self._receiver.ended(cause)

    # Parsing.

    def _feed(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._piece(piece)
                if not self._left:
                    self._frame_ended()
                continue
            at = self._head(data, at)

    def _head(self, data: bytes, at: int) -> int:
        """Take what `data` has of a header from `at` on; where it ends."""
        wanted = 2
        while at < len(data):
            take = min(wanted - len(self._header), len(data) - at)
            self._header += data[at : at + take]
            at += take
            if len(self._header) < wanted:
                return at
            length = self._header[1]
            wanted = {126: 4, 127: _HEADER_LIMIT}.get(length, 2)
            if len(self._header) == wanted:
                self._frame_began()
                return at
        return at

    def _frame_began(self) -> None:
        first, length = self._header[0], self._header[1]
        opcode = first & 0x0F
        if first & 0x70 or length & 0x80:
            raise BadFrameError("a frame with reserved bits, or a masked one from a server")
        self._left = length if length < 126 else int.from_bytes(self._header[2:], "big")
        self._header.clear()
        self._is_final = bool(first & 0x80)
        if opcode in (_CLOSE, _PING, _PONG):
            if self._left > _CONTROL_LIMIT or not self._is_final:
                raise BadFrameError("a control frame that is too long")
            self._control.clear()
        elif opcode in (_BINARY, _TEXT):
            self._channel = -1
        elif opcode != _CONTINUATION:
            raise BadFrameError(f"a frame of the unknown kind {opcode}")
        self._opcode = opcode
        if not self._left:
            self._frame_ended()

    def _piece(self, piece: bytes) -> None:
        if self._opcode >= _CLOSE:
            self._control += piece
            return
        if self._channel < 0:
            self._channel, piece = piece[0], piece[1:]
        if piece and not self._closing:
            self._receiver.stream_received(self._channel, piece)

    def _frame_ended(self) -> None:
        if self._opcode == _PING and not self._closing:
            self._stream.write(encode(_PONG, bytes(self._control)))
        elif self._opcode == _CLOSE and not self._closing:
            self._orderly = True
            self._stream.write(encode(_CLOSE, bytes(self._control[:2])))
            self._stream.close()
