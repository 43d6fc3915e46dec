"""``auth``: who may log in, and how that is found out."""

import importlib.util
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, model_validator

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, OneOf, Section, shown, under
from moorage.config.sections.certificates import CertificatesConfig, FIDOConfig
from moorage.config.sections.directories import AuthorizedKeysConfig, LDAPConfig, PAMConfig, PluginConfig
from moorage.config.sections.honeypot import HoneypotConfig
from moorage.config.sections.http import HookConfig
from moorage.config.sections.oauth2 import OAuth2Config


class WebhookConfig(HookConfig):
    """An authentication webhook. `/password`, `/pubkey` or `/authz` is appended to its `url`."""

    auth_timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=60)
    """The longest time for an answer, retries included; at least 100ms."""


class PrincipalConfig(Section):
    """A principal and its name here. An addition."""

    principal: str = ""
    """The principal with its realm, such as `mia/admin@EXAMPLE.COM`; required."""

    name: str = ""
    """The name under which it may log in; empty: it may not."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if "@" not in self.principal.strip("@"):
            yield Finding(("principal",), f"{shown(self.principal)} is no principal", "write NAME@REALM")


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
    """Kerberos' own configuration. Must exist for passwords; for tickets the system's is used where it does not."""

    clock_skew: Duration = timedelta(minutes=5)
    """How far clocks may be apart."""

    realms: tuple[str, ...] = ()
    """Realms whose users may log in. Empty: the default realm. An addition."""

    principals: tuple[PrincipalConfig, ...] = ()
    """The names of certain principals. All others have the name before the `@`. An addition."""

    timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=10)
    """The longest time that one step may take, such as asking the KDC; at least 100ms. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if importlib.util.find_spec("gssapi") is None:
            yield Finding((), "Kerberos needs a package that is missing", "pip install 'moorage[kerberos]'")
        if wrong := disk.file(self.keytab):
            yield Finding(("keytab",), wrong)
        if self.clock_skew < timedelta(0):
            yield Finding(("clockSkew",), "must not be negative")
        for index, entry in enumerate(self.principals):
            yield from under("principals", under(index, entry.problems(disk)))
        if self.acceptor not in {"any", "host"} and "/" not in self.acceptor.strip("/"):
            yield Finding(("acceptor",), f"{shown(self.acceptor)} is no principal", "use any, host or service/name")


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

    method: Annotated[
        str, OneOf(("webhook", "kerberos", "users", "pam", "ldap", "plugin", "honeypot"), "authentication method")
    ] = ""
    """`webhook`, `kerberos`, `users`, `pam`, `ldap`, `plugin` or `honeypot` (additions; the last lets strangers in), or
    empty for off."""

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

    method: Annotated[
        str, OneOf(("webhook", "users", "authorizedKeys", "ldap", "plugin", "honeypot"), "authentication method")
    ] = ""
    """`webhook`, `users`, `authorizedKeys`, `ldap`, `plugin` or `honeypot` (additions), or empty for off."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)
    """For `method: webhook`."""

    authorized_keys: AuthorizedKeysConfig = Field(default_factory=AuthorizedKeysConfig)
    """For `method: authorizedKeys`. An addition."""

    certificates: CertificatesConfig = Field(default_factory=CertificatesConfig)
    """OpenSSH certificates. An addition."""

    fido: FIDOConfig = Field(default_factory=FIDOConfig)
    """Security keys. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.method == "authorizedKeys":
            yield from under("authorizedKeys", self.authorized_keys.problems(disk))
        yield from under("certificates", self.certificates.problems(disk))


