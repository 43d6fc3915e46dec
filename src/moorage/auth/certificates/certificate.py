"""One certificate, taken apart (OpenSSH's PROTOCOL.certkeys).  Pure."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from moorage.auth.certificates.reader import Malformed, Reader, string
from moorage.auth.certificates.signatures import ALGORITHMS, is_signed

SUFFIX: Final = "-cert-v01@openssh.com"
USER: Final = 1
HOST: Final = 2
FOREVER: Final = 2**64 - 1
MOST_PRINCIPALS: Final = 256
"""As OpenSSH bounds them (SSHKEY_CERT_MAX_PRINCIPALS)."""

_LARGEST: Final = 64 * 1024
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, beyond which no date can be written."""

_PARTS: Final = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""How many strings make up a key of each type."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.  Nothing of it is true before `is_signed_by_its_authority`."""

    key: bytes
    """The certified key in its plain wire form."""
    serial: int
    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: Mapping[str, bytes]
    extensions: Mapping[str, bytes]
    authority: bytes
    """The wire form of the key that signed it."""
    signature: bytes = field(repr=False)
    signed: bytes = field(repr=False)

    def is_signed_by_its_authority(self, allowed: Collection[str] = ALGORITHMS) -> bool:
        """Did the authority's key sign all of it, by one of the `allowed` algorithms?"""
        return is_signed(self.authority, self.signature, self.signed, allowed=allowed)

    @property
    def last_date(self) -> str:
        """Until when it is valid (RFC 3339)."""
        return _date(self.valid_before)

    @property
    def description(self) -> dict[str, object]:
        """What it says, as the public key webhook is told of it."""
        return {
            "key": line_of(self.authority),
            "keyID": self.key_id,
            "serial": self.serial,
            "validPrincipals": list(self.principals),
            "validAfter": _date(self.valid_after),
            "validBefore": self.last_date,
        }


def is_certificate(line: str) -> bool:
    """Is `line` (type, space, base64) a certificate rather than a key?"""
    return line.partition(" ")[0].endswith(SUFFIX)


def parse_line(line: str) -> Certificate:
    """The certificate in an authorized_keys line; raises `Malformed`."""
    name, _, encoded = line.partition(" ")
    try:
        blob = b64decode(encoded.partition(" ")[0], validate=True)
    except ValueError:
        raise Malformed("it is not valid base64") from None
    if Reader(blob).string() != name.encode("utf-8", "replace"):
        raise Malformed("the certificate inside is of another type")
    return parse(blob)


def parse(blob: bytes) -> Certificate:
    """The certificate in `blob`; raises `Malformed` for anything that is not exactly one."""
    if len(blob) > _LARGEST:
        raise Malformed("it is too large for a certificate")
    reader = Reader(blob)
    name = _plain_name(reader.text())
    reader.string()  # the nonce
    start = reader.position
    for _ in range(_PARTS[name]):
        reader.string()
    key = string(name.encode()) + blob[start : reader.position]
    serial, kind, key_id = reader.number(8), reader.number(4), reader.text()
    principals = _texts(reader.string())
    after, before = reader.number(8), reader.number(8)
    critical, extensions = _options(reader.string()), _options(reader.string())
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.position]
    signature = reader.string()
    reader.end()
    if Reader(authority).string().decode("ascii", "replace") not in _PARTS:
        raise Malformed("it is not signed by a plain key of a known type")
    return Certificate(
        key, serial, kind, key_id, principals, after, before, critical, extensions, authority, signature, signed
    )


def certified_key(blob: bytes) -> bytes:
    """The plain wire form of the key that a certificate is about; raises `Malformed`."""
    return parse(blob).key


def fingerprint(key: bytes) -> str:
    """SHA-256 of a key's wire form, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def line_of(key: bytes) -> str:
    """A key's wire form as an authorized_keys line without a comment."""
    return f"{Reader(key).text()} {b64encode(key).decode()}"


def one_string(value: bytes) -> str:
    """The text that is the value of an option; raises `Malformed` for more or less than one."""
    reader = Reader(value)
    text = reader.text()
    reader.end()
    return text


def _plain_name(name: str) -> str:
    """The type of the certified key: `sk-…` names carry their domain behind the certificate's suffix only."""
    stem = name.removesuffix(SUFFIX)
    plain = f"{stem}@openssh.com" if stem.startswith("sk-") else stem
    if stem == name or plain not in _PARTS:
        raise Malformed("it is no certificate of a known type")
    return plain


def _texts(data: bytes) -> tuple[str, ...]:
    reader, found = Reader(data), list[str]()
    while not reader.is_empty:
        if len(found) >= MOST_PRINCIPALS:
            raise Malformed(f"it has more than {MOST_PRINCIPALS} principals")
        found.append(reader.text())
    return tuple(found)


def _options(data: bytes) -> dict[str, bytes]:
    """Options in ascending order of their names, each once."""
    reader, found, last = Reader(data), dict[str, bytes](), b""
    while not reader.is_empty:
        name = reader.string()
        if name <= last:
            raise Malformed("its options are not in order")
        last = name
        found[name.decode("utf-8", "replace")] = reader.string()
    return found


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC).isoformat().replace("+00:00", "Z")
