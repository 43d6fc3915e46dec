"""All ways to log in that a configuration switches on, as one authenticator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from moorage.auth.certificates.keys import CertificateKeys
from moorage.auth.contract import (
    Authorizer,
    HookKind,
    HookObserver,
    KeyboardInteractiveProvider,
    PasswordProvider,
    PublicKeyProvider,
    Revoker,
    TicketProvider,
)
from moorage.auth.honeypot import Honeypot
from moorage.auth.local import LocalProviders
from moorage.auth.questions import PasswordQuestion
from moorage.auth.users import UsersAuthenticator
from moorage.auth.usersfile import parse_methods
from moorage.auth.webhook import Webhook
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.clients import endpoint_of
from moorage.config.sections.auth import KerberosConfig, WebhookConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.contract import Ask, TicketExchange
from moorage.gateway.model import Attempt, Metadata, Verdict

if TYPE_CHECKING:
    from moorage.auth.kerberos.login import KerberosLogin


class AuthChain:
    """An `Authenticator` made of one provider for each method that is on, and of the authorisation hook.

    A method that is off raises `AuthError`: no answer is never a yes.
    """

    def __init__(self, config: AppConfig, *, observer: HookObserver | None = None) -> None:
        """The chain that `config` asks for.  Raises `ConfigError` that names the key for what cannot be had."""
        build = _Builder(config, observer)
        self._password = build.password()
        self._public_key = build.public_key()
        self._keyboard_interactive = build.keyboard_interactive(self._password)
        self._ticket = build.ticket()
        self._users = build.users
        self._methods = [parse_methods(text) for text in config.auth.authentication_methods]
        self._authorizer = build.authorizer()

    @property
    def methods(self) -> Sequence[str]:
        offered = (
            ("gssapi-with-mic", self._ticket),
            ("publickey", self._public_key),
            ("password", self._password),
            ("keyboard-interactive", self._keyboard_interactive),
        )
        return tuple(name for name, provider in offered if provider is not None)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        if self._password is None:
            raise _off("password")
        return await self._password.password(attempt, password)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        if self._public_key is None:
            raise _off("publickey")
        return await self._public_key.public_key(attempt, key)

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        if self._keyboard_interactive is None:
            raise _off("keyboard-interactive")
        return await self._keyboard_interactive.keyboard_interactive(attempt, ask)

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        if self._ticket is None:
            raise _off("gssapi-with-mic")
        return await self._ticket.ticket(attempt, exchange)

    async def required(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        own = await self._users.required(attempt) if self._users is not None else ()
        return own or self._methods

    async def ended(self, metadata: Metadata) -> None:
        if isinstance(self._keyboard_interactive, Revoker):
            await self._keyboard_interactive.revoke(metadata)

    async def authorize(self, attempt: Attempt) -> Verdict:
        if self._authorizer is None:
            return Verdict(True)
        return await self._authorizer.authorize(attempt)

    async def close(self) -> None:
        for provider in self._providers():
            await provider.close()

    def _providers(self) -> Iterator[_Provider]:
        for provider in (
            self._password,
            self._public_key,
            self._keyboard_interactive,
            self._ticket,
            self._authorizer,
        ):
            if provider is not None:
                yield provider


_Provider = PasswordProvider | PublicKeyProvider | KeyboardInteractiveProvider | TicketProvider | Authorizer


def _off(method: str) -> AuthError:
    return AuthError(f"the method {method} is not switched on", code=Code.AUTH_DISABLED)


class _Builder:
    """Makes the providers; the users file is opened once for both methods."""

    def __init__(self, config: AppConfig, observer: HookObserver | None) -> None:
        self._config = config
        self._observer = observer
        self._local = LocalProviders(config)
        self.users: UsersAuthenticator | None = None

    def password(self) -> PasswordProvider | None:
        block = self._config.auth.password
        makers: dict[str, Callable[[], PasswordProvider]] = {
            "honeypot": self._honeypot,
            "users": self._users_file,
            "webhook": lambda: self._webhook(HookKind.PASSWORD, "password", block.webhook),
            "pam": self._local.pam,
            "ldap": self._local.ldap,
            "plugin": lambda: self._local.plugin("password"),
            "kerberos": lambda: self._kerberos("password", block.kerberos),
        }
        return _made("auth.password.method", block.method, makers)

    def public_key(self) -> PublicKeyProvider | None:
        block = self._config.auth.public_key
        makers: dict[str, Callable[[], PublicKeyProvider]] = {
            "honeypot": self._honeypot,
            "users": self._users_file,
            "webhook": lambda: self._webhook(HookKind.PUBLIC_KEY, "publicKey", block.webhook),
            "authorizedKeys": self._local.authorized_keys,
            "ldap": self._local.ldap,
            "plugin": lambda: self._local.plugin("public_key"),
        }
        keys = _made("auth.publicKey.method", block.method, makers)
        if keys is None and not block.certificates.authorities:
            return None
        return CertificateKeys(block.certificates, keys, users=self.users if block.method == "users" else None)

    def keyboard_interactive(self, password: PasswordProvider | None) -> KeyboardInteractiveProvider | None:
        def question() -> KeyboardInteractiveProvider:
            if password is None:
                raise ConfigError(
                    "auth.keyboardInteractive.method: password asks what auth.password.method checks, which is not set",
                    code=Code.AUTH_CONFIG_ERROR,
                )
            return PasswordQuestion(password)

        block = self._config.auth.keyboard_interactive
        makers: dict[str, Callable[[], KeyboardInteractiveProvider]] = {
            "totp": self._users_file,
            "password": question,
            "oauth2": self._oauth2,
            "plugin": lambda: self._local.plugin("keyboard_interactive"),
            "pam": self._local.pam,
            "webhook": lambda: self._webhook(HookKind.ONE_TIME_PASSWORD, "keyboardInteractive", block.webhook),
        }
        return _made("auth.keyboardInteractive.method", block.method, makers)

    def ticket(self) -> TicketProvider | None:
        block = self._config.auth.gssapi
        makers: dict[str, Callable[[], TicketProvider]] = {"kerberos": lambda: self._kerberos("gssapi", block.kerberos)}
        return _made("auth.gssapi.method", block.method, makers)

    @staticmethod
    def _kerberos(name: str, block: KerberosConfig) -> KerberosLogin:
        from moorage.auth.kerberos.login import KerberosLogin

        return KerberosLogin(block, f"auth.{name}.kerberos")

    def _oauth2(self) -> KeyboardInteractiveProvider:
        from moorage.auth.oauth2.login import OAuth2Login

        try:
            return OAuth2Login(self._config.auth.keyboard_interactive.oauth2)
        except ValueError as error:
            raise ConfigError(f"auth.keyboardInteractive.oauth2: {error}", code=Code.AUTH_CONFIG_ERROR) from error

    def authorizer(self) -> Authorizer | None:
        block = self._config.auth.authz
        makers: dict[str, Callable[[], Authorizer]] = {
            "webhook": lambda: self._webhook(HookKind.AUTHORIZATION, "authz", block.webhook),
            "plugin": lambda: self._local.plugin("authorize"),
        }
        return _made("auth.authz.method", block.method, makers)

    def _honeypot(self) -> Honeypot:
        return Honeypot(self._config.auth.honeypot)

    def _users_file(self) -> UsersAuthenticator:
        if self.users is None:
            if not self._config.auth.users.file:
                raise ConfigError("auth.users.file: a file is needed for the method users", code=Code.AUTH_CONFIG_ERROR)
            self.users = UsersAuthenticator(Path(self._config.auth.users.file))
        return self.users

    def _webhook(self, kind: HookKind, name: str, block: WebhookConfig) -> Webhook:
        try:
            return Webhook(
                kind,
                endpoint_of(block),
                budget=block.auth_timeout,
                transmit_sensitive=self._config.configserver.transmit_sensitive_metadata,
                protocol=block.protocol,
                secret=block.secret.get_secret_value().encode(),
                describes_certificates=bool(self._config.auth.public_key.certificates.authorities),
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
