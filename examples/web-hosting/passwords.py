"""Passwords as hosting panels store them: argon2id, and all that the system's crypt(3) knows."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hmac
import secrets
import threading

import argon2

_crypt = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1").crypt
_crypt.restype = ctypes.c_char_p
_one_at_a_time = threading.Lock()  # crypt(3) answers in memory of its own


def matches(password: bytes, stored: str) -> bool:
    """Is `password` the one of which `stored` is the hash?"""
    if b"\0" in password or len(password) > 1024:
        return False
    if stored.startswith("$argon2id$"):
        try:
            return argon2.PasswordHasher().verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    if not stored.startswith(("$2", "$5$", "$6$", "$y$")):
        return False
    with _one_at_a_time:
        found: bytes = _crypt(password, stored.encode()) or b""
    return hmac.compare_digest(found, stored.encode())


def hashed(password: str) -> str:
    """A hash for a new password."""
    return argon2.PasswordHasher().hash(password)


@functools.cache
def nobodys() -> str:
    """A hash of a password that nobody has, as costly to verify as those of `hashed`."""
    return hashed(secrets.token_hex())
