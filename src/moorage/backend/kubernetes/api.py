"""The Kubernetes API of one cluster: bounded JSON calls that are repeated where that helps, watches, and streams.

Everything the server answers is bounded here; nothing waits without a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from moorage import __version__
from moorage.backend.kubernetes.access import Access
from moorage.backend.kubernetes.credentials import Proof
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError
from moorage.backend.kubernetes.websocket import PROTOCOLS, accepted, new_key
from moorage.backend.observer import RequestObserver, Unobserved
from moorage.net.stream import RawStream

if TYPE_CHECKING:
    import aiohttp

ANSWER_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of one JSON answer; a page of a list of pods fits."""

LINE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one event of a watch; an object may have some 1.5 MiB."""

PAGE: Final = 250
"""Objects that are asked for at once."""

_HEAD_LIMIT: Final = 32 * 1024
_ERROR_LIMIT: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 700
_TRIES: Final = 5
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})

Query = Sequence[tuple[str, str]]


class Limit:
    """At most `burst` calls at once and `qps` a second: a token bucket."""

    def __init__(self, qps: float, burst: int) -> None:
        self._qps = qps
        self._burst = max(float(burst), 1.0)
        self._tokens = self._burst
        self._at = time.monotonic()

    async def turn(self) -> None:
        """Returns when a call may be made."""
        if self._qps <= 0:
            return
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps) - 1
        self._at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._qps)


class Api:
    """The connection pool of one cluster.  Opens nothing before the first call; `close` is idempotent."""

    def __init__(self, access: Access, *, observer: RequestObserver | None = None) -> None:
        self.access = access
        self.observer: RequestObserver = observer or Unobserved()
        self._session: aiohttp.ClientSession | None = None
        self._streams: dict[asyncio.Task[None], RawStream] = {}
        """Those that are open, or linger, by what waits for their end."""

    async def close(self) -> None:
        """Close the idle connections, and streams that linger until their last bytes are taken."""
        streams = dict(self._streams)
        for stream in streams.values():
            stream.abort()
        if streams:
            await asyncio.wait(streams)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: object = None,
        query: Query = (),
        patch: bool = False,
        limit: Limit | None = None,
    ) -> Any:
        """The decoded answer.

        429, 5xx and a broken connection are tried again, as the server says or ever more slowly, within `timeout`
        seconds: what is created must have a name, so that a second try cannot make a second one (it gets 409).
        Raises `ApiError`, `ApiUnreachableError` and `TimeoutError`.
        """
        pause, tries = _FIRST_PAUSE, 0
        async with asyncio.timeout(timeout):
            while True:
                tries += 1
                if limit is not None:
                    await limit.turn()
                self.observer.requested()
                started = time.monotonic()
                try:
                    return await self._once(method, path, body, query, patch)
                except _Repeatable as again:
                    self.observer.failed()
                    if tries >= _TRIES:
                        raise again.cause from None
                    wait = again.after if again.after is not None else random.uniform(pause / 2, pause)  # noqa: S311
                    pause = min(2 * pause, _LONGEST_PAUSE)
                except BaseException:
                    self.observer.failed()
                    raise
                finally:
                    self.observer.took(method.lower(), time.monotonic() - started)
                await asyncio.sleep(min(wait, _LONGEST_PAUSE))

    async def list(self, path: str, selector: Query, *, timeout: float) -> tuple[list[Any], str]:
        """All objects that a label or field selector chooses, and the version at which a watch goes on."""
        found: list[Any] = []
        query = [("limit", str(PAGE)), *selector]
        more: list[tuple[str, str]] = []
        while True:
            answer = await self.call("GET", path, timeout=timeout, query=[*query, *more])
            items, head = _items(answer)
            found += items
            if not head.get("continue"):
                return found, str(head.get("resourceVersion", ""))
            more = [("continue", str(head["continue"]))]

    async def watch(self, path: str, query: Query) -> AsyncGenerator[Any, None]:
        """The events of one watch until the server ends it.  To be closed by its reader; raises as `call`."""
        try:
            async with self._request("GET", path, None, [*query, ("watch", "1")], patch=False) as answer:
                kept = bytearray()
                async for chunk in answer.content.iter_any():
                    kept += chunk
                    *lines, rest = kept.split(b"\n")
                    kept = bytearray(rest)
                    if len(kept) > LINE_LIMIT:
                        raise ApiUnreachableError("the API server sent an endless event")
                    for line in lines:
                        if line.strip():
                            yield _decoded(bytes(line))
        except _Repeatable as again:
            raise again.cause from None

    async def stream(self, path: str, query: Query, *, timeout: float) -> tuple[RawStream, str]:
        """An upgraded stream and the protocol that the server has chosen; raises as `call`, but is not repeated."""
        self.observer.requested()
        try:
            async with asyncio.timeout(timeout):
                return await self._upgrade(path, query)
        except BaseException:
            self.observer.failed()
            raise

    async def _upgrade(self, path: str, query: Query) -> tuple[RawStream, str]:
        proof, key = await self.access.credentials.proof(), new_key()
        target = f"{self.access.prefix}{path}?{urlencode(query, quote_via=quote)}"
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {self.access.authority}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Sec-WebSocket-Protocol: {', '.join(PROTOCOLS)}",
            f"User-Agent: {_AGENT}",
            *([f"Authorization: {proof.authorization}"] if proof.authorization else []),
        ]
        try:
            stream = await self.access.connect(proof)
        except (OSError, ValueError) as cause:
            raise ApiUnreachableError(f"{self.access.url} cannot be reached: {_kind(cause)}") from cause
        end = asyncio.get_running_loop().create_task(stream.wait_closed(), name="kubernetes/stream")
        self._streams[end] = stream
        end.add_done_callback(self._streams.pop)
        try:
            stream.write("\r\n".join([*lines, "", ""]).encode("ascii"))
            status, headers = _head(await stream.read_until(b"\r\n\r\n", limit=_HEAD_LIMIT))
            if status != 101:
                text = await _rest(stream, headers)
                raise _api_error(status, text)
            chosen = headers.get("sec-websocket-protocol", "")
            if headers.get("sec-websocket-accept") != accepted(key) or chosen not in PROTOCOLS:
                raise ApiUnreachableError("the API server's answer to an upgrade is not one")
        except OSError as cause:
            stream.abort()
            raise ApiUnreachableError(f"the API server broke off an upgrade: {_kind(cause)}") from cause
        except BaseException:
            stream.abort()
            raise
        return stream, chosen

    async def _once(self, method: str, path: str, body: object, query: Query, patch: bool) -> Any:
        async with self._request(method, path, body, query, patch=patch) as answer:
            return _decoded(await _bounded(answer, ANSWER_LIMIT))

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: object, query: Query, *, patch: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response below 300; else raises `ApiError`, or `_Repeatable` where another try may help."""
        import aiohttp
        from yarl import URL

        proof = await self.access.credentials.proof()
        url = f"{self.access.url}{self.access.prefix}{path}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"
        try:
            async with self._http().request(
                method,
                URL(url, encoded=True),
                data=None if body is None else json.dumps(body).encode(),
                headers=_headers(proof, patch=patch),
                allow_redirects=False,
                ssl=self._context(proof),
                server_hostname=self.access.server_name or None,
            ) as answer:
                if answer.status >= 300:
                    error = _api_error(answer.status, await _bounded(answer, _ERROR_LIMIT, cut=True))
                    if error.status == 401:
                        self.access.credentials.rejected()
                    if error.status in _AGAIN:
                        raise _Repeatable(error, _retry_after(answer.headers.get("Retry-After", "")))
                    raise error
                yield answer
        except (aiohttp.ClientError, OSError) as cause:
            if isinstance(cause, TimeoutError):
                raise
            raise _Repeatable(
                ApiUnreachableError(f"{self.access.url} cannot be asked: {_kind(cause)}"), None
            ) from cause

    def _context(self, proof: Proof) -> Any:
        try:
            return self.access.context(proof) or True
        except ValueError as cause:
            raise ApiUnreachableError(f"TLS cannot be set up: {cause}") from cause

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            from moorage.net.connector import Connector

            self._session = aiohttp.ClientSession(
                connector=Connector(limit=0),  # watches are long, and logins are bounded elsewhere
                timeout=aiohttp.ClientTimeout(total=None),  # every call has a deadline of its own
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


class _Repeatable(Exception):
    """A failure that may be gone the next time; `after` is what the server asks us to wait."""

    def __init__(self, cause: ApiError | ApiUnreachableError, after: float | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.after = after


_AGENT: Final = f"moorage/{__version__}"


def _headers(proof: Proof, *, patch: bool) -> dict[str, str]:
    kind = "application/merge-patch+json" if patch else "application/json"
    headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": _AGENT}
    if proof.authorization:
        headers["Authorization"] = proof.authorization
    return headers


def _items(answer: Any) -> tuple[list[Any], Mapping[str, Any]]:
    if not isinstance(answer, dict) or not isinstance(answer.get("items") or [], list):
        raise ApiUnreachableError("the API server's answer is not a list")
    head = answer.get("metadata")
    return answer.get("items") or [], head if isinstance(head, dict) else {}


def _retry_after(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else None


async def _bounded(answer: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    kept = bytearray()
    async for chunk in answer.content.iter_any():
        kept += chunk
        if len(kept) > limit:
            answer.close()
            if cut:
                break
            raise ApiUnreachableError(f"the API server's answer is longer than {limit} bytes")
    return bytes(kept[:limit])


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise ApiUnreachableError("the API server's answer is not JSON") from cause


def _api_error(status: int, text: bytes) -> ApiError:
    reason, message = "", text.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            reason, message = str(value.get("reason") or ""), str(value.get("message") or "")
    return ApiError(status, printable(reason, 64), printable(message, _MESSAGE_LIMIT))


def printable(text: str, limit: int) -> str:
    """What a cluster says, fit for a log line."""
    return "".join(c if c.isprintable() else " " for c in text[: 2 * limit]).strip()[:limit]


def _head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = text.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal() or len(words[1]) != 3:
        raise ApiUnreachableError("the API server's answer is not HTTP")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


async def _rest(stream: RawStream, headers: Mapping[str, str]) -> bytes:
    length = headers.get("content-length", "")
    wanted = min(int(length), _ERROR_LIMIT) if length.isdecimal() and len(length) < 10 else _ERROR_LIMIT
    kept = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):  # errors carry a length or end the connection
            while len(kept) < wanted and (chunk := await stream.read(wanted)):
                kept += chunk
    return kept


def _kind(cause: BaseException) -> str:
    inner = cause.__cause__ if isinstance(cause.__cause__, OSError) else cause
    return f"{type(inner).__name__} {printable(str(inner), 200)}".strip()
