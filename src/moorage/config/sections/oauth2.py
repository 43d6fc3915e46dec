"""``auth.keyboardInteractive.oauth2``: logging in with an identity provider."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from moorage.config.disk import Disk
from moorage.config.section import URL, AtLeast, Duration, Finding, OneOf, PrivateKey, Section, under
from moorage.config.sections.http import HTTPClientConfig, HTTPServerConfig, TLSConfig, url_problems


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

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.device_flow and not self.authorization_code_flow:
            yield Finding(("deviceFlow",), "no flow is switched on", "set deviceFlow or authorizationCodeFlow")
        if self.authorization_code_flow:
            yield from url_problems("redirectURI", self.redirect_uri)


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
    """Accepted and without effect."""

    device_flow_clients: tuple[str, ...] = ()
    """Accepted and without effect."""

    auth_timeout: Duration = timedelta(seconds=120)
    """Accepted and without effect."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from under("redirect", self.redirect.problems(disk))
        if not self.client_id:
            yield Finding(("clientId",), "is required")
        if not self.client_secret.get_secret_value():
            yield Finding(("clientSecret",), "is required")
        if not self.provider:
            yield Finding(("provider",), "is required", "use one of github, oidc, generic")
        yield from super().problems(disk)
        if self.provider in {"github", "oidc", "generic"}:
            chosen: Section = getattr(self, self.provider)
            yield from under(self.provider, chosen.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        plain = type(self)()
        for name in ("qr_code_clients", "device_flow_clients", "auth_timeout"):
            if getattr(self, name) != getattr(plain, name):
                yield Finding((type(self).model_fields[name].alias or name,), "has no effect", "remove it")
        if self.provider == "github":
            yield from under("github", self.github.warnings())
