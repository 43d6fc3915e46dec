"""The HTTP server: what it answers, over TLS and to those who show a certificate, and what it does not put up with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
import trustme
from tests.parts import need

from moorage.codes import Code
from moorage.config.sections.http import HTTPServerConfig
from moorage.errors import ConfigError
from moorage.web import server as web
from moorage.web.server import Reply, Request, WebServer

Start = Callable[..., Coroutine[Any, Any, WebServer]]


def echo(request: Request) -> Reply:
    return Reply(200, f"{request.path} {request.accept}".encode())


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers = []

    async def start(endpoint: Callable[[Request], Reply] = echo, **block: Any) -> WebServer:
        config = HTTPServerConfig.model_validate({"listen": "127.0.0.1:0", **block})
        server = WebServer("test server", "test", config, endpoint, available=Code.HEALTH_AVAILABLE)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.drain(5)
        await server.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pem(*blobs: trustme.Blob) -> str:
    return "".join(blob.bytes().decode() for blob in blobs)


def pair(leaf: trustme.LeafCert) -> dict[str, str]:
    return {"cert": pem(*leaf.cert_chain_pems), "key": pem(leaf.private_key_pem)}


async def raw(server: WebServer, request: bytes) -> bytes:
    """All that the server says to `request` until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
    try:
        writer.write(request)
        return await to_end(reader)
    finally:
        writer.close()


async def to_end(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side closes, or cuts the connection off (a matter of what it has left unread)."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_any_method_is_answered_and_the_connection_closed(start: Start, method: str) -> None:
    answer = await raw(await start(), f"{method} /a?b HTTP/1.1\r\nHost: h\r\nAccept: c\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert b"Connection: close" in head
    assert b"aiohttp" not in head
    assert body == (b"" if method == "HEAD" else b"/a c")


async def test_an_answer_without_a_body_has_no_content_type(start: Start) -> None:
    answer = await raw(await start(lambda _: Reply(404)), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"Content-Type" not in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_an_endpoint_that_fails_is_a_500_and_the_server_goes_on(start: Start) -> None:
    def fail(request: Request) -> Reply:
        if request.path == "/fail":
            raise KeyError("secret")
        return echo(request)

    server = await start(fail)
    answer = await raw(server, b"GET /fail HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert (await raw(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")).endswith(b"/ ")


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: x\r\n" % n for n in range(1000)) + b"\r\n",
    ],
    ids=["nonsense", "header", "path", "headers"],
)
async def test_what_is_no_request_or_too_large_is_refused(start: Start, request_: bytes) -> None:
    assert (await raw(await start(), request_)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


async def test_a_body_that_never_ends_ends_the_connection(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LINGER", 0.05)
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\nx"
    assert (await raw(await start(), head)).endswith(b"/ ")


async def test_who_says_nothing_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST", 0.05)
    assert await raw(await start(), b"GET / HT") == b""


async def test_there_is_a_bound_on_connections(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 2)
    server = await start()
    held = [await asyncio.open_connection("127.0.0.1", server.address.port) for _ in range(2)]
    try:
        assert await raw(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""
        for reader, writer in held:
            writer.write(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await to_end(reader)).endswith(b"/held ")
    finally:
        for _, writer in held:
            writer.close()
    assert (await raw(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")).endswith(b"/ ")


async def test_stopping_closes_the_port_and_open_connections(start: Start) -> None:
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
    writer.write(b"GET / HTT")
    await writer.drain()
    async with asyncio.timeout(10):
        await server.stop()
        assert await to_end(reader) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.address.port)


async def test_a_port_in_use_is_an_error_that_names_the_key(start: Start) -> None:
    taken = (await start()).address.port
    with pytest.raises(
        ConfigError, match=rf"test\.listen: 127\.0\.0\.1:{taken} cannot be listened on: Address already in use$"
    ) as caught:
        await start(listen=f"127.0.0.1:{taken}")
    assert caught.value.code is Code.HTTP_LISTEN_FAILED


@pytest.mark.parametrize("listen", [":0", "[::1]:0", "localhost:0"])
async def test_addresses_are_written_in_every_way(start: Start, listen: str) -> None:
    if "::1" in listen:
        need.ipv6()
    server = await start(listen=listen)
    assert server.address.port


async def get(server: WebServer, context: ssl.SSLContext) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://localhost:{server.address.port}/x", ssl=context) as answer,
    ):
        return await answer.text()


def trusting(authority: trustme.CA, shown: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if shown is not None:
        shown.configure_cert(context)
    return context


async def test_with_a_certificate_it_speaks_tls_and_nothing_else(start: Start, authority: trustme.CA) -> None:
    server = await start(**pair(authority.issue_cert("localhost")))
    assert (await get(server, trusting(authority))).startswith("/x")
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(server, old)
    assert await raw(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""


async def test_older_tls_where_it_is_allowed(start: Start, authority: trustme.CA) -> None:
    server = await start(**pair(authority.issue_cert("localhost")), tlsVersion="1.2")
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await get(server, old)).startswith("/x")


async def test_clients_must_show_a_certificate_of_the_authority(start: Start, authority: trustme.CA) -> None:
    stranger = trustme.CA()
    server = await start(**pair(authority.issue_cert("localhost")), clientcacert=pem(authority.cert_pem))
    assert (await get(server, trusting(authority, authority.issue_cert("me")))).startswith("/x")
    for shown in (None, stranger.issue_cert("me")):
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await get(server, trusting(authority, shown))


async def test_a_pair_that_does_not_match_is_an_error_that_names_the_section(
    start: Start, authority: trustme.CA
) -> None:
    pairs = [pair(authority.issue_cert("localhost")) for _ in range(2)]
    with pytest.raises(ConfigError, match=r"^test: the certificate and key cannot be used"):
        await start(cert=pairs[0]["cert"], key=pairs[1]["key"])
    with pytest.raises(ConfigError, match=r"^test: the CA certificate cannot be used"):
        await start(**pairs[0], clientcacert="-----BEGIN NONSENSE-----")
