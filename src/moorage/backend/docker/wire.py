"""HTTP to one engine: bounded JSON calls over a pool of connections, and upgraded raw streams.

Everything an engine answers is bounded here; nothing waits without a deadline.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.net.stream import RawStream

if TYPE_CHECKING:
    import aiohttp

ANSWER_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one JSON answer; a list of some thousand containers fits."""

LINE_LIMIT: Final = 256 * 1024
"""Bytes of one line of a streamed answer."""

_HEAD_LIMIT: Final = 32 * 1024
_ERROR_LIMIT: Final = 16 * 1024
_MESSAGE_LIMIT: Final = 500
_NEWEST_API: Final = (1, 51)
_OLDEST_API: Final = (1, 24)

Query = Mapping[str, str | int]


class Wire:
    """The connection pool of one engine.  Opens nothing before the first call; `close` is idempotent."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        self._context = address.context()
        self._session: aiohttp.ClientSession | None = None
        self._version = ""
        self._negotiating = asyncio.Lock()

    async def close(self) -> None:
        """Close the idle connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def version(self, timeout: float) -> str:
        """The API version to speak, such as ``v1.41``: the newest that both sides know.  Asked once."""
        if not self._version:
            async with self._negotiating:
                if not self._version:
                    async with self._reachable(timeout), self._http().get(f"{self.address.base_url}/_ping") as answer:
                        offered = answer.headers.get("Api-Version", "")
                        if answer.status != 200 and not offered:
                            raise EngineError(answer.status, "no answer to a ping")
                    self._version = _negotiated(offered)
        return self._version

    async def call(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Query | None = None,
        body: object = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer, None for an empty one.

        Raises `EngineError`, `EngineUnreachableError` and `TimeoutError`.
        """
        async with (
            self._reachable(timeout),
            self._request(method, path, query=query, body=body, raw=raw, headers=headers, timeout=timeout) as answer,
        ):
            return _decoded(await _bounded(answer, ANSWER_LIMIT))

    async def lines(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Query | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The JSON values of a streamed answer, one a line; raises as `call`.  To be closed by its reader."""
        async with (
            self._reachable(timeout),
            self._request(method, path, query=query, raw=raw, headers=headers, timeout=timeout) as answer,
        ):
            kept = b""
            async for chunk in answer.content.iter_any():
                *whole, kept = (kept + chunk).split(b"\n")
                if len(kept) > LINE_LIMIT:
                    raise EngineUnreachableError("the engine sent an endless line")
                for line in whole:
                    if line.strip():
                        yield _decoded(line)
            if kept.strip():
                yield _decoded(kept)

    async def upgrade(self, path: str, *, timeout: float, query: Query | None = None, body: object = None) -> RawStream:
        """A raw stream in place of an answer (the engine's hijacking); raises as `call`."""
        version = await self.version(timeout)
        payload = b"" if body is None else json.dumps(body).encode()
        target = f"{self.address.prefix}/{version}{path}" + (f"?{urlencode(query)}" if query else "")
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {self.address.authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        async with self._reachable(timeout):
            stream = await self.address.connect(self._context)
            try:
                stream.write(head.encode("ascii") + payload)
                status = await _read_status(stream)
                if status not in (101, 200):
                    raise EngineError(status, _message(await _rest(stream)))
            except BaseException:
                stream.abort()
                raise
        return stream

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            connector: aiohttp.BaseConnector  # no limit of its own: waits are long, and logins are bounded elsewhere
            if self.address.socket is not None:
                connector = aiohttp.UnixConnector(str(self.address.socket), limit=0)
            else:
                from moorage.net.connector import Connector

                connector = Connector(ssl=self._context or True, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),  # every call has a deadline of its own
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    @asynccontextmanager
    async def _reachable(self, timeout: float) -> AsyncIterator[None]:
        import aiohttp

        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as cause:
            self._version = ""  # it may come back as another version
            raise EngineUnreachableError(f"{type(cause).__name__}: {cause}"[:_MESSAGE_LIMIT]) from cause

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Query | None,
        body: object = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        version = await self.version(timeout)
        sent = dict(headers or {})
        if body is not None:
            raw = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        from yarl import URL

        # Already encoded, and to be left as it is: yarl would decode what it takes for harmless.
        url = URL(f"{self.address.base_url}/{version}{path}" + (f"?{urlencode(query)}" if query else ""), encoded=True)
        async with self._http().request(
            method,
            url,
            data=None if raw is None else io.BytesIO(raw),
            headers=sent,
            allow_redirects=False,
        ) as answer:
            if answer.status >= 300 and answer.status != 304:
                raise EngineError(answer.status, _message(await _bounded(answer, _ERROR_LIMIT, cut=True)))
            yield answer


def _negotiated(offered: str) -> str:
    try:
        major, minor = (int(part) for part in offered.split(".", 1))
        theirs = (major, minor)
    except ValueError:
        theirs = _OLDEST_API  # engines that tell nothing are that old
    return "v{}.{}".format(*max(_OLDEST_API, min(theirs, _NEWEST_API)))


async def _bounded(answer: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    kept = bytearray()
    async for chunk in answer.content.iter_any():
        kept += chunk
        if len(kept) > limit:
            answer.close()
            if cut:
                break
            raise EngineUnreachableError(f"the engine's answer is longer than {limit} bytes")
    return bytes(kept[:limit])


def _decoded(text: bytes) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise EngineUnreachableError("the engine's answer is not JSON") from cause


def _message(text: bytes) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text.decode("utf-8", "replace")
    if isinstance(value, dict):
        value = value.get("message") or value.get("cause") or ""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()[:_MESSAGE_LIMIT]


async def _read_status(stream: RawStream) -> int:
    head = await stream.read_until(b"\r\n\r\n", limit=_HEAD_LIMIT)
    first = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit() or len(first[1]) != 3:
        raise EngineUnreachableError("the engine's answer is not HTTP")
    return int(first[1])


async def _rest(stream: RawStream) -> bytes:
    # Errors carry a length or end the connection; either way a short wait has it all.
    kept = b""
    try:
        async with asyncio.timeout(1):
            while len(kept) < _ERROR_LIMIT and b"}" not in kept:
                chunk = await stream.read(_ERROR_LIMIT)
                if not chunk:
                    break
                kept += chunk
    except TimeoutError:
        pass
    start = kept.find(b"{")  # past a chunk header, if any
    end = kept.rfind(b"}")
    return kept[start : end + 1] if 0 <= start < end else kept
