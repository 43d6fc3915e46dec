"""The auth server, asked by the product's own webhooks and by clients that get it wrong."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from moorage.auth.configserver import ConfigHook
from moorage.auth.contract import HookKind
from moorage.auth.users import UsersAuthenticator
from moorage.auth.webhook import Webhook
from moorage.config import AppConfig, load_text
from moorage.gateway.model import Address, Attempt, ConnectionId, TextValue
from moorage.net.http import Endpoint
from moorage.web.authserver import TRYOUT, AuthServer, Directory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
BCRYPT_X = "$2b$04$F26h6YU1OVq3Fo8q6etnBO3gF84e/LMS2XUBOB9PR356jbfiTAfQq"
Start = Callable[[Directory], Coroutine[Any, Any, str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers = []

    async def start(directory: Directory) -> str:
        server = AuthServer(directory, host="127.0.0.1", port=0)
        await server.start()
        servers.append(server)
        return f"http://{server.address}"

    yield start
    for server in servers:
        await server.drain(0)
        await server.stop()


def attempt(name: str) -> Attempt:
    return Attempt(ConnectionId("0" * 32), Address("127.0.0.1", 1), "SSH-2.0-x", name)


def hook(url: str, kind: HookKind) -> Webhook:
    return Webhook(kind, Endpoint(url=url, timeout=timedelta(seconds=15)), budget=timedelta(seconds=15))


async def password(url: str, name: str, secret: bytes) -> bool:
    provider = hook(url, HookKind.PASSWORD)
    verdict = await provider.password(attempt(name), secret)
    await provider.close()
    assert verdict.authenticated_username == (name if verdict.success else "")
    return verdict.success


async def key(url: str, name: str) -> bool:
    provider = hook(url, HookKind.PUBLIC_KEY)
    verdict = await provider.public_key(attempt(name), KEY)
    await provider.close()
    return verdict.success


async def authorized(url: str, name: str) -> bool:
    provider = hook(url, HookKind.AUTHORIZATION)
    verdict = await provider.authorize(attempt(name))
    await provider.close()
    return verdict.success


async def config(url: str, name: str) -> AppConfig:
    base = load_text(
        f"configserver: {{url: '{url}/config', timeout: 15s}}\nbackend: docker\n"
        "docker: {execution: {container: {image: base}}}\n",
        "config.yaml",
    ).config
    source = ConfigHook(base)
    effective, _ = await source.resolve(attempt(name))
    await source.close()
    return effective


async def test_the_users_of_a_first_try_get_in_with_anything(start: Start) -> None:
    url = await start(TRYOUT)
    for name in ("foo", "busybox"):
        assert await password(url, name, b"anything")
        assert await key(url, name)
        assert await authorized(url, name)
    assert not await password(url, "root", b"anything")
    assert not await key(url, "root")
    assert not await authorized(url, "root")


async def test_each_user_gets_his_configuration(start: Start) -> None:
    url = await start(TRYOUT.with_image("mia", "debian:12"))
    assert (await config(url, "foo")).docker.execution.container["Image"] == "base"
    assert (await config(url, "mia")).docker.execution.container["Image"] == "debian:12"
    busybox = (await config(url, "busybox")).docker.execution
    assert busybox.container["Image"] == "busybox"
    assert (busybox.disable_agent, list(busybox.shell_command)) == (True, ["/bin/sh"])


async def test_given_users_get_in_with_their_passwords(start: Start) -> None:
    url = await start(Directory(passwords={"mia": "pä:ss"}))
    assert await password(url, "mia", "pä:ss".encode())
    assert not await password(url, "mia", b"wrong")
    assert not await password(url, "mia", b"")
    assert not await key(url, "mia")
    assert await authorized(url, "mia")
    assert not await password(url, "foo", b"x")


async def test_everybody_may_be_let_in_by_password(start: Start) -> None:
    url = await start(Directory(welcomes_all=True))
    assert await password(url, "anybody", b"")
    assert not await key(url, "anybody")


async def test_users_of_a_file_bring_what_the_file_attaches(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    file.write_text(f"users: {{mia: {{password: {BCRYPT_X}, keys: [{KEY}], environment: {{A: b}}}}}}")
    users = UsersAuthenticator(file)
    url = await start(Directory(users=users))
    provider = hook(url, HookKind.PASSWORD)
    verdict = await provider.password(attempt("mia"), b"x")
    await provider.close()
    assert verdict.success
    assert verdict.metadata.environment == {"A": TextValue("b")}
    assert await key(url, "mia")
    assert await authorized(url, "mia")
    assert not await authorized(url, "zoe")
    await users.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/any/prefix//password", b'{"username":"foo","passwordBase64":"eA=="}', 200),
        ("POST", "/password", b'{"username":"foo","passwordBase64":"eA==","later":{"a":1}}', 200),
        ("POST", "/password/", b"{}", 404),
        ("POST", "/", b"{}", 404),
        ("GET", "/password", b"{}", 405),
        ("POST", "/password", b"", 400),
        ("POST", "/password", b"{", 400),
        ("POST", "/password", b"[]", 400),
        ("POST", "/password", b"[" * 100_000, 400),
        ("POST", "/password", b"\xff", 400),
        ("POST", "/password", b'{"username":1}', 400),
        ("POST", "/password", b'{"username":"foo","passwordBase64":"!"}', 400),
        ("POST", "/pubkey", b'{"username":"foo","publicKey":1}', 400),
        ("POST", "/config", b" " * 2_000_000, 413),
    ],
)
async def test_requests_are_answered_with_the_right_status(
    start: Start, method: str, path: str, body: bytes, status: int
) -> None:
    url = await start(TRYOUT)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url + path, data=io.BytesIO(body), headers={"Accept": "text/html;q=x"}) as response,
    ):
        assert response.status == status
        if status in {200, 400}:
            assert response.content_type == "application/json"
            assert set(await response.json()) == ({"success", "authenticatedUsername"} if status == 200 else {"error"})


async def test_a_users_file_that_is_gone_is_an_error_and_no_login(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    file.write_text("users: {}")
    users = UsersAuthenticator(file)
    url = await start(Directory(users=users))
    file.unlink()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/password", json={"username": "mia", "passwordBase64": ""}) as response,
    ):
        assert (response.status, (await response.json())["success"]) == (500, False)
    await users.close()


async def test_a_port_that_is_taken_is_an_error(start: Start) -> None:
    url = await start(TRYOUT)
    second = AuthServer(TRYOUT, host="127.0.0.1", port=int(url.rpartition(":")[2]))
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()


def test_passwords_do_not_show() -> None:
    assert "s3cret" not in repr(Directory(passwords={"mia": "s3cret"}))
