"""What webhooks can be told beside their address: the older protocol, a signature, a proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from moorage.auth.chain import AuthChain
from moorage.auth.configserver import ConfigHook
from moorage.config import load_text
from moorage.gateway.model import Address, Attempt, ConnectionId, Metadata, Round, TextValue
from moorage.net.http import _proxy_for
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer
from moorage.webhook import HEADER, verify

SECRET = "sixteen characters"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
MIA = Attempt(
    ConnectionId("8f0c6b2a4d5e4f709a1b2c3d4e5f6071"), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia"
)
OLD = {
    "username": "mia",
    "remoteAddress": "198.51.100.7",
    "connectionId": "8f0c6b2a4d5e4f709a1b2c3d4e5f6071",
    "sessionId": "8f0c6b2a4d5e4f709a1b2c3d4e5f6071",
}


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting) as server:
        yield server


def configured(url: str, **more: Any) -> Any:
    hook = {"method": "webhook", "webhook": {"url": url, "timeout": "15s", **more}}
    methods = ["password", "publicKey", *([] if more.get("protocol") == "0.4" else ["keyboardInteractive"])]
    text = {
        "auth": dict.fromkeys(methods, hook),
        "configserver": {"url": f"{url}/config", "timeout": "15s", **more},
    }
    return load_text(json.dumps(text), "config.json").config


async def test_release_0_4_is_asked_as_it_was(server: HookServer) -> None:
    """The sample of the reference, and no field that its strict servers did not know."""
    config = configured(server.url, protocol="0.4")
    chain, source = AuthChain(config), ConfigHook(config)
    assert (await chain.password(MIA, b"s3cret")).success
    assert (await chain.public_key(MIA, KEY)).success
    server.actor = webhooks.saying({"config": {}})
    await source.resolve(MIA)
    await chain.close()
    await source.close()
    password, key, asked = (json.loads(request.body) for request in server.requests)
    assert password == {**OLD, "passwordBase64": "czNjcmV0"}
    assert key == {**OLD, "publicKey": KEY}
    assert asked == {"remoteAddr" if name == "remoteAddress" else name: value for name, value in OLD.items()}


async def test_with_a_secret_every_hook_is_signed_for_its_own_path(server: HookServer) -> None:
    config = configured(server.url, secret=SECRET)
    chain, source = AuthChain(config), ConfigHook(config)
    await chain.password(MIA, b"s3cret")
    await chain.public_key(MIA, KEY)
    server.actor = webhooks.saying({"config": {}})
    await source.resolve(MIA)
    await chain.close()
    await source.close()
    for request in server.requests:
        hook = request.target.rpartition("/")[2]
        verify(SECRET.encode(), hook, request.body, request.headers[HEADER.lower()])
    assert [request.target for request in server.requests] == ["/password", "/pubkey", "/config"]


async def test_without_one_nothing_is_signed(server: HookServer) -> None:
    chain = AuthChain(configured(server.url))
    await chain.password(MIA, b"s3cret")
    await chain.close()
    assert HEADER.lower() not in server.requests[0].headers


async def test_a_webhook_checks_one_time_passwords_and_is_told_what_is_proved(server: HookServer) -> None:
    chain = AuthChain(configured(server.url))
    proved = Metadata(metadata={"team": TextValue("blue"), "token": TextValue("t", sensitive=True)})
    attempt = Attempt(MIA.connection_id, MIA.remote_address, "SSH-2.0-x", "mia", "mia@example.org", proved)

    async def ask(shown: Round) -> Sequence[str]:
        assert [(prompt.text, prompt.echo) for prompt in shown.prompts] == [("One-time password: ", False)]
        return ["492039"]

    assert (await chain.keyboard_interactive(attempt, ask)).success
    server.actor = webhooks.refusing
    assert not (await chain.keyboard_interactive(attempt, ask)).success
    await chain.close()
    request = server.requests[0]
    assert request.target == "/otp"
    fields = json.loads(request.body)
    assert (fields["otp"], fields["authenticatedUsername"]) == ("492039", "mia@example.org")
    assert fields["metadata"] == {"team": {"value": "blue", "sensitive": False}}


async def test_a_proxy_of_the_environment_is_used_where_that_is_asked_for(
    server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees the whole URL; the service would not be found without it."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "direct.invalid")
    chain = AuthChain(configured("http://auth.invalid/ssh", proxyFromEnvironment=True))
    assert (await chain.password(MIA, b"s3cret")).success
    await chain.close()
    assert server.requests[0].target == "http://auth.invalid/ssh/password"
    assert _proxy_for("http://direct.invalid/") is None


async def test_by_default_the_environment_s_proxy_is_not_used(
    server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    chain = AuthChain(configured(server.url))
    assert (await chain.password(MIA, b"s3cret")).success
    await chain.close()


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(Exception, match=r"auth\.password\.webhook\.secret"):
        configured("http://127.0.0.1:1", secret="short")
