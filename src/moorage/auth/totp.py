"""One-time passwords by time (RFC 6238 on RFC 4226): six digits that change every half minute.

SHA-1, six digits and thirty seconds are what every authenticator program can do; nothing else is offered.
The strength is that of the secret and of the few tries that a connection has, not of the hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from collections import OrderedDict
from typing import Final
from urllib.parse import quote, urlencode

STEP: Final = 30
"""Seconds for which a code stands."""

DIGITS: Final = 6
_DRIFT: Final = 1
"""Steps by which the user's clock may be off, either way (RFC 6238 §5.2)."""

_LEAST_BYTES: Final = 16
"""RFC 4226 §4: a secret has at least 128 bits."""

_MOST_BYTES: Final = 64
_REMEMBERED: Final = 65_536
"""Users whose last code is remembered; the one that logged in longest ago goes first."""


class Secret:
    """The secret that a user's authenticator and we share."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> Secret:
        """A secret from its base32 text (RFC 4648 §6), as authenticators show it; raises `ValueError`."""
        plain = text.replace(" ", "").replace("-", "").upper().rstrip("=")
        try:
            key = base64.b32decode(plain + "=" * (-len(plain) % 8))
        except binascii.Error:
            raise ValueError("a one-time password's secret is base32: letters and the digits 2 to 7") from None
        if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
            raise ValueError(f"a one-time password's secret has {_LEAST_BYTES} to {_MOST_BYTES} bytes, not {len(key)}")
        return cls(key)

    @classmethod
    def fresh(cls) -> Secret:
        """A random secret of 160 bits, as RFC 4226 §4 recommends."""
        return cls(secrets.token_bytes(20))

    @property
    def text(self) -> str:
        """The secret in base32."""
        return base64.b32encode(self._key).decode().rstrip("=")

    def url(self, user: str, issuer: str) -> str:
        """What an authenticator reads from a QR code."""
        label = quote(f"{issuer}:{user}", safe=":")
        return f"otpauth://totp/{label}?{urlencode({'secret': self.text, 'issuer': issuer}, quote_via=quote)}"

    def code(self, step: int) -> str:
        """The code of one step (RFC 4226 §5.3)."""
        digest = hmac.digest(self._key, struct.pack(">Q", step), hashlib.sha1)
        offset = digest[-1] & 0xF
        number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**DIGITS:0{DIGITS}}"

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._key, other._key)

    __hash__ = None  # type: ignore[assignment]


_NOBODYS: Final = Secret(secrets.token_bytes(20))


class Codes:
    """Checks codes, each of which counts once (RFC 6238 §5.2).  What was used is forgotten by a restart."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, int] = OrderedDict()

    def accepts(self, user: str, secret: Secret | None, code: str, *, now: float) -> bool:
        """Is `code` the one of `user` at `now` (seconds since the epoch), and not used yet?

        The work is the same for a user without a secret.
        """
        current = int(now) // STEP
        given = code.strip().replace(" ", "").encode("utf-8", "replace")
        used = self._used.get(user, -1)
        matching = [
            step
            for step in range(current - _DRIFT, current + _DRIFT + 1)
            if hmac.compare_digest((secret or _NOBODYS).code(step).encode(), given)
        ]
        fresh = [step for step in matching if step > used]
        if secret is None or not fresh:
            return False
        self._used[user] = max(fresh)
        self._used.move_to_end(user)
        while len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)
        return True
