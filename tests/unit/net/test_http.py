"""The HTTP client against real servers: what it sends, what it follows, what it refuses to read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage import __version__
from moorage.codes import Code
from moorage.net.http import DEEPEST_JSON, CallError, Endpoint, NotJson, WebClient, parse_json, shown
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer, redirecting, response, saying

BODY = b'{"a":1}\n'
SHORT = timedelta(milliseconds=200)
LONG = timedelta(seconds=15)


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting) as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting) as server:
        yield server


async def fails(client: WebClient, code: Code, *, permanent: bool, confidential: bool = True) -> str:
    with pytest.raises(CallError) as caught:
        await client.post(BODY, confidential=confidential)
    await client.close()
    assert caught.value.code == code
    assert caught.value.is_permanent is permanent
    return str(caught.value)


async def test_a_request_is_a_post_with_the_headers_of_the_protocol(server: HookServer) -> None:
    client = WebClient(Endpoint(url=server.url))
    answer = await client.post(BODY, path="/password")
    await client.close()
    assert (answer.status, answer.body) == (200, b'{"success": true}')
    request = server.requests[0]
    assert request.raw.startswith(b"POST /password HTTP/1.1\r\n")
    assert request.raw.endswith(b"\r\n\r\n" + BODY)
    assert dict(request.headers) == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "user-agent": f"moorage/{__version__}",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize(
    ("configured", "path", "target"),
    [
        ("", "/password", "/password"),
        ("/", "/password", "/password"),
        ("/hooks", "/authz", "/hooks/authz"),
        ("/hooks/", "/authz", "/hooks/authz"),
        ("/hooks?tenant=a%20b", "/pubkey", "/hooks/pubkey?tenant=a%20b"),
        ("/config", "", "/config"),
        ("/config/", "", "/config/"),
        ("/a%2Fb?x=1&y=%7E#part", "", "/a%2Fb?x=1&y=%7E"),
        ("", "", "/"),
    ],
)
async def test_the_path_is_appended_with_one_slash_and_the_rest_of_the_url_kept(
    server: HookServer, configured: str, path: str, target: str
) -> None:
    client = WebClient(Endpoint(url=server.url + configured))
    await client.post(BODY, path=path)
    await client.close()
    assert server.requests[0].target == target


async def test_user_info_in_the_url_becomes_basic_authentication_and_is_not_shown(server: HookServer) -> None:
    url = f"http://mo%40or:p%C3%A4ss%3A@127.0.0.1:{server.port}/x?token=t0k"
    client = WebClient(Endpoint(url=url))
    await client.post(BODY)
    # The text before encoding is  mo@or:päss:  in UTF-8.
    assert server.requests[0].headers["authorization"] == "Basic bW9Ab3I6cMOkc3M6"
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"
    assert client.url == f"http://127.0.0.1:{server.port}/x"
    server.actor = webhooks.no_http
    text = await fails(client, Code.HTTP_CLIENT_CONNECTION_FAILED, permanent=False)
    assert "p%C3" not in text
    assert "t0k" not in text
    assert "t0k" not in repr(Endpoint(url=url))


async def test_connections_are_kept_and_shared(server: HookServer) -> None:
    client = WebClient(Endpoint(url=server.url))
    for _ in range(5):
        await client.post(BODY)
    await client.close()
    assert server.connections == 1


async def test_a_kept_connection_that_the_server_has_closed_is_replaced_unseen(server: HookServer) -> None:
    client = WebClient(Endpoint(url=server.url, timeout=LONG))
    await client.post(BODY)
    server.actor = webhooks.in_turn(webhooks.closing, webhooks.accepting)
    assert (await client.post(BODY)).status == 200
    await client.close()
    assert server.connections == 2


async def test_a_large_body_is_sent_whole(server: HookServer) -> None:
    body = b'{"a":"' + b"x" * 3_000_000 + b'"}\n'
    client = WebClient(Endpoint(url=server.url, timeout=LONG))
    assert (await client.post(body)).status == 200
    await client.close()
    assert server.requests[0].body == body


async def test_proxies_of_the_environment_are_ignored(server: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = WebClient(Endpoint(url=server.url))
    assert (await client.post(BODY)).status == 200
    await client.close()


async def test_no_cookie_is_kept(server: HookServer) -> None:
    server.actor = saying({}, Set_Cookie="a=b")
    client = WebClient(Endpoint(url=server.url))
    await client.post(BODY)
    await client.post(BODY)
    await client.close()
    assert "cookie" not in server.requests[1].headers


async def test_any_content_type_and_a_compressed_answer_are_read(server: HookServer) -> None:
    import gzip

    client = WebClient(Endpoint(url=server.url))
    server.actor = saying(b"{}", Content_Type="text/plain; charset=utf-8")
    assert (await client.post(BODY)).body == b"{}"
    server.actor = saying(gzip.compress(b"{}"), Content_Encoding="gzip")
    assert (await client.post(BODY)).body == b"{}"
    await client.close()


# Redirects


async def test_a_redirect_is_an_error_unless_it_is_allowed(server: HookServer, other: HookServer) -> None:
    server.actor = redirecting(other.url)
    await fails(WebClient(Endpoint(url=server.url)), Code.HTTP_CLIENT_REDIRECTS_DISABLED, permanent=True)
    assert not other.requests


async def test_a_get_has_no_body_and_the_url_as_it_is(server: HookServer) -> None:
    client = WebClient(Endpoint(url=f"{server.url}/probe?x=y"))
    assert (await client.get()).status == 200
    await client.close()
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("GET", "/probe?x=y", b"")
    assert request.headers["accept"] == "application/json"
    assert "content-type" not in request.headers


@pytest.mark.parametrize(("status", "method", "body"), [(301, "GET", b""), (303, "GET", b""), (307, "POST", BODY)])
async def test_an_allowed_redirect_on_the_same_host_is_followed(
    server: HookServer, other: HookServer, status: int, method: str, body: bytes
) -> None:
    server.actor = redirecting(f"{other.url}/there", status)
    client = WebClient(Endpoint(url=server.url.replace("//", "//u:p@"), allow_redirects=True))
    assert (await client.post(BODY)).status == 200
    await client.close()
    request = other.requests[0]
    assert (request.method, request.target, request.body) == (method, "/there", body)
    assert request.headers["authorization"] == "Basic dTpw"


async def test_credentials_are_not_taken_to_another_host(server: HookServer, other: HookServer) -> None:
    elsewhere = f"http://localhost:{other.port}/"
    server.actor = redirecting(elsewhere, 308)
    endpoint = Endpoint(url=server.url.replace("//", "//u:p@"), allow_redirects=True, timeout=LONG)
    await fails(WebClient(endpoint), Code.HTTP_CLIENT_REDIRECTS_DISABLED, permanent=True)
    assert not other.requests
    client = WebClient(endpoint)
    assert (await client.post(BODY, confidential=False)).status == 200
    server.actor = redirecting(elsewhere, 302)
    assert (await client.post(BODY, confidential=True)).status == 200
    await client.close()
    assert [request.headers.get("authorization") for request in other.requests] == [None, None]
    assert [request.body for request in other.requests] == [BODY, b""]


async def test_a_redirect_back_and_forth_ends_after_ten_hops(server: HookServer) -> None:
    server.actor = redirecting("/again")
    client = WebClient(Endpoint(url=server.url, allow_redirects=True, timeout=LONG))
    await fails(client, Code.HTTP_CLIENT_REDIRECTS_DISABLED, permanent=True)
    assert len(server.requests) == 11


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://h/", "//", "http://[", "http://h:99999/", "x:y"])
async def test_a_redirect_to_what_is_no_web_address_is_refused(server: HookServer, location: str) -> None:
    server.actor = redirecting(location)
    client = WebClient(Endpoint(url=server.url, allow_redirects=True, timeout=LONG))
    await fails(client, Code.HTTP_CLIENT_REDIRECTS_DISABLED, permanent=True)


async def test_a_redirect_without_a_target_is_an_answer(server: HookServer) -> None:
    server.actor = saying(b"", status=302)
    client = WebClient(Endpoint(url=server.url, allow_redirects=True))
    assert (await client.post(BODY)).status == 302
    await client.close()


# What may go wrong


@pytest.mark.parametrize(
    ("actor", "code", "permanent"),
    [
        (webhooks.silent, Code.HTTP_CLIENT_CONNECTION_FAILED, False),
        (webhooks.dripping, Code.HTTP_CLIENT_CONNECTION_FAILED, False),
        (webhooks.closing, Code.HTTP_CLIENT_CONNECTION_FAILED, False),
        (webhooks.no_http, Code.HTTP_CLIENT_CONNECTION_FAILED, False),
        (webhooks.long_headed, Code.HTTP_CLIENT_CONNECTION_FAILED, False),
        (webhooks.closing_early, Code.HTTP_CLIENT_DECODE_FAILED, True),
        (webhooks.flooding, Code.HTTP_CLIENT_DECODE_FAILED, True),
        (webhooks.endless, Code.HTTP_CLIENT_DECODE_FAILED, True),
        (webhooks.inflating, Code.HTTP_CLIENT_DECODE_FAILED, True),
        (saying(b"{}", Content_Encoding="gzip"), Code.HTTP_CLIENT_DECODE_FAILED, True),
    ],
)
async def test_a_server_that_fails_costs_one_call(
    server: HookServer, actor: webhooks.Actor, code: Code, permanent: bool
) -> None:
    server.actor = actor
    patience = SHORT if actor in {webhooks.silent, webhooks.dripping} else LONG
    await fails(WebClient(Endpoint(url=server.url, timeout=patience)), code, permanent=permanent)


async def test_a_server_that_is_not_there_is_a_failed_connection(server: HookServer) -> None:
    async with HookServer(webhooks.accepting) as gone:
        url = gone.url
    text = await fails(WebClient(Endpoint(url=url)), Code.HTTP_CLIENT_CONNECTION_FAILED, permanent=False)
    assert "Connection refused" in text


async def test_a_name_that_nobody_knows_is_a_failed_connection() -> None:
    client = WebClient(Endpoint(url="http://nowhere.invalid/", timeout=LONG))
    await fails(client, Code.HTTP_CLIENT_CONNECTION_FAILED, permanent=False)


async def test_what_the_server_sent_never_stands_in_an_error(server: HookServer) -> None:
    """A broken server may echo the request, password and all, where we would quote it."""

    async def echoing(request: webhooks.Request, send: webhooks.Send) -> bool:
        await send(request.body * 3 + b"\r\n\r\n")
        return False

    server.actor = echoing
    client = WebClient(Endpoint(url=server.url))
    with pytest.raises(CallError) as caught:
        await client.post(b'{"passwordBase64":"czNjcmV0"}\n')
    await client.close()
    assert "czNjcmV0" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_cancelled_request_leaves_no_connection(server: HookServer) -> None:
    server.actor = webhooks.silent
    client = WebClient(Endpoint(url=server.url, timeout=LONG))
    task = asyncio.create_task(client.post(BODY))
    async with asyncio.timeout(10):
        await server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.actor = webhooks.accepting
    assert (await client.post(BODY)).status == 200
    await client.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "url", ["", "foo", "/path", "ftp://h/", "http://", "http://h:x/", "http://h:70000/", "http://["]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError):
        WebClient(Endpoint(url=url))


def test_a_url_is_shown_without_secrets() -> None:
    assert shown("https://user:pa:s@h:8/p/q?token=x#y") == "https://h:8/p/q"
    assert shown("http://[") == "(an invalid URL)"


# JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b' \r\n\t{"a":1} trailing {{{', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"null", None),
        (b"[]", []),
        (b'"\xff"', "\ufffd"),
        (rb'"\ud800"', "\ufffd"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'{"\udfff":["\ud800x"]}', {"\ufffd": ["\ufffdx"]}),
        (b'{"a":"[[[[' + b"[" * 200 + b'"}', {"a": "[" * 204}),
        (b'"a\\"[" [', 'a"['),
    ],
)
def test_json_is_read_as_go_reads_it(body: bytes, value: object) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"{'a':1}",
        b"NaN",
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b"9" * 5000,
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"[" * (DEEPEST_JSON + 1) + b"]" * (DEEPEST_JSON + 1),
        b'{"":' * 200 + b"1" + b"}" * 200,
    ],
)
def test_what_is_not_json_or_too_much_of_it_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse_json(body)


def test_repeated_keys_stand_where_the_last_one_stood() -> None:
    value = parse_json(b'{"a":1,"A":2,"a":3}')
    assert isinstance(value, dict)
    assert list(value.items()) == [("A", 2), ("a", 3)]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_in_another_way(body: bytes) -> None:
    with contextlib.suppress(NotJson):
        parse_json(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(_JSON)
def test_every_json_value_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


def test_the_response_helper_counts_its_body() -> None:
    assert b"Content-Length: 2\r\n" in response(200, b"{}")
