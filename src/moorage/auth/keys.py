"""Public keys in the form of authorized_keys lines, read strictly and compared by their bytes."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

KEY_TYPES: Final = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
_LONGEST_LINE: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key: its type, its wire form (RFC 4253 §6.6) and the comment that stood behind it."""

    type: str
    blob: bytes
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in the form that ``ssh-keygen -l`` shows."""
        return "SHA256:" + b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {b64encode(self.blob).decode()}" + (f" {self.comment}" if self.comment else "")


def parse_key(line: str) -> PublicKey:
    """The key of one authorized_keys line; raises `ValueError` if the line says more than can be honoured."""
    if len(line) > _LONGEST_LINE:
        raise ValueError("the line is too long for a public key")
    words = line.split(None, 2)
    if len(words) < 2:
        raise ValueError("a public key line is a type, a space and the key in base64")
    name, encoded = words[0], words[1]
    if "PRIVATE" in line:
        raise ValueError("this is a private key; give the public one (the file ending in .pub)")
    if name.endswith("-cert-v01@openssh.com"):
        raise ValueError("certificates cannot stand here, only the key itself")
    if name == "ssh-dss":
        raise ValueError("ssh-dss keys are too weak")
    if name not in KEY_TYPES:
        if any(known in line.split() for known in KEY_TYPES):
            option = name.split("=", 1)[0].split(",", 1)[0]
            raise ValueError(f"the line begins with options ({option}…) that would not be honoured; remove them")
        raise ValueError("the line does not begin with a known key type, such as ssh-ed25519")
    try:
        blob = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the key is not valid base64") from None
    if _leading_string(blob) != name.encode() or len(blob) <= 4 + len(name):
        raise ValueError(f"the key inside is not of type {name}")
    return PublicKey(name, blob, words[2].strip() if len(words) > 2 else "")


def _leading_string(blob: bytes) -> bytes | None:
    """The SSH string (RFC 4251 §5) that `blob` begins with."""
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] if len(blob) >= 4 + length else None


def is_among(key: str, known: Iterable[PublicKey]) -> bool:
    """Is `key` (type, space, base64) one of `known`?  False for anything malformed."""
    try:
        blob = parse_key(key).blob
    except ValueError:
        return False
    found = False
    for candidate in known:
        found |= hmac.compare_digest(candidate.blob, blob)
    return found
