"""A recording that was cut by the end of its server is closed with a word of its own: how far it goes, and its hash.

The word is a global request of the type `CUT`, never a seal: a reader can tell what is complete, what was cut and
found so at the next start, and what was cut or changed after that.  Nothing that can be read is given up, and
nothing that is damaged or altered is closed.  A recording of any size is closed in flat memory.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moorage.audit.chain import Proof, cut
from moorage.audit.codec import HEADER, Packer, encode, stored
from moorage.audit.recording import Message, Trouble, read

_PIECE: Final = 256 * 1024
_BATCH: Final = 256 * 1024
TEMPORARY: Final = ".recovering"


@dataclass(slots=True)
class _Found:
    """What stands in a recording."""

    proof: Proof = field(default_factory=Proof)
    last: Message | None = None
    is_cut: bool = False
    is_closed: bool = False
    """It needs no word, or deserves none."""


def close(part: Path, key: Any | None, at: int) -> bool:
    """Close the recording `part`, which nobody writes to any more; False if it is left as it is.

    `key` is the server's Ed25519 private key, `at` the moment in nanoseconds since the epoch.  Idempotent.
    Raises `OSError`, and then the recording is as it was.
    """
    with part.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            return False  # asciicast, or not ours
    found = _look(part)
    if found.is_closed or found.last is None:
        return False
    word = encode(found.last.connection_id, cut(found.last, found.proof, key, at))
    if not found.is_cut and _ends_between_blocks(part, word):
        _append(part, word)
    else:
        _write_anew(part, word)
    return True


def _look(part: Path) -> _Found:
    found = _Found()
    for one in read(_pieces(part), found.proof.raw):
        if isinstance(one, Trouble):
            found.is_cut = True
            found.is_closed = found.is_closed or not one.is_cut
        else:
            found.last = one
            found.proof.of(one)
    found.is_closed = found.is_closed or bool(found.proof.wrong) or found.proof.is_sealed or found.proof.is_cut
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def _ends_between_blocks(part: Path, word: bytes) -> bool:
    """Could `word` be read if it were appended as it is?"""
    member = zlib.decompressobj(31)
    is_first = True
    for piece in _pieces(part):
        waiting = piece[len(HEADER) :] if is_first else piece
        is_first = False
        while waiting:
            member.decompress(waiting, _PIECE)
            waiting = member.unconsumed_tail
    try:
        return not member.eof and member.decompress(b"".join(stored(word))) == word
    except zlib.error:
        return False


def _append(part: Path, word: bytes) -> None:
    file = os.open(part, os.O_WRONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        try:
            _write(file, b"".join(stored(word)))
        except OSError:
            os.ftruncate(file, size)
            raise
        os.fsync(file)
    finally:
        os.close(file)


def _write(file: int, data: bytes) -> None:
    at = os.lseek(file, 0, os.SEEK_END)
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        at, view = at + written, view[written:]


def _write_anew(part: Path, word: bytes) -> None:
    """Put what can be read of `part`, and `word`, in its place: it ends in the middle of something."""
    temporary = part.with_name(part.name + TEMPORARY)
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        packer, waiting, size = Packer(), [], 0
        _write(file, packer.begin())
        raw: list[bytes] = []
        for one in read(_pieces(part), raw.append):
            if isinstance(one, Trouble):
                continue
            waiting += raw
            size += len(raw[-1])
            raw.clear()
            if size >= _BATCH:
                _write(file, packer.pack(waiting))
                waiting, size = [], 0
        _write(file, packer.pack([*waiting, word]))
        os.fsync(file)
        temporary.replace(part)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
