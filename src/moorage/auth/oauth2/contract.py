"""What a provider does, and the values that go between it and the login.

Every secret in these values is kept out of their `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from moorage.codes import Code
from moorage.gateway.model import Metadata


class Denied(Exception):
    """The provider or our rules say no.  `user_text` is one honest line for the user; the text is for the log."""

    def __init__(self, explanation: str, code: Code, *, user_text: str = "") -> None:
        super().__init__(explanation)
        self.code = code
        self.user_text = user_text or "The identity provider does not accept this login."


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one attempt keeps to itself (RFC 7636, OpenID Connect Core §3.1.2.1); fresh for each."""

    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceGrant:
    """A device flow that has begun (RFC 8628 §3.2)."""

    device_code: str = field(repr=False)
    user_code: str
    uri: str
    """The link to show: with the code in it where the provider has one."""
    interval: float
    expires_in: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the provider has handed out."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    """The ID token; empty where there is none."""
    scopes: Sequence[str] | None = None
    """What was granted; None where the provider does not say, which means all that was asked for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in at the provider."""

    username: str
    """His name there; empty where the provider names nobody."""
    claims: Mapping[str, Any] = field(repr=False)
    metadata: Metadata


class Provider(Protocol):
    """One identity provider.  Methods raise `Denied` for a no and `AuthError` for no answer."""

    @property
    def has_device_flow(self) -> bool:
        """Can users be shown a code to type in elsewhere?"""

    @property
    def has_code_flow(self) -> bool:
        """Can users be sent to a link that brings them back with a code?"""

    async def begin_device(self) -> DeviceGrant:
        """Begin a device flow."""

    async def poll_device(self, grant: DeviceGrant) -> Tokens | str:
        """The tokens, or the error code of RFC 8628 §3.5 that the provider answers with while there are none.

        Raises `TransientError` if asking again may help.
        """

    async def link(self, secrets: Secrets, username: str) -> str:
        """Where the browser is to be sent (RFC 6749 §4.1.1)."""

    async def exchange(self, code: str, secrets: Secrets) -> Tokens:
        """The tokens for a code (RFC 6749 §4.1.3)."""

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        """Who has logged in; checks scopes and, where there is one, the ID token, whose nonce must be `nonce`."""

    async def revoke(self, access_token: str) -> None:
        """Make the access token worthless (RFC 7009), as far as the provider can; never raises for a refusal."""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class TransientError(Exception):
    """Asking again may help; the text says what was wrong this time."""
