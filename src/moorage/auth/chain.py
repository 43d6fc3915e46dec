"""All ways to log in that a configuration switches on, as one authenticator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from moorage.auth.contract import Authorizer, HookKind, HookObserver, PasswordProvider, PublicKeyProvider
from moorage.auth.hook import endpoint_of
from moorage.auth.users import UsersAuthenticator
from moorage.auth.webhook import Webhook
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.sections.auth import WebhookConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Attempt, Verdict


class AuthChain:
    """An `Authenticator` made of one provider for each method that is on, and of the authorisation hook.

    A method that is off raises `AuthError`: no answer is never a yes.
    """

    def __init__(self, config: AppConfig, *, observer: HookObserver | None = None) -> None:
        """The chain that `config` asks for.  Raises `ConfigError` that names the key for what cannot be had."""
        build = _Builder(config, observer)
        self._password = build.password()
        self._public_key = build.public_key()
        self._authorizer = build.authorizer()

    @property
    def methods(self) -> Sequence[str]:
        offered = (("publickey", self._public_key), ("password", self._password))
        return tuple(name for name, provider in offered if provider is not None)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        if self._password is None:
            raise _off("password")
        return await self._password.password(attempt, password)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        if self._public_key is None:
            raise _off("publickey")
        return await self._public_key.public_key(attempt, key)

    async def authorize(self, attempt: Attempt) -> Verdict:
        if self._authorizer is None:
            return Verdict(True)
        return await self._authorizer.authorize(attempt)

    async def close(self) -> None:
        for provider in self._providers():
            await provider.close()

    def _providers(self) -> Iterator[PasswordProvider | PublicKeyProvider | Authorizer]:
        for provider in (self._password, self._public_key, self._authorizer):
            if provider is not None:
                yield provider


def _off(method: str) -> AuthError:
    return AuthError(f"the method {method} is not switched on", code=Code.AUTH_DISABLED)


class _Builder:
    """Makes the providers; the users file is opened once for both methods."""

    def __init__(self, config: AppConfig, observer: HookObserver | None) -> None:
        self._config = config
        self._observer = observer
        self._users: UsersAuthenticator | None = None
        auth = config.auth
        for name, method in (("keyboardInteractive", auth.keyboard_interactive.method), ("gssapi", auth.gssapi.method)):
            if method:
                _unavailable(f"auth.{name}.method", method)

    def password(self) -> PasswordProvider | None:
        block = self._config.auth.password
        makers: dict[str, Callable[[], PasswordProvider]] = {
            "users": self._users_file,
            "webhook": lambda: self._webhook(HookKind.PASSWORD, "password", block.webhook),
        }
        return _made("auth.password.method", block.method, makers)

    def public_key(self) -> PublicKeyProvider | None:
        block = self._config.auth.public_key
        makers: dict[str, Callable[[], PublicKeyProvider]] = {
            "users": self._users_file,
            "webhook": lambda: self._webhook(HookKind.PUBLIC_KEY, "publicKey", block.webhook),
        }
        return _made("auth.publicKey.method", block.method, makers)

    def authorizer(self) -> Authorizer | None:
        block = self._config.auth.authz
        makers: dict[str, Callable[[], Authorizer]] = {
            "webhook": lambda: self._webhook(HookKind.AUTHORIZATION, "authz", block.webhook)
        }
        return _made("auth.authz.method", block.method, makers)

    def _users_file(self) -> UsersAuthenticator:
        if self._users is None:
            if not self._config.auth.users.file:
                raise ConfigError("auth.users.file: a file is needed for the method users", code=Code.AUTH_CONFIG_ERROR)
            self._users = UsersAuthenticator(Path(self._config.auth.users.file))
        return self._users

    def _webhook(self, kind: HookKind, name: str, block: WebhookConfig) -> Webhook:
        try:
            return Webhook(
                kind,
                endpoint_of(block),
                budget=block.auth_timeout,
                transmit_sensitive=self._config.configserver.transmit_sensitive_metadata,
                observer=self._observer,
            )
        except ValueError as error:
            raise ConfigError(f"auth.{name}.webhook: {error}", code=Code.AUTH_CONFIG_ERROR) from error


_P = TypeVar("_P")


def _made(key: str, method: str, makers: Mapping[str, Callable[[], _P]]) -> _P | None:
    """The provider for `method`; None for the empty string, which is off."""
    if not method:
        return None
    if method not in makers:
        _unavailable(key, method)
    return makers[method]()


def _unavailable(key: str, method: str) -> NoReturn:
    raise ConfigError(f"{key}: the method {method!r} is not available in this version", code=Code.AUTH_CONFIG_ERROR)
