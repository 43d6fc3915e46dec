"""What one way of logging in provides, and who hears about its calls.

A provider answers for one SSH method or for the step after it.  Every provider

* fails closed: it returns a `Verdict` or raises `AuthError`, never anything in between;
* keeps no state between attempts, so that nothing said about one attempt reaches another (a honeypot alone does);
* may be called concurrently and may be cancelled at any await, which stops all of its work;
* releases what it shares in ``close``, which is idempotent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

from moorage.gateway.contract import Ask, TicketExchange
from moorage.gateway.model import Address, Attempt, Metadata, Verdict


class PasswordProvider(Protocol):
    """Checks passwords (RFC 4252 §8)."""

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        """Is this the password?  A refusal takes as long for an unknown user as for a wrong password."""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class PublicKeyProvider(Protocol):
    """Says which keys may log in (RFC 4252 §7); possession is proved elsewhere."""

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        """May `key` (type, space, base64) log in?"""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class KeyboardInteractiveProvider(Protocol):
    """Asks the user whatever it takes (RFC 4256)."""

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        """Do the user's answers let him in?  Unknown users are asked the same."""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


@runtime_checkable
class Revoker(Protocol):
    """A provider whose answers hold what should not outlive a connection."""

    async def revoke(self, metadata: Metadata) -> None:
        """Make the tokens in `metadata` worthless; takes 10 seconds at most and never raises for a refusal."""


class TicketProvider(Protocol):
    """Accepts Kerberos tickets (RFC 4462 §3)."""

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        """Does the client hold a ticket that lets it in, and does it vouch for this very attempt?"""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class Authorizer(Protocol):
    """Has the last word after a factor was verified."""

    async def authorize(self, attempt: Attempt) -> Verdict:
        """May this verified login go on, and what is attached to it?"""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class HookKind(StrEnum):
    """The hooks, named as in the label ``authtype`` of the metrics."""

    PASSWORD = "password"  # noqa: S105  (a name, not a secret)
    PUBLIC_KEY = "pubkey"
    AUTHORIZATION = "authorization"
    ONE_TIME_PASSWORD = "otp"  # noqa: S105
    CONFIG = "config"


class HookObserver(Protocol):
    """Hears about each call of a hook, to count it.  No method may raise or block.

    `retry` is False for the first call of an attempt and True for all later ones.
    """

    def requested(self, kind: HookKind, *, retry: bool) -> None:
        """A call is about to be made."""

    def failed(self, kind: HookKind, *, retry: bool, reason: str, final: bool) -> None:
        """A call gave no answer (`final` False), or the hook gave up (`final` True); `reason` is a message code."""

    def decided(self, kind: HookKind, *, retry: bool, success: bool, remote_address: Address) -> None:
        """An authentication or authorisation hook has answered."""

    def took(self, kind: HookKind, *, seconds: float, is_answered: bool) -> None:
        """A call has ended, with an answer or without."""


class Unobserved:
    """An observer that counts nothing."""

    def requested(self, kind: HookKind, *, retry: bool) -> None:
        pass

    def failed(self, kind: HookKind, *, retry: bool, reason: str, final: bool) -> None:
        pass

    def decided(self, kind: HookKind, *, retry: bool, success: bool, remote_address: Address) -> None:
        pass

    def took(self, kind: HookKind, *, seconds: float, is_answered: bool) -> None:
        pass
