"""All public keys that log in: certificates are judged here, and revoked keys are turned away first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from moorage.auth.certificates.certificate import is_certificate
from moorage.auth.certificates.judge import CertificateJudge
from moorage.auth.certificates.signatures import WEAKEST_RSA, rsa_bits
from moorage.auth.contract import PublicKeyProvider
from moorage.auth.keys import parse_key
from moorage.config.sections.certificates import CertificatesConfig
from moorage.gateway.model import Attempt, Verdict


class KnownUsers(Protocol):
    """Users on record."""

    async def verdict_on(self, name: str) -> Verdict:
        """What is attached to a user who may log in; a refusal for all others."""

    async def principals_of(self, name: str) -> Sequence[str] | None:
        """The principals that are good for him; None if his record names none."""


class CertificateKeys:
    """A `PublicKeyProvider` in front of another: what that one accepts, less what is revoked, plus certificates.

    A certificate of one of our authorities is accepted if it is good, and if the users file (where that is the
    method) has an enabled user of the name, or the webhook (where that is) says yes as well.  Where no
    authorities are named the webhook alone says whose certificates count; all else that a certificate says
    holds even then.
    """

    def __init__(
        self,
        config: CertificatesConfig,
        inner: PublicKeyProvider | None,
        *,
        users: KnownUsers | None = None,
    ) -> None:
        """Raises `ConfigError`."""
        self._judge = CertificateJudge(config, principals_of=users.principals_of if users is not None else None)
        self._inner = inner
        self._users = users

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        if is_certificate(key):
            return await self._certificate(attempt, key)
        try:
            blob = parse_key(key).blob
            bits = rsa_bits(blob)
        except ValueError as error:
            return Verdict(False, reason=str(error))
        if bits is not None and bits < WEAKEST_RSA:
            return Verdict(False, reason=f"the RSA key has {bits} bits; at least {WEAKEST_RSA} are needed")
        if self._inner is None:
            return Verdict(False)
        if await self._judge.revokes_key(blob):
            return Verdict(False, reason="the key is revoked")
        return await self._inner.public_key(attempt, key)

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()

    async def _certificate(self, attempt: Attempt, key: str) -> Verdict:
        verdict = await self._judge.judge(attempt, key)
        if not verdict.success:
            return verdict
        if self._users is not None:
            if not self._judge.knows_authorities:
                return Verdict(False)
            second = await self._users.verdict_on(attempt.username)
        elif self._inner is not None:
            second = await self._inner.public_key(verdict.applied(attempt), key)
        else:
            return verdict
        return second.after(verdict)
