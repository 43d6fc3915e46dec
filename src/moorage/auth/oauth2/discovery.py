"""What an OpenID provider says about itself, and its keys; both kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from moorage.auth.oauth2.calls import get, persistently, require_safe, text
from moorage.codes import Code
from moorage.errors import AuthError
from moorage.net.http import WebClient, shown

FRESH: Final = 600.0
"""Seconds that an answer is used without asking again."""

STALE: Final = 24 * 3600.0
"""Seconds that an answer is used while the provider cannot be asked."""

FAILED: Final = 5.0
"""Seconds that a failure counts for those who wait as well, so that they are not kept waiting one after the other."""

LEAST_PAUSE: Final = 10.0
"""Seconds between two looks for a key that is not known: forged tokens must not make us hammer the provider."""

MOST_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints (OpenID Connect Discovery §3); empty where there is none."""

    issuer: str
    authorization: str
    token: str
    userinfo: str
    device: str
    revocation: str
    keys: str


class Discovery:
    """The metadata and keys of the provider at `issuer_url`, asked for once for all logins.

    An answer counts only if it names the issuer that was asked, and no endpoint is less safe than that.
    """

    def __init__(self, client: WebClient, issuer_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._base = issuer_url.rstrip("/")
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._failure: tuple[float, str] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None

    async def metadata(self) -> Metadata:
        """Where to ask for what; raises `AuthError`."""
        async with self._lock:
            known = self._metadata
            if known is not None and self._clock() - known[0] < FRESH:
                return known[1]
            if known is None and self._failure is not None and self._clock() - self._failure[0] < FAILED:
                raise _failed(self._failure[1])
            try:
                found = await persistently(self._look)
            except AuthError as error:
                self._failure = (self._clock(), str(error))
                if known is not None and self._clock() - known[0] < STALE:
                    return known[1]
                raise
            self._metadata = (self._clock(), found)
            return found

    async def keys(self, *, unknown: bool = False) -> dict[str, Any]:
        """The provider's keys (RFC 7517 §5); asked for again if one was `unknown` a moment ago."""
        address = (await self.metadata()).keys
        async with self._lock:
            known = self._keys
            if known is not None and self._clock() - known[0] < (LEAST_PAUSE if unknown else FRESH):
                return known[1]
            try:
                found = await persistently(lambda: self._look_for_keys(address))
            except AuthError:
                if known is not None and not unknown and self._clock() - known[0] < STALE:
                    return known[1]
                raise
            self._keys = (self._clock(), found)
            return found

    async def _look(self) -> Metadata:
        status, fields = await get(self._client, f"{self._base}/.well-known/openid-configuration")
        if status != 200:
            raise _failed(f"{shown(self._base)} answers the discovery with status {status}")
        issuer = text(fields, "issuer")
        if issuer.rstrip("/") != self._base:
            raise _failed(f"{shown(self._base)} says that it is another issuer")

        def endpoint(name: str) -> str:
            url = text(fields, name)
            return require_safe(url, base=self._base, what=name) if url else ""

        found = Metadata(
            issuer=issuer,
            authorization=endpoint("authorization_endpoint"),
            token=endpoint("token_endpoint"),
            userinfo=endpoint("userinfo_endpoint"),
            device=endpoint("device_authorization_endpoint"),
            revocation=endpoint("revocation_endpoint"),
            keys=endpoint("jwks_uri"),
        )
        if not found.token or not found.keys:
            raise _failed(f"{shown(self._base)} names no token_endpoint or no jwks_uri")
        return found

    async def _look_for_keys(self, address: str) -> dict[str, Any]:
        status, fields = await get(self._client, address)
        keys = fields.get("keys")
        if status != 200 or not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise _failed(f"{shown(address)} gives no usable keys")
        return {"keys": [key for key in keys if isinstance(key, dict)]}


def _failed(what: str) -> AuthError:
    return AuthError(what, code=Code.OIDC_DISCOVERY_FAILED)
