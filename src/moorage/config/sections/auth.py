"""``auth``: who may log in, and how that is found out."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, model_validator

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, OneOf, Section, under
from moorage.config.sections.http import HTTPClientConfig
from moorage.config.sections.oauth2 import OAuth2Config


class WebhookConfig(HTTPClientConfig):
    """An authentication webhook. `/password`, `/pubkey` or `/authz` is appended to its `url`."""

    auth_timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=60)
    """The longest time for an answer, retries included; at least 100ms."""


class KerberosConfig(Section):
    """Kerberos."""

    keytab: str = "/etc/krb5.keytab"
    """The server's keys; must exist."""

    acceptor: str = "any"
    """`any` entry of the keytab, `host` for host/HOSTNAME, or a principal `service/name`."""

    enforce_username: bool = True
    """The principal must be the name given to SSH."""

    credential_cache_path: str = "/tmp/krb5cc"  # noqa: S108 - a path in the guest
    """Where the guest finds the user's tickets."""

    config_path: str = "/etc/containerssh/krb5.conf"
    """Kerberos' own configuration; read for passwords only."""

    clock_skew: Duration = timedelta(minutes=5)
    """How far clocks may be apart."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if wrong := disk.file(self.keytab):
            yield Finding(("keytab",), wrong)
        if self.clock_skew < timedelta(0):
            yield Finding(("clockSkew",), "must not be negative")


class UsersConfig(Section):
    """Users in a local file. An addition."""

    file: str = ""
    """The file that `moorage users` writes. If no method is chosen, it switches on passwords and public keys."""


class _MethodConfig(Section):
    """One way to log in: which service decides."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        method: str = getattr(self, "method")  # noqa: B009 - every subclass has one, with its own choices
        chosen = getattr(self, method, None) if method else None
        if isinstance(chosen, Section):
            yield from under(method, chosen.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        method: str = getattr(self, "method")  # noqa: B009
        chosen = getattr(self, method, None) if method else None
        if isinstance(chosen, Section):
            yield from under(method, chosen.warnings())


class PasswordAuthConfig(_MethodConfig):
    """Logging in with a password."""

    method: Annotated[str, OneOf(("webhook", "kerberos", "users"), "authentication method")] = ""
    """`webhook`, `kerberos`, `users` (an addition), or empty for off."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)
    """For `method: webhook`."""

    kerberos: KerberosConfig = Field(default_factory=KerberosConfig)
    """For `method: kerberos`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.method == "kerberos" and (wrong := disk.file(self.kerberos.config_path)):
            yield Finding(("kerberos", "configPath"), wrong)


class PublicKeyAuthConfig(_MethodConfig):
    """Logging in with a public key."""

    method: Annotated[str, OneOf(("webhook", "users"), "authentication method")] = ""
    """`webhook`, `users` (an addition), or empty for off."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)
    """For `method: webhook`."""


class KeyboardInteractiveAuthConfig(_MethodConfig):
    """Logging in by answering questions."""

    method: Annotated[str, OneOf(("oauth2",), "authentication method")] = ""
    """`oauth2`, or empty for off."""

    oauth2: OAuth2Config = Field(default_factory=OAuth2Config)
    """For `method: oauth2`."""


class GSSAPIAuthConfig(_MethodConfig):
    """Logging in with a ticket."""

    method: Annotated[str, OneOf(("kerberos",), "authentication method")] = ""
    """`kerberos`, or empty for off."""

    kerberos: KerberosConfig = Field(default_factory=KerberosConfig)
    """For `method: kerberos`."""


class AuthzConfig(_MethodConfig):
    """The decision after authentication."""

    method: Annotated[str, OneOf(("webhook",), "authorization method")] = ""
    """`webhook`, or empty for off."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)
    """For `method: webhook`."""


class AuthConfig(Section):
    """Who may log in."""

    password: PasswordAuthConfig = Field(default_factory=PasswordAuthConfig)
    """Passwords."""

    public_key: PublicKeyAuthConfig = Field(default_factory=PublicKeyAuthConfig)
    """Public keys."""

    keyboard_interactive: KeyboardInteractiveAuthConfig = Field(default_factory=KeyboardInteractiveAuthConfig)
    """Questions and answers."""

    gssapi: GSSAPIAuthConfig = Field(default_factory=GSSAPIAuthConfig)
    """Kerberos tickets."""

    authz: AuthzConfig = Field(default_factory=AuthzConfig)
    """The decision after authentication."""

    users: UsersConfig = Field(default_factory=UsersConfig)
    """Users in a local file. An addition."""

    @model_validator(mode="before")
    @classmethod
    def _users_alone(cls, data: Any) -> Any:
        return with_users_method(data) if isinstance(data, dict) else data

    @property
    def is_off(self) -> bool:
        """True if nobody can log in."""
        return not (
            self.password.method or self.public_key.method or self.keyboard_interactive.method or self.gssapi.method
        )

    def problems(self, disk: Disk) -> Iterator[Finding]:
        for name, part in self._parts():
            yield from under(name, part.problems(disk))
        if "users" in {self.password.method, self.public_key.method}:
            if not self.users.file:
                yield Finding(("users", "file"), "is required for method users", "moorage users add NAME makes one")
            elif wrong := disk.file(self.users.file):
                yield Finding(("users", "file"), wrong, "moorage users add NAME makes one")

    def warnings(self) -> Iterator[Finding]:
        for name, part in self._parts():
            yield from under(name, part.warnings())
        if self.is_off:
            yield Finding((), "no authentication method is configured: nobody can log in", "set auth.password.method")

    def _parts(self) -> tuple[tuple[str, Section], ...]:
        return (
            ("password", self.password),
            ("publicKey", self.public_key),
            ("keyboardInteractive", self.keyboard_interactive),
            ("gssapi", self.gssapi),
            ("authz", self.authz),
        )


def with_users_method(data: dict[str, Any]) -> dict[str, Any]:
    """`data` for `AuthConfig`, with passwords and public keys from the users file if that is all that it says."""

    def said(part: object, name: str) -> object:
        return part.get(name) if isinstance(part, dict) else getattr(part, name, None)

    methods = ("password", "public_key", "publicKey", "keyboard_interactive", "keyboardInteractive", "gssapi")
    if not said(data.get("users"), "file") or any(said(data.get(name), "method") for name in methods):
        return data
    result = dict(data)
    for name in ("password", "publicKey" if "publicKey" in data else "public_key"):
        part = data.get(name) or {}
        given = part if isinstance(part, dict) else {key: getattr(part, key) for key in part.model_fields_set}
        result[name] = {**given, "method": "users"}
    return result