class KeyboardInteractiveAuthConfig(_MethodConfig):
    """Logging in by answering questions."""

    method: Annotated[
        str, OneOf(("oauth2", "totp", "password", "pam", "webhook", "plugin"), "authentication method")
    ] = ""
    """`oauth2`, `totp` (one-time passwords of the users file; an addition), `password` (what `auth.password` checks,
    for clients that only answer questions; an addition), `pam` (what the machine's modules ask; an addition),
    `webhook` (one-time passwords that a webhook checks; an addition), `plugin` (an addition), or empty for off."""

    oauth2: OAuth2Config = Field(default_factory=OAuth2Config)
    """For `method: oauth2`."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)
    """For `method: webhook`; `/otp` is appended to its `url`. An addition."""


class GSSAPIAuthConfig(_MethodConfig):
    """Logging in with a ticket."""

    method: Annotated[str, OneOf(("kerberos",), "authentication method")] = ""
    """`kerberos`, or empty for off."""

    kerberos: KerberosConfig = Field(default_factory=KerberosConfig)
    """For `method: kerberos`."""


class AuthzConfig(_MethodConfig):
    """The decision after authentication."""

    method: Annotated[str, OneOf(("webhook", "plugin"), "authorization method")] = ""
    """`webhook`, `plugin` (an addition), or empty for off."""

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

    plugin: PluginConfig = Field(default_factory=PluginConfig)
    """Another package's authenticator, for the method `plugin`. An addition."""

    pam: PAMConfig = Field(default_factory=PAMConfig)
    """The machine's own users, for the method `pam`. An addition."""

    ldap: LDAPConfig = Field(default_factory=LDAPConfig)
    """A directory, for the method `ldap`. An addition."""

    honeypot: HoneypotConfig = Field(default_factory=HoneypotConfig)
    """Whom the method `honeypot` lets in. An addition."""

    authentication_methods: tuple[str, ...] = ()
    """Lists of methods, one of which must succeed as a whole and in order, such as `publickey,keyboard-interactive`;
    methods are `publickey`, `password`, `keyboard-interactive` and `gssapi-with-mic`. None: any one method is enough. A
    user's own lists in the users file win. An addition."""

    @model_validator(mode="before")
    @classmethod
    def _users_alone(cls, data: Any) -> Any:
        return with_users_method(data) if isinstance(data, dict) else data

    @property
    def is_honeypot(self) -> bool:
        """True if strangers are let in."""
        return "honeypot" in {self.password.method, self.public_key.method}

    @property
    def is_off(self) -> bool:
        """True if nobody can log in."""
        return not (
            self.password.method
            or self.public_key.method
            or self.public_key.certificates.authorities
            or self.keyboard_interactive.method
            or self.gssapi.method
        )

    def problems(self, disk: Disk) -> Iterator[Finding]:
        for name, part in self._parts():
            yield from under(name, part.problems(disk))
        yield from self._method_problems()
        chosen = {self.password.method, self.public_key.method, self.keyboard_interactive.method}
        if "plugin" in {*chosen, self.authz.method}:
            yield from under("plugin", self.plugin.problems(disk))
        if "pam" in chosen:
            yield from under("pam", self.pam.problems(disk))
        if "ldap" in chosen:
            yield from under("ldap", self.ldap.problems(disk))
        if self.is_honeypot:
            yield from under("honeypot", self.honeypot.problems(disk))
        for name, part in (("authz", self.authz), ("keyboardInteractive", self.keyboard_interactive)):
            if part.method == "webhook" and part.webhook.protocol == "0.4":
                yield Finding((name, "webhook", "protocol"), "release 0.4 has no such hook", "leave it out")
        if {"users", "totp"} & chosen:
            if not self.users.file:
                yield Finding(
                    ("users", "file"), "is required for the methods users and totp", "moorage users add NAME makes one"
                )
            elif wrong := disk.file(self.users.file):
                yield Finding(("users", "file"), wrong, "moorage users add NAME makes one")

    def warnings(self) -> Iterator[Finding]:
        for name, part in self._parts():
            yield from under(name, part.warnings())
        if self.is_off:
            yield Finding((), "no authentication method is configured: nobody can log in", "set auth.password.method")
        oauth2 = self.keyboard_interactive.oauth2
        if self.keyboard_interactive.method == "oauth2" and not (oauth2.binds_username or self.authz.method):
            yield Finding(
                ("keyboardInteractive", "oauth2"),
                "everybody with an account at the provider may log in under any name",
                "set enforceUsername of the provider, or auth.authz",
            )

    def _method_problems(self) -> Iterator[Finding]:
        on = {
            "password": self.password.method,
            "publickey": self.public_key.method or self.public_key.certificates.authorities,
            "keyboard-interactive": self.keyboard_interactive.method,
            "gssapi-with-mic": self.gssapi.method,
        }
        for index, text in enumerate(self.authentication_methods):
            for method in (part.strip() for part in text.split(",")):
                if method not in on:
                    names = ", ".join(on)
                    yield Finding(
                        ("authenticationMethods", index), f"{shown(method)} is no method", f"choose from {names}"
                    )
                elif not on[method]:
                    yield Finding(("authenticationMethods", index), f"{method} is not switched on", "set its method")
        if self.keyboard_interactive.method == "password" and not self.password.method:
            yield Finding(("keyboardInteractive", "method"), "password needs auth.password.method", "set that as well")

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
    chosen = {said(data.get(name), "method") for name in methods} - {None, "", "totp"}
    if not said(data.get("users"), "file") or chosen:
        return data
    result = dict(data)
    for name in ("password", "publicKey" if "publicKey" in data else "public_key"):
        part = data.get(name) or {}
        given = part if isinstance(part, dict) else {key: getattr(part, key) for key in part.model_fields_set}
        result[name] = {**given, "method": "users"}
    return result
