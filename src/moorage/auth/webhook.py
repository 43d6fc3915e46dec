"""Authentication and authorisation by webhook, compatible with servers for the ContainerSSH protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from moorage.auth import wire
from moorage.auth.certificates.certificate import is_certificate, parse_line
from moorage.auth.contract import HookKind, HookObserver, Unobserved
from moorage.auth.hook import Hook
from moorage.codes import Code
from moorage.gateway.contract import Ask
from moorage.gateway.model import Attempt, Prompt, Round, Verdict
from moorage.net.http import Endpoint, WebClient

_PATHS: Final = {
    HookKind.PASSWORD: "/password",
    HookKind.PUBLIC_KEY: "/pubkey",
    HookKind.AUTHORIZATION: "/authz",
    HookKind.ONE_TIME_PASSWORD: "/otp",
}
_SECRETS: Final = {HookKind.PASSWORD, HookKind.ONE_TIME_PASSWORD}
_CODE: Final = Round(prompts=(Prompt("One-time password: "),))


class Webhook:
    """Asks a service at ``URL/password``, ``URL/pubkey``, ``URL/authz`` or ``URL/otp``, one path an instance.

    ``success: true`` in a JSON answer of status 200 is the only yes.
    """

    def __init__(
        self,
        kind: HookKind,
        endpoint: Endpoint,
        *,
        budget: timedelta,
        transmit_sensitive: bool = False,
        describes_certificates: bool = False,
        protocol: str = "0.6",
        secret: bytes = b"",
        observer: HookObserver | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises `ValueError` if the endpoint cannot be used.

        `budget` bounds all calls for one attempt.  Secret metadata of earlier stages is sent only
        with `transmit_sensitive`.  With `describes_certificates` the fields of a certificate are sent beside it:
        somebody has verified them by then.  `protocol` 0.4 sends passwords and keys as that release did.
        """
        self._kind = kind
        self._is_old = protocol == "0.4"
        self._transmit_sensitive = transmit_sensitive
        self._describes_certificates = describes_certificates
        self._observer: HookObserver = observer or Unobserved()
        self._client = WebClient(endpoint)
        self._hook = Hook(
            self._client, kind, path=_PATHS[kind], budget=budget, secret=secret, observer=self._observer, sleep=sleep
        )

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        if self._is_old:
            return await self._verdict(attempt, wire.old_password_request(attempt, password))
        return await self._verdict(attempt, wire.password_request(self._sendable(attempt), password))

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        if self._is_old:
            return await self._verdict(attempt, wire.old_request(attempt, publicKey=key))
        fields = None
        if self._describes_certificates and is_certificate(key):
            fields = parse_line(key).description
        return await self._verdict(attempt, wire.public_key_request(self._sendable(attempt), key, fields))

    async def authorize(self, attempt: Attempt) -> Verdict:
        return await self._verdict(attempt, wire.login_request(self._sendable(attempt)))

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        """Asks for a one-time password, which the service checks."""
        (code,) = await ask(_CODE)
        return await self._verdict(attempt, wire.one_time_password_request(self._sendable(attempt), code))

    async def close(self) -> None:
        await self._client.close()

    def _sendable(self, attempt: Attempt) -> Attempt:
        if self._transmit_sensitive:
            return attempt
        return replace(attempt, metadata=wire.without_sensitive(attempt.metadata))

    async def _verdict(self, attempt: Attempt, body: bytes) -> Verdict:
        is_confidential = self._kind in _SECRETS or (self._transmit_sensitive and wire.has_sensitive(attempt.metadata))
        verdict, is_retry = await self._hook.ask(attempt, body, wire.read_verdict, confidential=is_confidential)
        self._observer.decided(
            self._kind, retry=is_retry, success=verdict.success, remote_address=attempt.remote_address
        )
        structlog.get_logger().debug(
            "the service accepts the login" if verdict.success else "the service refuses the login",
            code=Code.AUTH_SUCCESSFUL if verdict.success else Code.AUTH_FAILED,
            connectionId=attempt.connection_id,
            username=attempt.username,
            url=self._client.url,
            authtype=self._kind.value,
        )
        return verdict
