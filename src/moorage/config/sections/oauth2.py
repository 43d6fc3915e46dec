"""``auth.keyboardInteractive.oauth2``: logging in with an identity provider."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from moorage.config.disk import Disk
from moorage.config.section import URL, AtLeast, Duration, EachOneOf, Finding, OneOf, PrivateKey, Section, shown, under
from moorage.config.sections.http import HTTPClientConfig, HTTPServerConfig, TLSConfig, url_problems

RESTRICTIONS = ("terminal", "forwarding", "x11", "agent")

ID_TOKEN_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Public key signatures only: `none` and the HMACs are not to be had."""


class OAuth2RedirectConfig(HTTPServerConfig):
    """The web server that the provider sends the browser back to."""

    webroot: str = ""
    """A directory with an `index.html` to show instead of the built-in page."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.webroot:
            wrong = disk.directory(self.webroot)
            missing = disk.file(str(Path(self.webroot) / "index.html"))
            if wrong:
                yield Finding(("webroot",), wrong)
            elif missing:
                yield Finding(("webroot",), f"index.html: {missing}")


class ClaimRuleConfig(Section):
    """What follows from a claim about the user. An addition."""

    claim: str = ""
    """The claim's name: a field of the user's record or of the ID token, such as `groups`; required."""

    values: tuple[str, ...] = ("*",)
    """The rule applies if the claim, or one of its elements, fits one of these; `*` and `?` as usual."""

    deny: bool = False
    """Refuse the login."""

    metadata: dict[str, str] = Field(default_factory=dict)
    """Metadata for the hooks and the backend."""

    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the guest."""

    force_command: str = ""
    """Runs instead of everything; `security.forceCommand` comes first."""

    without: Annotated[tuple[str, ...], EachOneOf(RESTRICTIONS, "restriction", may_be_empty=True)] = ()
    """What the login may not do: `terminal`, `forwarding`, `x11`, `agent`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.claim:
            yield Finding(("claim",), "is required", "name a claim such as groups")
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                yield Finding(("environment",), f"{shown(name)} is no name of a variable")


class GitHubConfig(TLSConfig):
    """GitHub as the provider."""

    url: URL = "https://github.com"
    """Where users log in."""

    apiurl: URL = "https://api.github.com"
    """Where the API is."""

    cacert: str = ""
    """Certificates, PEM text or path, that replace the system's authorities."""

    cert: str = ""
    """Accepted and without effect."""

    key: PrivateKey = SecretStr("")
    """Accepted and without effect."""

    enforce_username: bool = True
    """The name at GitHub must be the name given to SSH."""

    require_org_membership: str = ""
    """An organisation that the user must be a member of."""

    require_2fa: bool = False
    """The user must have two-factor authentication switched on."""

    extra_scopes: tuple[str, ...] = ()
    """Scopes to ask for in addition."""

    enforce_scopes: bool = False
    """Refuse the login if a scope was not granted."""

    timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=10)
    """The longest time that one request may take; at least 100ms."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from url_problems("url", self.url)
        yield from url_problems("apiurl", self.apiurl)
        if self.cacert and (wrong := disk.certificates(self.cacert)):
            yield Finding(("cacert",), wrong)
        yield from super().problems(disk)

    def warnings(self) -> Iterator[Finding]:
        plain = type(self)()
        for name in ("cert", "key", "tls_version", "curves", "cipher"):
            if getattr(self, name) != getattr(plain, name):
                yield Finding((type(self).model_fields[name].alias or name,), "has no effect", "remove it")


class OIDCConfig(HTTPClientConfig):
    """An OpenID Connect provider; `url` is its issuer."""

    device_flow: bool = False
    """Show a code that the user types into a browser anywhere."""

    authorization_code_flow: bool = False
    """Show a link that leads back to this server."""

    username_field: str = "sub"
    """The field of the user's record that names the user."""

    redirect_uri: str = ""
    """Where the provider sends the browser back to; required for the authorization code flow."""

    extra_scopes: tuple[str, ...] = ()
    """Scopes to ask for in addition to `openid`."""

    enforce_scopes: bool = False
    """Refuse the login if a scope was not granted."""

    enforce_username: bool = False
    """The name at the provider must be the name given to SSH. An addition."""

    id_token_algorithms: Annotated[tuple[str, ...], EachOneOf(ID_TOKEN_ALGORITHMS, "signature algorithm")] = (
        "RS256",
        "PS256",
        "ES256",
        "ES384",
        "Ed25519",
        "EdDSA",
    )
    """What ID tokens may be signed with. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.device_flow and not self.authorization_code_flow:
            yield Finding(("deviceFlow",), "no flow is switched on", "set deviceFlow or authorizationCodeFlow")
        if self.authorization_code_flow:
            yield from url_problems("redirectURI", self.redirect_uri)

    def warnings(self) -> Iterator[Finding]:
        yield from super().warnings()
        if not self.is_tls:
            yield Finding(("url",), "the provider is called without TLS", "use https")


class GenericOAuth2Config(Section):
    """Any OAuth2 provider, by its two addresses; authorization code flow only."""

    authorize_endpoint_url: URL = ""
    """Where users log in; required."""

    token_endpoint: HTTPClientConfig = Field(default_factory=HTTPClientConfig)
    """Where a code becomes a token; required."""

    redirect_uri: str = ""
    """Where the provider sends the browser back to; required."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from url_problems("authorizeEndpointURL", self.authorize_endpoint_url)
        yield from under("tokenEndpoint", self.token_endpoint.problems(disk))
        yield from url_problems("redirectURI", self.redirect_uri)


