"""SFTP, version 3, listened to: which files go where, from the bytes of both directions.

Nothing is changed and nothing is trusted: packets are bounded, so are requests under way and open handles, and
where the bytes make no sense the listener says so once and hears no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moorage.audit.transfers import Fact, Keep, Transfer

LONGEST_PACKET: Final = 256 * 1024 + 1024
"""OpenSSH takes none that are longer than 256 KiB."""

MOST_REQUESTS: Final = 4096
MOST_HANDLES: Final = 16_384
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of names in requests without an answer, and of those of open files, each of which takes about 1 KiB more."""

MOST_CAPTURED: Final = 256
"""Uploads whose content is kept at a time: each takes a descriptor of the server's."""

_OPEN, _CLOSE, _READ, _WRITE, _SETSTAT, _FSETSTAT = 3, 4, 5, 6, 9, 10
_REMOVE, _MKDIR, _RMDIR, _RENAME, _SYMLINK, _EXTENDED = 13, 14, 15, 18, 20, 200
_STATUS, _HANDLE, _DATA = 101, 102, 103
_WRITES: Final = 0x02
_HAS_MODE: Final = 0x04
_RENAMES: Final = {b"posix-rename@openssh.com": "rename", b"hardlink@openssh.com": "link"}
_ON_PATHS: Final = {_REMOVE: "remove", _MKDIR: "mkdir", _RMDIR: "rmdir", _RENAME: "rename", _SYMLINK: "symlink"}


class _Nonsense(ValueError):
    """The bytes are no SFTP."""


