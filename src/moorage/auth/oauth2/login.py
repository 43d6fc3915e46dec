"""A login with an identity provider, as a conversation with whoever sits at the SSH client."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from moorage.auth.oauth2 import prompts
from moorage.auth.oauth2.calls import LONGEST_TOKEN, fresh_secrets
from moorage.auth.oauth2.contract import Denied, DeviceGrant, Identity, Provider, Secrets, Tokens, TransientError
from moorage.auth.oauth2.device import Pace
from moorage.auth.oauth2.generic import GenericProvider
from moorage.auth.oauth2.github import GitHubProvider
from moorage.auth.oauth2.oidc import OIDCProvider
from moorage.auth.oauth2.rules import applied
from moorage.codes import Code
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.contract import Ask
from moorage.gateway.model import Attempt, Metadata, TextValue, Verdict

_MAKERS: Final[dict[str, Callable[[OAuth2Config], Provider]]] = {
    "github": GitHubProvider,
    "oidc": OIDCProvider,
    "generic": GenericProvider,
}


class OAuth2Login:
    """A `KeyboardInteractiveProvider` on an identity provider.

    The device flow comes first where both sides have it; a provider that begins none leaves the code flow.  The
    user's code counts only together with the state of this very attempt.  Tokens of a login that is refused in
    the end are revoked.
    """

    def __init__(
        self,
        config: OAuth2Config,
        *,
        provider: Provider | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises `ValueError` if an endpoint cannot be used."""
        self._config = config
        self._provider = provider or _MAKERS[config.provider](config)
        self._sleep = sleep
        self._qr_clients, self._device_clients = (
            tuple(map(re.compile, patterns)) for patterns in (config.qr_code_clients, config.device_flow_clients)
        )

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        """Lead the user through the provider's login; takes at most ``authTimeout``."""
        with structlog.contextvars.bound_contextvars(connectionId=attempt.connection_id, username=attempt.username):
            try:
                async with asyncio.timeout(self._config.auth_timeout.total_seconds()):
                    return await self._converse(attempt, ask)
            except Denied as denied:
                structlog.get_logger().debug("The identity provider's login is refused", code=denied.code)
                await ask(prompts.closing(denied.user_text, attempt))
                return Verdict(False, reason=f"{denied} ({denied.code})")
            except TimeoutError:
                raise AuthError(
                    f"the user has not logged in within {self._config.auth_timeout.total_seconds():g} s",
                    code=Code.AUTH_OAUTH2_TIMEOUT,
                ) from None
            except AuthError:
                await ask(prompts.closing("The identity provider could not be asked.", attempt))
                raise

    async def revoke(self, metadata: Metadata) -> None:
        """Make the access token in a login's metadata worthless; never raises."""
        for name in ("OIDC_TOKEN", "GITHUB_TOKEN"):
            if name in metadata.metadata:
                await self._revoke(metadata.metadata[name].value)

    async def close(self) -> None:
        await self._provider.close()

    async def _converse(self, attempt: Attempt, ask: Ask) -> Verdict:
        tokens, nonce, method = await self._tokens(attempt, ask)
        try:
            identity = await self._provider.identify(tokens, nonce)
            self._check_name(identity, attempt)
            attached, restrictions = applied(self._config.rules, identity.claims)
        except BaseException:
            # Also where the client has gone: shielded, or the token would live on.
            await asyncio.shield(self._revoke(tokens.access))
            raise
        metadata = identity.metadata
        if self._config.provider == "github":
            metadata = metadata.merged(Metadata({"GITHUB_METHOD": TextValue(method)}))
        return Verdict(True, identity.username, metadata.merged(attached), restrictions)

    async def _tokens(self, attempt: Attempt, ask: Ask) -> tuple[Tokens, str | None, str]:
        """The tokens, the nonce that belongs to them, and the flow that led there."""
        provider = self._provider
        if provider.has_device_flow and self._is_among(attempt, self._device_clients, default=True):
            try:
                grant = await provider.begin_device()
            except AuthError as error:
                if not provider.has_code_flow:
                    raise
                structlog.get_logger().debug(str(error), code=error.code)
            else:
                return await self._by_device(attempt, grant, ask), None, "device"
        if not provider.has_code_flow:
            raise AuthError("no flow of the provider fits this client", code=Code.AUTH_UNSUPPORTED)
        secrets = fresh_secrets()
        return await self._by_code(attempt, secrets, ask), secrets.nonce, "code"

    async def _by_device(self, attempt: Attempt, grant: DeviceGrant, ask: Ask) -> Tokens:
        with_qr = self._is_among(attempt, self._qr_clients, default=False)
        await ask(prompts.device(attempt, grant, with_qr=with_qr))
        pace = Pace(grant.interval)
        try:
            async with asyncio.timeout(grant.expires_in):
                while True:
                    await self._sleep(pace.interval)
                    try:
                        answer = await self._provider.poll_device(grant)
                    except TransientError:
                        pace.failed()
                        continue
                    if isinstance(answer, Tokens):
                        return answer
                    pace.answered(answer)
        except TimeoutError:
            raise Denied(
                "the user's code has expired",
                Code.AUTH_OAUTH2_TIMEOUT,
                user_text="The code has expired. Connect again for a new one.",
            ) from None

    async def _by_code(self, attempt: Attempt, secrets: Secrets, ask: Ask) -> Tokens:
        link = await self._provider.link(secrets, attempt.username)
        with_qr = self._is_among(attempt, self._qr_clients, default=False)
        answers = await ask(prompts.code(link, with_qr=with_qr))
        state, _, code = (answers[0] if answers else "").strip().partition("|")
        if not hmac.compare_digest(state.encode(), secrets.state.encode()):
            raise Denied(
                "the code that was typed in belongs to another login",
                Code.AUTH_OAUTH_STATE_MISMATCH,
                user_text="This is not the code of this login.",
            )
        if not 0 < len(code) <= LONGEST_TOKEN:
            raise Denied("no code was typed in", Code.AUTH_FAILED, user_text="No code was entered.")
        return await self._provider.exchange(code, secrets)

    def _check_name(self, identity: Identity, attempt: Attempt) -> None:
        if not self._config.binds_username:
            return
        given, known = attempt.username, identity.username
        is_same = given.casefold() == known.casefold() if self._config.provider == "github" else given == known
        if not is_same:
            is_github = self._config.provider == "github"
            raise Denied(
                f"the user is {known[:100]!r} at the provider and {given!r} here",
                Code.GITHUB_USER_DOES_NOT_MATCH if is_github else Code.AUTH_FAILED,
                user_text="Your name at the identity provider is not the one you log in with here.",
            )

    async def _revoke(self, access: str) -> None:
        try:
            async with asyncio.timeout(10):
                await self._provider.revoke(access)
        except TimeoutError:
            structlog.get_logger().warning("A token was not revoked in time", code=Code.OIDC_DEAUTHORIZE_TIMEOUT)

    @staticmethod
    def _is_among(attempt: Attempt, clients: tuple[re.Pattern[str], ...], *, default: bool) -> bool:
        return any(client.search(attempt.client_version) for client in clients) if clients else default
