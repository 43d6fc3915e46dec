"""Signatures of webhook requests: a hook that checks them knows that its caller has the shared secret.

The header ``X-Moorage-Signature: t=1767225600,v1=9f86…`` holds the seconds since the epoch and, in hexadecimal, the
HMAC-SHA-256 of the time, a dot, the hook's name, a dot, and the body.  The name is the last part of the URL's path:
a body for one hook does not pass at another.  A request is good for five minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

HEADER: Final = "X-Moorage-Signature"
TOLERANCE: Final = 300
"""Seconds by which the clocks of caller and hook may differ, the way included."""

SHORTEST_SECRET: Final = 16
_FORM: Final = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class SignatureError(ValueError):
    """A request is not signed, or not by the secret, or too old; the text says which."""


def sign(secret: bytes, hook: str, body: bytes, *, now: float | None = None) -> str:
    """The header's value for a request to `hook`: ``password``, ``pubkey``, ``authz``, ``otp``, ``config``."""
    seconds = int(time.time() if now is None else now)
    return f"t={seconds},v1={_digest(secret, seconds, hook, body)}"


def verify(secret: bytes, hook: str, body: bytes, header: str, *, now: float | None = None) -> None:
    """Returns for a request that was signed just now with `secret`; raises `SignatureError` for all others."""
    match = _FORM.fullmatch(header.strip())
    if match is None:
        raise SignatureError(f"there is no readable {HEADER}")
    seconds = int(match[1])
    if not hmac.compare_digest(_digest(secret, seconds, hook, body), match[2]):
        raise SignatureError("the signature does not match")
    if abs((time.time() if now is None else now) - seconds) > TOLERANCE:
        raise SignatureError(f"the signature is more than {TOLERANCE} seconds away from now")


def _digest(secret: bytes, seconds: int, hook: str, body: bytes) -> str:
    return hmac.new(secret, f"{seconds}.{hook}.".encode() + body, hashlib.sha256).hexdigest()
