"""A security key in software: signatures as a FIDO device makes them, for there is none on a test machine."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from moorage.auth.certificates.reader import string

TOUCHED = 1
VERIFIED = 4


def mpint(number: int) -> bytes:
    """A number on the wire (RFC 4251 §5)."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@dataclass
class SecurityKey:
    """Ed25519 or, with `is_ecdsa`, ECDSA; as OpenSSH's PROTOCOL.u2f describes it."""

    is_ecdsa: bool = False
    application: bytes = b"ssh:"
    ed25519: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    ecdsa: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def name(self) -> bytes:
        """The key's type."""
        return b"sk-ecdsa-sha2-nistp256@openssh.com" if self.is_ecdsa else b"sk-ssh-ed25519@openssh.com"

    @property
    def blob(self) -> bytes:
        """The public key on the wire."""
        if self.is_ecdsa:
            point = self.ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return string(self.name) + string(b"nistp256") + string(point) + string(self.application)
        point = self.ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return string(self.name) + string(point) + string(self.application)

    @property
    def line(self) -> str:
        """The public key as an authorized_keys line."""
        return f"{self.name.decode()} {b64encode(self.blob).decode()}"

    def sign(self, data: bytes, flags: int = TOUCHED, counter: int = 7) -> bytes:
        """A signature of `data`, with what the device says about its user in `flags`."""
        tail = bytes([flags]) + counter.to_bytes(4, "big")
        sealed = hashlib.sha256(self.application).digest() + tail + hashlib.sha256(data).digest()
        if self.is_ecdsa:
            r, s = decode_dss_signature(self.ecdsa.sign(sealed, ec.ECDSA(hashes.SHA256())))
            value = mpint(r) + mpint(s)
        else:
            value = self.ed25519.sign(sealed)
        return string(self.name) + string(value) + tail