class _Packet:
    """Fields of one packet, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, width: int = 4) -> int:
        end = self._at + width
        if end > len(self._data):
            raise _Nonsense("a packet is too short")
        value = int.from_bytes(self._data[self._at : end], "big")
        self._at = end
        return value

    def string(self) -> bytes:
        size = self.number()
        end = self._at + size
        if end > len(self._data):
            raise _Nonsense("a string is longer than its packet")
        value = self._data[self._at : end]
        self._at = end
        return value

    def mode(self) -> int | None:
        """The permissions in a structure of attributes."""
        flags = self.number()
        if flags & 0x01:
            self.number(8)
        if flags & 0x02:
            self.number(8)
        return self.number() if flags & _HAS_MODE else None


class _Packets:
    """The packets of one direction."""

    def __init__(self) -> None:
        self._buffer = b""

    def of(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= 4:
            size = int.from_bytes(buffer[at : at + 4], "big")
            if not 1 <= size <= LONGEST_PACKET:
                raise _Nonsense(f"a packet of {size} bytes")
            if len(buffer) - at - 4 < size:
                break
            yield buffer[at + 4 : at + 4 + size]
            at += 4 + size
        self._buffer = buffer[at:]


class SftpListener:
    """Listens to one session; implements `moorage.audit.transfers.Listener`."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._from_client, self._from_server = _Packets(), _Packets()
        self._requests: dict[int, tuple[object, ...]] = {}
        self._handles: dict[bytes, Transfer] = {}
        self._asked_bytes = self._open_bytes = 0
        self._captured: set[bytes] = set()
        self._has_given_up = False

    def client(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the client."""
        yield from self._heard(self._from_client, data, self._request)

    def server(self, data: bytes) -> Iterator[Fact]:
        """Bytes from the server."""
        yield from self._heard(self._from_server, data, self._answer)

    def end(self) -> Iterator[Fact]:
        """The session is over: what is still open was not closed."""
        for transfer in self._handles.values():
            yield transfer.end("not closed")
        self._handles.clear()
        self._captured.clear()
        self._requests.clear()

    def _heard(self, packets: _Packets, data: bytes, understand: object) -> Iterator[Fact]:
        if self._has_given_up:
            return
        try:
            for packet in packets.of(data):
                yield from understand(packet)  # type: ignore[operator]
        except _Nonsense as error:
            self._has_given_up = True
            yield Fact("unknown", result=f"this is no SFTP that can be followed: {error}")
            yield from self.end()

    # -- what the client asks for

    def _request(self, data: bytes) -> Iterator[Fact]:
        packet = _Packet(data)
        kind = packet.number(1)
        if kind == 1:  # the version
            return
        number = packet.number()
        match kind:
            case 3:
                path, flags = packet.string(), packet.number()
                self._asked(number, ("open", path, bool(flags & _WRITES), packet.mode()))
            case 4:
                self._asked(number, ("close", packet.string()))
            case 5:
                self._asked(number, ("read", packet.string(), packet.number(8)))
            case 6:
                handle, offset = packet.string(), packet.number(8)
                if (transfer := self._handles.get(handle)) is not None:
                    transfer.data(offset, packet.string())
                self._asked(number, ("write", handle))
            case 9 | 10:
                name = packet.string()
                if kind == _FSETSTAT:
                    known = self._handles.get(name)
                    name = known.path if known is not None else b""
                if (mode := packet.mode()) is not None:
                    self._asked(number, ("chmod", name, b"", mode))
            case 13 | 14 | 15 | 18 | 20:
                first = packet.string()
                second = packet.string() if kind in {_RENAME, _SYMLINK} else b""
                self._asked(number, (_ON_PATHS[kind], first, second, None))
            case 200:
                operation = _RENAMES.get(packet.string())
                if operation is not None:
                    self._asked(number, (operation, packet.string(), packet.string(), None))
            case _:
                pass
        yield from ()

    def _asked(self, number: int, what: tuple[object, ...]) -> None:
        self._asked_bytes += _size(what) - _size(self._requests.pop(number, ()))
        if len(self._requests) >= MOST_REQUESTS or self._asked_bytes > MOST_BYTES:
            raise _Nonsense("too many requests without an answer")
        self._requests[number] = what

    # -- what the server answers

    def _answer(self, data: bytes) -> Iterator[Fact]:
        packet = _Packet(data)
        kind = packet.number(1)
        if kind == 2:  # the version
            return
        asked = self._requests.pop(packet.number(), None)
        self._asked_bytes -= _size(asked or ())
        match (kind, asked):
            case (102, ("open", bytes(path), bool(is_upload), mode)):
                yield from self._opened(packet.string(), path, mode, is_upload=is_upload)
            case (103, ("read", bytes(handle), int(offset))):
                if (transfer := self._handles.get(handle)) is not None:
                    transfer.data(offset, packet.string())
            case (101, ("write", bytes(handle))):
                if (code := packet.number()) and (transfer := self._handles.get(handle)) is not None:
                    transfer.failed(_status(code))
            case (101, ("close", bytes(handle))):
                if (transfer := self._handles.pop(handle, None)) is not None:
                    self._open_bytes -= len(handle) + len(transfer.path)
                    self._captured.discard(handle)
                    yield transfer.end(_status(packet.number()))
            case (101, ("open", bytes(path), bool(is_upload), _)):
                yield Fact("upload" if is_upload else "download", path=path, result=_status(packet.number()))
            case (101, (str(operation), bytes(path), bytes(target), mode)):
                yield Fact(
                    operation,
                    path=path,
                    target=target,
                    mode=mode if isinstance(mode, int) else None,
                    result=_status(packet.number()),
                )
            case _:
                pass

    def _opened(self, handle: bytes, path: bytes, mode: object, *, is_upload: bool) -> Iterator[Fact]:
        operation = "upload" if is_upload else "download"
        permissions = mode if isinstance(mode, int) else None
        if (lost := self._handles.pop(handle, None)) is not None:  # the server has given it twice
            self._open_bytes -= len(handle) + len(lost.path)
            self._captured.discard(handle)
            yield lost.end("not closed")
        if len(self._handles) >= MOST_HANDLES or self._open_bytes + len(handle) + len(path) > MOST_BYTES:
            yield Fact(operation, path, mode=permissions, result="not followed: too many open files")
            return
        is_captured = is_upload and self._keep.directory is not None and len(self._captured) < MOST_CAPTURED
        if is_captured:
            self._captured.add(handle)
        self._open_bytes += len(handle) + len(path)
        self._handles[handle] = Transfer(self._keep if is_captured else Keep(), operation, path, permissions)


def _size(asked: tuple[object, ...]) -> int:
    return sum(len(part) for part in asked if isinstance(part, bytes))


_STATUSES: Final = {
    0: "ok",
    1: "end of file",
    2: "no such file",
    3: "permission denied",
    4: "failure",
    5: "bad message",
    8: "not supported",
}


def _status(code: int) -> str:
    return _STATUSES.get(code, f"status {code}")
