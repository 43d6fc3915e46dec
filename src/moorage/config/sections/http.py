"""The blocks that HTTP clients and servers share, and TLS names."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import SecretStr

from moorage.config.disk import Disk
from moorage.config.section import (
    URL,
    AlsoCalled,
    AtLeast,
    Colons,
    Duration,
    Finding,
    OneOf,
    PrivateKey,
    Section,
    choose,
    shown,
)
from moorage.config.sections.names import (
    DEFAULT_TLS_CURVES,
    DEFAULT_TLS_SUITES,
    TLS_CURVES,
    TLS_SUITE_SPELLINGS,
    TLS_VERSIONS,
)
from moorage.config.sections.ssh import listen_problem

SHORTEST_SECRET = 16


class TLSConfig(Section):
    """How TLS is spoken, on either side."""

    tls_version: str = "1.3"
    """The lowest TLS version: `1.2` or `1.3`."""

    curves: Annotated[tuple[str, ...], Colons(), AlsoCalled("curve")] = DEFAULT_TLS_CURVES
    """Elliptic curves for the key exchange: a list, or one string with `:` between the names. Replaces the default."""

    cipher: Annotated[tuple[str, ...], Colons()] = DEFAULT_TLS_SUITES
    """Cipher suites by IANA, OpenSSL or GnuTLS name: a list, or one string with `:`. Without effect on TLS 1.3."""

    def tls_problems(self) -> Iterator[Finding]:
        """What is wrong with the names; asked where TLS is really spoken."""
        if self.tls_version not in TLS_VERSIONS:
            yield Finding(("tlsVersion",), f"unknown TLS version {shown(self.tls_version)}", "use 1.2 or 1.3")
        for key, given, known, what in (
            ("curves", self.curves, TLS_CURVES, "curve"),
            ("cipher", self.cipher, tuple(TLS_SUITE_SPELLINGS), "cipher suite"),
        ):
            if not given:
                yield Finding((key,), "the list is empty", f"name at least one {what}, or leave the key out")
            unknown = next((index for index, name in enumerate(given) if name not in known), None)
            if unknown is not None:
                name = given[unknown]
                yield Finding((key, unknown), f"unknown {what} {shown(name)}", choose(name, known))

    def tls_warnings(self) -> Iterator[Finding]:
        """What of the names cannot be honoured; asked where TLS is really spoken."""
        if self.model_fields_set & {"curves", "cipher"}:
            from moorage.net.tls import unhonoured

            for sentence in unhonoured(curves=self.curves, ciphers=self.cipher):
                key, _, what = sentence.partition(": ")
                yield Finding((key,), what)


class HTTPClientConfig(TLSConfig):
    """How a service is called over HTTP."""

    url: URL = ""
    """The service's address, `http://…` or `https://…`. A user and password in it are sent as Basic authentication."""

    allow_redirects: bool = False
    """Follow redirects, ten at most. Off: a redirect is an error."""

    timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=2)
    """The longest time that one request may take; at least 100ms."""

    cacert: str = ""
    """Certificates, PEM text or path, that replace the system's authorities."""

    cert: str = ""
    """The client's certificate, PEM text or path; needs `key`."""

    key: PrivateKey = SecretStr("")
    """The client's private key, PEM text or path; needs `cert`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from url_problems("url", self.url)
        yield from super().problems(disk)
        if self.cacert and (wrong := disk.certificates(self.cacert)):
            yield Finding(("cacert",), wrong)
        yield from pair_problems(disk, self.cert, self.key)
        if self.is_tls:
            yield from self.tls_problems()

    def warnings(self) -> Iterator[Finding]:
        if self.is_tls:
            yield from self.tls_warnings()

    @property
    def is_tls(self) -> bool:
        """True if the service is called over TLS."""
        return self.url.lower().startswith("https://")


class HookConfig(HTTPClientConfig):
    """A webhook."""

    protocol: Annotated[str, OneOf(("0.4", "0.5", "0.6"), "protocol")] = "0.6"
    """What is sent: `0.6` (the same as `0.5`), or `0.4` for servers that have not been changed since: addresses without
    ports, a `sessionId` that equals the connection's, `remoteAddr` for the configuration webhook. An addition."""

    secret: SecretStr = SecretStr("")
    """If set, every request is signed with it (`X-Moorage-Signature`), so that the service knows who asks; at least 16
    characters. An addition."""

    proxy_from_environment: bool = False
    """Go through the proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        yield from secret_problems(self.secret)


class HTTPServerConfig(TLSConfig):
    """How a service is offered over HTTP."""

    listen: str = "0.0.0.0:8080"
    """Address and port to listen on."""

    key: PrivateKey = SecretStr("")
    """The server's private key, PEM text or path; needs `cert`."""

    cert: str = ""
    """The server's certificate, PEM text or path; with it the server speaks TLS."""

    clientcacert: str = ""
    """Authorities, PEM text or path, of which every client must show a certificate. Needs `cert` and `key`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if wrong := listen_problem(self.listen):
            yield Finding(("listen",), wrong, "write HOST:PORT")
        yield from super().problems(disk)
        yield from pair_problems(disk, self.cert, self.key)
        if self.clientcacert:
            if not (self.cert and self.key.get_secret_value()):
                yield Finding(("clientcacert",), "has no effect without TLS", "set cert and key, or remove it")
            elif wrong := disk.certificates(self.clientcacert):
                yield Finding(("clientcacert",), wrong)
        if self.cert:
            yield from self.tls_problems()

    def warnings(self) -> Iterator[Finding]:
        if self.cert:
            yield from self.tls_warnings()


def url_problems(key: str, url: str) -> Iterator[Finding]:
    """What is wrong with the address of a service."""
    mend = "write http://HOST or https://HOST"
    if not url:
        yield Finding((key,), "no URL is given", mend)
        return
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        yield Finding((key,), "invalid URL", mend)
        return
    if parts.scheme not in {"http", "https"}:
        yield Finding((key,), "the URL is not http or https", mend)
    elif not parts.hostname or not port_is_fine or any(c.isspace() or not c.isprintable() for c in url):
        yield Finding((key,), "invalid URL", mend)


def secret_problems(secret: SecretStr) -> Iterator[Finding]:
    """What is wrong with a secret that signs requests; none is fine."""
    if 0 < len(secret.get_secret_value()) < SHORTEST_SECRET:
        yield Finding(("secret",), f"has less than {SHORTEST_SECRET} characters", "openssl rand -hex 32 makes one")


def pair_problems(disk: Disk, cert: str, key: SecretStr) -> Iterator[Finding]:
    """What is wrong with a certificate and its key, which come together or not at all."""
    private = key.get_secret_value()
    if cert and not private:
        yield Finding(("key",), "cert is given without key", "set both or neither")
    elif private and not cert:
        yield Finding(("cert",), "key is given without cert", "set both or neither")
    elif cert:
        if wrong := disk.certificates(cert):
            yield Finding(("cert",), wrong)
        if wrong := disk.private_key(private):
            yield Finding(("key",), wrong)
        if wrong := disk.key_pair(cert, private):
            yield Finding(("cert",), wrong)
