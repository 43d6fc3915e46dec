"""ID tokens (OpenID Connect Core §3.1.3.7), verified before anything in them is believed."""

from __future__ import annotations

import hmac
import math
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moorage.auth.oauth2.contract import Denied
from moorage.codes import Code

LEEWAY: Final = 60
"""Seconds that the provider's clock may be apart from ours."""

KeysOf = Callable[[bool], Awaitable[Mapping[str, Any]]]
"""The provider's key set; True if a key was missing from it a moment ago."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    nonce: str | None
    """None where the flow has none: the device flow."""


async def verified_claims(
    token: str, keys: KeysOf, expected: Expected, *, clock: Callable[[], float] = time.time
) -> Mapping[str, Any]:
    """The claims of `token`, if a key of the provider signed it, for us, now, in answer to our own request.

    Raises `Denied`, which says what is wrong and quotes nothing, and what `keys` raises.
    """
    claims = _decoded(token, await keys(False), expected)
    if claims is None:  # a key that was not there yesterday: the provider has changed them
        claims = _decoded(token, await keys(True), expected)
    if claims is None:
        raise _wrong("its signature is not by a key of the provider")
    _check(claims, expected, clock())
    return claims


def _decoded(token: str, key_set: Mapping[str, Any], expected: Expected) -> Mapping[str, Any] | None:
    from joserfc import jwt
    from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError, SecurityWarning
    from joserfc.jwk import KeySet

    usable = [key for key in key_set.get("keys", []) if key.get("use", "sig") == "sig" and key.get("kty") != "oct"]
    try:
        keys = KeySet.import_key_set({"keys": usable})
    except (JoseError, ValueError, KeyError, TypeError):
        raise _wrong("the provider's keys cannot be read") from None
    if not usable:
        return None
    try:
        with warnings.catch_warnings():
            # RFC 9864 prefers the name Ed25519; what was signed with EdDSA is as good.
            warnings.simplefilter("ignore", SecurityWarning)
            return dict(jwt.decode(token, keys, algorithms=list(expected.algorithms)).claims)
    except (BadSignatureError, InvalidKeyIdError):
        return None
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _wrong(f"it cannot be verified ({type(error).__name__})") from None


def _check(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    if claims.get("iss") != expected.issuer:
        raise _wrong("it is of another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if expected.audience not in audiences:
        raise _wrong("it is for somebody else")
    party = claims.get("azp")
    if (len(audiences) > 1 or party is not None) and party != expected.audience:
        raise _wrong("it was asked for by somebody else")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise _wrong("it names nobody")
    if not all(_is_time(claims.get(name, default)) for name, default in (("exp", None), ("iat", None), ("nbf", 0))):
        raise _wrong("it has no times")
    if claims["exp"] <= now - LEEWAY:
        raise _wrong("it has expired")
    if claims["iat"] > now + LEEWAY or claims.get("nbf", 0) > now + LEEWAY:
        raise _wrong("it is not valid yet")
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
            raise _wrong("it does not answer our request (nonce)")


def _is_time(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(what: str) -> Denied:
    return Denied(f"the ID token is refused: {what}", Code.AUTH_FAILED)