class OAuth2Config(Section):
    """Logging in with an identity provider."""

    redirect: OAuth2RedirectConfig = Field(default_factory=OAuth2RedirectConfig)
    """The web server that the provider sends the browser back to."""

    client_id: str = ""
    """Our name at the provider; required."""

    client_secret: SecretStr = SecretStr("")
    """Our secret at the provider; required."""

    provider: Annotated[str, OneOf(("github", "oidc", "generic"), "provider")] = ""
    """`github`, `oidc` or `generic`; required."""

    github: GitHubConfig = Field(default_factory=GitHubConfig)
    """For `provider: github`."""

    oidc: OIDCConfig = Field(default_factory=OIDCConfig)
    """For `provider: oidc`."""

    generic: GenericOAuth2Config = Field(default_factory=GenericOAuth2Config)
    """For `provider: generic`."""

    qr_code_clients: tuple[str, ...] = ()
    """Clients that are shown a QR code of the link: regular expressions for the identification line, such as
    `^SSH-2.0-OpenSSH`."""

    device_flow_clients: tuple[str, ...] = ()
    """Clients that may use the device flow, written in the same way; all others use the authorization code flow.
    Empty: every client may."""

    auth_timeout: Annotated[Duration, AtLeast(timedelta(seconds=1))] = timedelta(seconds=120)
    """The longest time for a whole login at the provider; at least 1s. `ssh.loginGraceTime` ends it, too."""

    device_flow: bool = True
    """Use the device flow where the provider has it. A link for it may be sent to a victim: the authorization code
    flow, where the code has to be typed back, may not. An addition."""

    rules: tuple[ClaimRuleConfig, ...] = ()
    """What follows from claims; every rule that applies counts. If there are rules and none applies, the login is
    refused. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from under("redirect", self.redirect.problems(disk))
        if not self.client_id:
            yield Finding(("clientId",), "is required")
        if not self.client_secret.get_secret_value():
            yield Finding(("clientSecret",), "is required")
        if not self.provider:
            yield Finding(("provider",), "is required", "use one of github, oidc, generic")
        yield from super().problems(disk)
        for key, patterns in (("qrCodeClients", self.qr_code_clients), ("deviceFlowClients", self.device_flow_clients)):
            for index, pattern in enumerate(patterns):
                try:
                    re.compile(pattern)
                except re.error as error:
                    yield Finding((key, index), f"{shown(pattern)} is no regular expression: {error.msg}")
        for index, rule in enumerate(self.rules):
            yield from under("rules", under(index, rule.problems(disk)))
        if self.provider in {"github", "oidc", "generic"}:
            chosen: Section = getattr(self, self.provider)
            yield from under(self.provider, chosen.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        if self.provider == "github":
            yield from under("github", self.github.warnings())
        if self.provider == "oidc":
            yield from under("oidc", self.oidc.warnings())
        if self.has_code_flow and not self.redirect.cert and not self.redirect.listen.startswith("127."):
            yield Finding(
                ("redirect", "listen"), "codes are shown without TLS", "set cert and key, or put a proxy before it"
            )

    @property
    def has_code_flow(self) -> bool:
        """True if browsers may come back to our own web server."""
        return self.provider in {"github", "generic"} or (self.provider == "oidc" and self.oidc.authorization_code_flow)

    @property
    def binds_username(self) -> bool:
        """True if the identity at the provider is held against the name given to SSH."""
        return {"github": self.github.enforce_username, "oidc": self.oidc.enforce_username}.get(self.provider, False)
