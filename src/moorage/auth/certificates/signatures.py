"""Signatures of SSH keys (RFC 4253 §6.6, RFC 5656, RFC 8332, RFC 8709 and security keys), without SHA-1 and DSA."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from moorage.auth.certificates.reader import Malformed, Reader

ALGORITHMS: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""Names of the signatures that can be verified, best first."""

WEAKEST_RSA: Final = 2048
_LARGEST_RSA: Final = 16384
_TOUCHED: Final = 1
_VERIFIED: Final = 4


def is_signed(key: bytes, signature: bytes, data: bytes, *, allowed: Collection[str] = ALGORITHMS) -> bool:
    """Was `data` signed with `key` (its wire form), by one of the `allowed` algorithms?  False for anything malformed.

    A security key's user must have touched it.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        _verify(Reader(key), Reader(signature), data, allowed)
    except (InvalidSignature, ValueError, KeyError, OverflowError):
        return False
    return True


def presence(signature: bytes) -> tuple[bool, bool]:
    """Was the security key touched, and did it verify its user?  (False, False) for what is no such signature."""
    try:
        reader = Reader(signature)
        if not reader.string().startswith(b"sk-"):
            return False, False
        reader.string()
        flags = reader.number(1)
    except Malformed:
        return False, False
    return bool(flags & _TOUCHED), bool(flags & _VERIFIED)


def rsa_bits(key: bytes) -> int | None:
    """The size of an RSA key; None for other keys."""
    reader = Reader(key)
    if reader.string() != b"ssh-rsa":
        return None
    reader.string()
    return int.from_bytes(reader.string(), "big").bit_length()


def _verify(key: Reader, signature: Reader, data: bytes, allowed: Collection[str]) -> None:
    kind, algorithm, value = key.string(), signature.string(), signature.string()
    if algorithm.decode("ascii", "replace") not in allowed:
        raise Malformed("the signature algorithm is not allowed")
    if kind == b"ssh-rsa":
        _verify_rsa(key, algorithm, value, data)
    elif algorithm != kind:
        raise Malformed("the signature is of another kind than the key")
    elif kind in {b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"}:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        point = key.string()
        signed = _sealed(key, signature, data) if kind.startswith(b"sk-") else data
        Ed25519PublicKey.from_public_bytes(point).verify(value, signed)
    elif kind.startswith((b"ecdsa-sha2-", b"sk-ecdsa-sha2-")):
        curve, point = key.string(), key.string()
        if curve not in kind:
            raise Malformed("the curve is not the one that the key's type names")
        _verify_ecdsa(curve, point, value, _sealed(key, signature, data) if kind.startswith(b"sk-") else data)
    else:
        raise Malformed("the key is of no known type")
    key.end()
    signature.end()


def _verify_rsa(key: Reader, algorithm: bytes, value: bytes, data: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if algorithm not in {b"rsa-sha2-256", b"rsa-sha2-512"}:
        raise Malformed("the signature is of another kind than the key")
    hashing = hashes.SHA256() if algorithm.endswith(b"256") else hashes.SHA512()
    exponent, modulus = (int.from_bytes(key.string(), "big") for _ in range(2))
    if not WEAKEST_RSA <= modulus.bit_length() <= _LARGEST_RSA:
        raise Malformed("the RSA key is too small or too large")
    rsa.RSAPublicNumbers(exponent, modulus).public_key().verify(value, data, padding.PKCS1v15(), hashing)


def _verify_ecdsa(curve: bytes, point: bytes, value: bytes, data: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    shape, hashing = {
        b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
        b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
        b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
    }[curve]
    numbers = Reader(value)
    r, s = (int.from_bytes(numbers.string(), "big", signed=True) for _ in range(2))
    numbers.end()
    public = ec.EllipticCurvePublicKey.from_encoded_point(shape, point)
    public.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashing))


def _sealed(key: Reader, signature: Reader, data: bytes) -> bytes:
    """What a security key signs in place of `data` (OpenSSH's PROTOCOL.u2f)."""
    application, flags, counter = key.string(), signature.take(1), signature.take(4)
    if not flags[0] & _TOUCHED:
        raise Malformed("the security key was not touched")
    return hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
