"""Calls to a provider: forms out, bounded JSON in, and nothing of either in an error."""

from __future__ import annotations

import asyncio
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from moorage.auth.hook import pauses
from moorage.auth.oauth2.contract import Denied, Secrets, Tokens, TransientError
from moorage.codes import Code
from moorage.errors import AuthError
from moorage.net.http import CallError, Message, NotJson, WebClient, parse_json

_T = TypeVar("_T")

Fields = Mapping[str, Any]
LONGEST_TOKEN = 64 * 1024
"""Characters of a token, a code or another text from a provider."""

Sleep = Callable[[float], Awaitable[None]]


def form(url: str, fields: Mapping[str, str], authorization: str = "") -> Message:
    """A request that sends a form."""
    kind = "application/x-www-form-urlencoded"
    body = urlencode(fields).encode()
    return Message(method="POST", url=url, body=body, content_type=kind, authorization=authorization)


async def post(client: WebClient, url: str, fields: Mapping[str, str], authorization: str = "") -> tuple[int, Fields]:
    """POST a form; the status and the JSON object of the answer."""
    return await call(client, form(url, fields, authorization))


async def exchanged(
    client: WebClient,
    url: str,
    fields: Mapping[str, str],
    authorization: str = "",
    *,
    failed: Code,
    provider: str = "the provider",
    separator: str = " ",
) -> Tokens:
    """The tokens for the code in `fields`.  A code is good for one exchange: it is never sent twice.

    Raises `Denied` if the `provider` refuses the code and `AuthError` if it cannot be asked, both as `failed`.
    """
    try:
        tokens = read_tokens(await post(client, url, fields, authorization), separator)
    except TransientError as error:
        raise AuthError(str(error), code=failed) from None
    if isinstance(tokens, str):
        raise Denied(f"{provider} refuses the code: {tokens[:60]!r}", failed)
    return tokens


def read_tokens(response: tuple[int, Fields], separator: str = " ") -> Tokens | str:
    """The tokens in an answer, or its error code."""
    status, answer = response
    if error := text(answer, "error"):
        return error
    access = text(answer, "access_token")
    if status != 200 or not access:
        return f"status {status} without a token"
    scope = answer.get("scope")
    scopes = None if not isinstance(scope, str) else tuple(part for part in scope.split(separator) if part)
    return Tokens(access, text(answer, "refresh_token"), text(answer, "id_token"), scopes)


async def get(client: WebClient, url: str, authorization: str = "") -> tuple[int, Fields]:
    """GET a JSON object."""
    return await call(client, Message(method="GET", url=url, authorization=authorization))


async def call(client: WebClient, message: Message) -> tuple[int, Fields]:
    """The status and the JSON object of the answer, empty where a failure has none.

    Raises `TransientError` for a provider that is busy, broken or out of reach, and `AuthError` for one whose
    answer will not get better.
    """
    try:
        answer = await client.send(message)
    except CallError as error:
        if error.is_permanent:
            raise AuthError(f"{error} ({error.code})") from None
        raise TransientError(str(error)) from None
    host = urlsplit(message.url).hostname
    if answer.status >= 500 or answer.status == 429:
        raise TransientError(f"{host} answers with status {answer.status}")
    try:
        value = parse_json(answer.body)
    except NotJson as error:
        if answer.status >= 400:
            return answer.status, {}
        raise AuthError(f"the answer of {host} cannot be used: {error}") from None
    if not isinstance(value, dict):
        raise AuthError(f"the answer of {host} cannot be used: it is no JSON object")
    return answer.status, value


async def persistently(ask: Callable[[], Awaitable[_T]], *, sleep: Sleep = asyncio.sleep, tries: int = 4) -> _T:
    """What `ask` returns, asked again while that may help; raises `AuthError` after `tries`."""
    waits = pauses()
    for attempt in range(tries):
        try:
            return await ask()
        except TransientError as error:
            if attempt + 1 == tries:
                raise AuthError(f"the identity provider gives no answer: {error}") from None
        await sleep(next(waits))
    raise AssertionError("unreachable")


def text(fields: Fields, name: str) -> str:
    """The text of that name, empty if it is missing, no text or far too long."""
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= LONGEST_TOKEN else ""


def number(fields: Fields, name: str, default: float) -> float:
    """The number of that name that is above zero, else `default`."""
    value = fields.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return default
    return float(value) if 0 < value < 1e9 else default


def fresh_secrets() -> Secrets:
    """Three random values of 256 bits."""
    return Secrets(*(secrets.token_urlsafe(32) for _ in range(3)))


def challenge(verifier: str) -> str:
    """The S256 challenge for a verifier (RFC 7636 §4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def with_query(url: str, fields: Mapping[str, str]) -> str:
    """`url` with `fields` behind the query that it has."""
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode(fields)}"


def require_safe(url: str, *, base: str, what: str) -> str:
    """`url` if it is a web address that is no less safe than `base`; raises `AuthError`."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isprintable() and " " not in url
    if not is_web or (urlsplit(base).scheme == "https" and parts.scheme != "https"):
        raise AuthError(f"the provider's {what} is missing or no https address", code=Code.OIDC_DISCOVERY_FAILED)
    return url
