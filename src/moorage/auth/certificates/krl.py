"""Key revocation lists in OpenSSH's binary form (PROTOCOL.krl) and as plain lists of keys.  Pure.

What is not understood is never skipped: a list that says more than is known here is not usable.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from moorage.auth.certificates.certificate import Certificate
from moorage.auth.certificates.reader import Malformed, Reader

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a list, of either form."""

_MAGIC: Final = b"SSHKRL\n\0"
_VERSION: Final = 1
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256, _EXTENSION = 1, 2, 3, 4, 5, 255
_LIST, _RANGE, _BITMAP, _KEY_ID, _CERTIFICATE_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39


@dataclass(slots=True)
class _Issued:
    """What is revoked of one authority's certificates."""

    serials: set[int] = field(default_factory=set)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    bitmaps: list[tuple[int, bytes]] = field(default_factory=list)
    key_ids: set[bytes] = field(default_factory=set)

    def settle(self) -> None:
        """Join the ranges, so that one look finds a serial."""
        joined: list[tuple[int, int]] = []
        for low, high in sorted(self.ranges):
            if joined and low <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
            else:
                joined.append((low, high))
        self.ranges = joined

    def has(self, certificate: Certificate) -> bool:
        """Is `certificate` among them?  A serial of 0 is none."""
        serial = certificate.serial
        if certificate.key_id.encode() in self.key_ids:
            return True
        if not serial:
            return False
        if serial in self.serials:
            return True
        at = bisect_right(self.ranges, (serial, 2**64)) - 1
        if at >= 0 and self.ranges[at][0] <= serial <= self.ranges[at][1]:
            return True
        return any(_is_set(bits, serial - offset) for offset, bits in self.bitmaps)


class RevocationList:
    """Keys and certificates that are good no more."""

    def __init__(self) -> None:
        self._issued: dict[bytes, _Issued] = {}
        self._keys: set[bytes] = set()
        self._sha1: set[bytes] = set()
        self._sha256: set[bytes] = set()

    def revokes_key(self, key: bytes) -> bool:
        """Is the key of this wire form revoked?"""
        return (
            key in self._keys
            or hashlib.sha256(key).digest() in self._sha256
            or (bool(self._sha1) and hashlib.sha1(key, usedforsecurity=False).digest() in self._sha1)
        )

    def revokes(self, certificate: Certificate) -> bool:
        """Is the certificate, its key, or the authority that signed it revoked?"""
        if self.revokes_key(certificate.key) or self.revokes_key(certificate.authority):
            return True
        of_these = (self._issued.get(certificate.authority), self._issued.get(b""))
        return any(issued is not None and issued.has(certificate) for issued in of_these)

    def _read_keys(self, data: bytes) -> None:
        """The plain form: one authorized_keys line a key."""
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                blob = b64decode(words[1], validate=True)
                if Reader(blob).string() != words[0].encode():
                    raise Malformed
            except (IndexError, ValueError):
                raise Malformed(f"line {number} is not a public key") from None
            self._keys.add(blob)

    def _read_binary(self, reader: Reader) -> None:
        reader.take(len(_MAGIC))
        if (version := reader.number(4)) != _VERSION:
            raise Malformed(f"the format's version {version} is not known")
        reader.take(3 * 8)  # the list's own version, its date, flags
        reader.string()
        reader.string()  # the comment
        while not reader.is_empty:
            kind = reader.number(1)
            section = Reader(reader.string())
            if kind == _CERTIFICATES:
                self._certificates(section)
            elif kind == _EXTENSION:
                _extension(section)
            elif kind in {_KEYS, _SHA1, _SHA256}:
                into, length = {
                    _KEYS: (self._keys, 0),
                    _SHA1: (self._sha1, 20),
                    _SHA256: (self._sha256, 32),
                }[kind]
                while not section.is_empty:
                    value = section.string()
                    if length and len(value) != length:
                        raise Malformed("a fingerprint has the wrong length")
                    into.add(value)
            elif kind == _SIGNATURE:
                raise Malformed("signed lists are not supported")
            else:
                raise Malformed(f"the section {kind} is not known")
        for issued in self._issued.values():
            issued.settle()

    def _certificates(self, reader: Reader) -> None:
        issued = self._issued.setdefault(reader.string(), _Issued())
        reader.string()  # reserved
        while not reader.is_empty:
            kind, part = reader.number(1), Reader(reader.string())
            if kind == _BITMAP:
                issued.bitmaps.append((part.number(8), part.string()))
                part.end()
            elif kind == _RANGE:
                low, high = part.number(8), part.number(8)
                part.end()
                if low > high:
                    raise Malformed("a range of serials is empty")
                issued.ranges.append((low, high))
            elif kind == _CERTIFICATE_EXTENSION:
                _extension(part)
            elif kind in {_LIST, _KEY_ID}:
                while not part.is_empty:
                    if kind == _LIST:
                        issued.serials.add(part.number(8))
                    else:
                        issued.key_ids.add(part.string())
            else:
                raise Malformed(f"the section {kind:#x} about certificates is not known")


def parse_revocations(data: bytes) -> RevocationList:
    """The list in `data`, binary or plain; raises `Malformed`."""
    if len(data) > LARGEST:
        raise Malformed("it is larger than 16 MiB")
    found = RevocationList()
    if data.startswith(_MAGIC):
        found._read_binary(Reader(data))  # noqa: SLF001 - its one maker
    else:
        found._read_keys(data)  # noqa: SLF001
    return found


def _extension(reader: Reader) -> None:
    name, is_critical = reader.string(), reader.number(1)
    reader.string()
    if is_critical:
        raise Malformed(f"the critical extension {name[:60]!r} is not known")


def _is_set(bits: bytes, index: int) -> bool:
    """Is bit `index`, counted from the end, set in the number `bits`?"""
    if not 0 <= index < 8 * len(bits):
        return False
    return bool(bits[len(bits) - 1 - index // 8] >> index % 8 & 1)
