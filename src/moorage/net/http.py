"""The one HTTP client: small bounded requests to services that decide about logins.

It uses a proxy of the environment only where an endpoint says so, keeps no cookie, reads at most `LARGEST_ANSWER`
bytes, and gives up after a time that covers everything from name look-up to the last byte.
URLs are shown without user info and query, which may hold credentials.

aiohttp is imported on the first request, so that building (and checking) a client is cheap.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import structlog

from moorage import __version__
from moorage.codes import Code
from moorage.net import tls

if TYPE_CHECKING:
    import aiohttp

LARGEST_ANSWER: Final = 1024 * 1024
MOST_REDIRECTS: Final = 10
DEEPEST_JSON: Final = 100
_MOST_CONNECTIONS: Final = 256
_KEEPALIVE_SECONDS: Final = 30.0
_CHUNK: Final = 64 * 1024

_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"moorage/{__version__}",
}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class CallError(Exception):
    """A request got no usable answer.  `code` is a message code; `is_permanent` says that repeating it is useless."""

    def __init__(self, explanation: str, code: Code, *, is_permanent: bool) -> None:
        super().__init__(explanation)
        self.code = code
        self.is_permanent = is_permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a service is and how to speak to it; the fields are the configuration's HTTP client block.

    `cacert`, `cert` and `key` are PEM texts or file names.
    """

    url: str = field(repr=False)
    timeout: timedelta = timedelta(seconds=2)
    allow_redirects: bool = False
    cacert: str = ""
    cert: str = ""
    key: str = field(default="", repr=False)
    tls_version: str = "1.3"
    curves: tuple[str, ...] = ()
    cipher: tuple[str, ...] = ()
    proxied: bool = False
    """Go through the proxy that the environment names for the URL, if it names one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's status and its body, at most `LARGEST_ANSWER` bytes."""

    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request to a URL of its own, see `WebClient.send`."""

    method: str
    url: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"
    authorization: str = field(default="", repr=False)


def basic(user: str, password: str) -> str:
    """The Authorization header for a user and a password (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def shown(url: str) -> str:
    """`url` as it may stand in a log: no user info, no query, no fragment."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(an invalid URL)"
    return f"{parts.scheme}://{host}{parts.path}"


class WebClient:
    """Sends requests to one endpoint over a shared pool of kept-alive connections.

    May be used by any number of tasks of one event loop.  A cancelled request stops at once.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises `ValueError` if the endpoint cannot be used; nothing is connected yet."""
        self._endpoint = endpoint
        self._origin = _parsed(endpoint.url)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._authorization = _basic(self._origin)
        self._ssl: ssl.SSLContext | None = None
        if self._origin.scheme == "https" or endpoint.allow_redirects:
            self._ssl = tls.client_context(
                ca=tls.pem_text(endpoint.cacert),
                certificate=tls.pem_text(endpoint.cert),
                key=tls.pem_text(endpoint.key),
                version=endpoint.tls_version,
                curves=endpoint.curves,
                ciphers=endpoint.cipher,
            )
            for sentence in tls.unhonoured(curves=endpoint.curves, ciphers=endpoint.cipher):
                structlog.get_logger().warning(sentence, code=Code.CORE_CONFIG_ERROR, url=self.url)

    @property
    def url(self) -> str:
        """The endpoint's URL, fit for a log."""
        return shown(self._endpoint.url)

    async def post(
        self, body: bytes, *, path: str = "", confidential: bool = True, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """POST the JSON text `body` to the endpoint's URL with `path` appended, and read the answer.

        Further `headers` are sent to the endpoint's own host only.

        Takes at most the endpoint's timeout, redirects included.  They are followed if the endpoint says
        so, never from https to http, and a body that is `confidential` never leaves the endpoint's host.
        Raises `CallError`; any status but a redirect is an answer.
        """
        return await self._ask("POST", _joined(self._origin, path), body, confidential, headers)

    async def get(self) -> Answer:
        """GET the endpoint's URL; else as `post`."""
        return await self._ask("GET", _joined(self._origin, ""), None, confidential=False)

    async def send(self, message: Message) -> Answer:
        """Send `message` to its own URL with this endpoint's TLS settings and timeout; a redirect is never followed.

        What the endpoint's URL holds of a user and password is not sent.  Raises `CallError`.
        """
        try:
            target = _without_user(_parsed(message.url)).geturl()
        except ValueError as error:
            raise CallError(str(error), Code.HTTP_CLIENT_CONNECTION_FAILED, is_permanent=True) from None
        return await self._timed(target, self._once(message, target))

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        confidential: bool,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return await self._timed(url, self._follow(method, url, body, confidential, headers))

    async def _timed(self, url: str, work: Coroutine[None, None, Answer]) -> Answer:
        try:
            async with asyncio.timeout(self._endpoint.timeout.total_seconds()):
                return await work
        except TimeoutError:
            seconds = self._endpoint.timeout.total_seconds()
            raise CallError(
                f"no answer from {shown(url)} in {seconds:g} s", Code.HTTP_CLIENT_CONNECTION_FAILED, is_permanent=False
            ) from None

    async def _once(self, message: Message, url: str) -> Answer:
        log = structlog.get_logger().bind(method=message.method, url=shown(url))
        log.debug("HTTP request", code=Code.HTTP_CLIENT_REQUEST)
        status, location, content = await self._exchange(message.method, url, message.body, message)
        log.debug("HTTP response", code=Code.HTTP_CLIENT_RESPONSE, statusCode=status)
        if location is not None:
            raise _redirect_refused(f"{shown(url)} answers with a redirect")
        return Answer(status, content)

    async def close(self) -> None:
        """Close all connections; idempotent.  Requests under way and later ones fail."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _follow(
        self, method: str, url: str, body: bytes | None, confidential: bool, headers: Mapping[str, str] | None
    ) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            log = structlog.get_logger().bind(method=method, url=shown(url))
            log.debug("HTTP request", code=Code.HTTP_CLIENT_REQUEST)
            status, location, content = await self._exchange(method, url, body, headers=headers)
            log.debug("HTTP response", code=Code.HTTP_CLIENT_RESPONSE, statusCode=status)
            if location is None:
                return Answer(status, content)
            if not self._endpoint.allow_redirects:
                raise _redirect_refused(f"{shown(url)} answers with a redirect, and allowRedirects is off")
            target = _redirected(url, location)
            if status in {301, 302, 303}:
                # What every browser and Go's client do: the body is dropped (RFC 9110 §15.4).
                method, body = "GET", None
            if target.scheme == "http" and urlsplit(url).scheme == "https":
                raise _redirect_refused(f"{shown(url)} redirects from https to http")
            if confidential and body is not None and target.hostname != self._origin.hostname:
                raise _redirect_refused(f"{shown(url)} redirects to another host, which would be sent credentials")
            url = target.geturl()
            log.debug("HTTP redirect", code=Code.HTTP_CLIENT_REDIRECT, redirect=shown(url))
        raise _redirect_refused(f"{self.url} redirects more than {MOST_REDIRECTS} times")

    async def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        message: Message | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str | None, bytes]:
        """One request: its status, the target if the status is a redirect's, and its body."""
        import aiohttp

        try:
            return await self._send(method, url, body, self._headers(url, body, message, headers or {}))
        except aiohttp.ClientConnectorCertificateError as cause:
            reason = getattr(cause.certificate_error, "verify_message", "the certificate is not valid")
            raise CallError(
                f"{shown(url)} is not to be trusted: {reason}", Code.HTTP_CLIENT_CONNECTION_FAILED, is_permanent=True
            ) from None
        except aiohttp.ClientPayloadError:
            raise _undecodable(f"the answer of {shown(url)} is cut off or not compressed as it says") from None
        except (aiohttp.ClientError, OSError, ValueError) as cause:
            # The texts of these errors may quote what the peer sent, so only their kind is told.
            inner = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause.__cause__ or cause
            raise CallError(
                f"{shown(url)} cannot be asked: {_kind(inner)}",
                Code.HTTP_CLIENT_CONNECTION_FAILED,
                is_permanent=isinstance(inner, ssl.SSLError),
            ) from None

    def _headers(
        self, url: str, body: bytes | None, message: Message | None, further: Mapping[str, str]
    ) -> dict[str, str]:
        headers = {name: value for name, value in _HEADERS.items() if body is not None or name != "Content-Type"}
        if message is not None:
            headers |= {"Content-Type": message.content_type} if body is not None else {}
            headers |= {"Authorization": message.authorization} if message.authorization else {}
        elif urlsplit(url).hostname == self._origin.hostname:
            headers |= {"Authorization": self._authorization} if self._authorization else {}
            headers |= further
        return headers

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str | None, bytes]:
        import aiohttp
        from yarl import URL

        target = URL(url, encoded=True) if url.isascii() else URL(url)
        while True:
            exchange = _Exchange()
            try:
                async with self._pool().request(
                    method,
                    target,
                    # aiohttp sends a large body in pieces only if it is a file.
                    data=io.BytesIO(body) if body is not None and len(body) > _CHUNK else body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._ssl or True,
                    proxy=_proxy_for(url) if self._endpoint.proxied else None,
                    trace_request_ctx=exchange,
                ) as response:
                    if response.status in _REDIRECTS and "Location" in response.headers:
                        return response.status, response.headers["Location"], b""
                    return response.status, None, await _bounded(response, url)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # The peer may close a kept connection at the moment we use it; a fresh one has no such excuse.
                if not exchange.is_reused:
                    raise

    def _pool(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise CallError("the client is closed", Code.HTTP_CLIENT_CONNECTION_FAILED, is_permanent=True)
        if self._session is None:
            import aiohttp

            from moorage.net.connector import Connector

            async def reused(
                _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams
            ) -> None:
                context.trace_request_ctx.is_reused = True

            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(reused)
            self._session = aiohttp.ClientSession(
                connector=Connector(limit=_MOST_CONNECTIONS, keepalive_timeout=_KEEPALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._endpoint.timeout.total_seconds()),
                trust_env=False,
                trace_configs=[tracing],
            )
        return self._session


@dataclass(slots=True)
class _Exchange:
    is_reused: bool = False


async def _bounded(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise _undecodable(f"the answer of {shown(url)} is larger than 1 MiB")
    return bytes(body)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("the URL is not valid") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"the URL {shown(url)} is not one of http or https with a host")
    return parts


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`, if any."""
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies_environment()
    return proxies.get(parts.scheme) or proxies.get("all")


def _without_user(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")


def _basic(parts: SplitResult) -> str | None:
    """The Authorization header that the user info of a URL stands for (RFC 7617)."""
    if parts.username is None:
        return None
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return "Basic " + b64encode(pair).decode()


def _joined(origin: SplitResult, path: str) -> str:
    """`path` behind the path of `origin` with one slash between, the query kept; `origin` as it is for an empty one."""
    bare = _without_user(origin)
    return bare._replace(path=bare.path.rstrip("/") + path).geturl() if path else bare.geturl()


def _redirected(url: str, location: str) -> SplitResult:
    try:
        return _without_user(_parsed(urljoin(url, location)))
    except ValueError:
        raise _redirect_refused(f"{shown(url)} redirects to something that is not a web address") from None


def _redirect_refused(text: str) -> CallError:
    return CallError(text, Code.HTTP_CLIENT_REDIRECTS_DISABLED, is_permanent=True)


def _kind(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or type(cause).__name__}"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno) if cause.errno > 0 else "the name cannot be looked up"
    return type(cause).__name__


def _undecodable(text: str) -> CallError:
    return CallError(text, Code.HTTP_CLIENT_DECODE_FAILED, is_permanent=True)


# JSON


class NotJson(ValueError):
    """A body is not JSON, or too much of it."""


_BRACKET: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|([\[{])|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(body: bytes) -> object:
    """The first JSON value in `body`, read as Go reads it but without surprises.

    Of repeated keys the last one counts and stands last.  What follows the value is ignored.  Bytes and
    escapes that are no Unicode become U+FFFD.  Raises `NotJson`, which quotes nothing, for an empty
    body, for what is not JSON, for numbers out of range and for more than `DEEPEST_JSON` levels.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise NotJson("there is no body")
    if text.count("[") + text.count("{") > DEEPEST_JSON:
        _check_depth(text)
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        raise NotJson("it is not JSON") from None
    return _clean(value) if _SURROGATE_ESCAPE.search(text) else value


def _check_depth(text: str) -> None:
    depth = 0
    for match in _BRACKET.finditer(text):
        if match[1]:
            depth += 1
            if depth > DEEPEST_JSON:
                raise NotJson(f"it is nested more than {DEEPEST_JSON} levels deep")
        elif match[0] in "]}":
            depth -= 1
            if depth <= 0:
                return


def _last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        result.pop(key, None)
        result[key] = value
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("out of range")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_last_wins, parse_float=_finite, parse_constant=_no_constant)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
