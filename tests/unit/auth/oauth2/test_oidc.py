"""An OpenID provider that is down, slow, broken or lying lets nobody in; an honest one is asked no more than needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey
from tests.unit.auth.oauth2.provider import TestProvider, provider

from moorage.auth.oauth2.calls import challenge, fresh_secrets
from moorage.auth.oauth2.contract import Denied, Identity, Tokens, TransientError
from moorage.auth.oauth2.discovery import FRESH, Discovery
from moorage.auth.oauth2.oidc import OIDCProvider
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.model import TextValue
from moorage.net.http import Endpoint, WebClient

Make = Callable[..., OIDCProvider]


@pytest.fixture
async def there() -> AsyncIterator[TestProvider]:
    async with provider() as running:
        yield running


@pytest.fixture
async def make(there: TestProvider) -> AsyncIterator[Make]:
    made: list[OIDCProvider] = []

    def make(**oidc: Any) -> OIDCProvider:
        block = {"url": there.url, "deviceFlow": True, "authorizationCodeFlow": True, "timeout": "2s"}
        block |= {"redirectURI": "http://127.0.0.1:1/", **oidc}
        settings = {"provider": "oidc", "clientId": "gateway", "clientSecret": "s3cret", "oidc": block}
        made.append(OIDCProvider(OAuth2Config.model_validate(settings)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def by_code(oidc: OIDCProvider, there: TestProvider) -> Identity:
    """The code flow from its beginning to its end."""
    secrets = fresh_secrets()
    await oidc.link(secrets, "mia")
    there.nonce = secrets.nonce
    return await oidc.identify(await oidc.exchange("c0de", secrets), secrets.nonce)


async def test_the_code_flow_gives_name_claims_and_metadata(there: TestProvider, make: Make) -> None:
    identity = await by_code(make(), there)
    assert identity.username == "mia"
    assert identity.claims["groups"] == ["a"]
    said = identity.metadata.metadata
    assert said["OIDC_TOKEN"] == TextValue("acc3ss", sensitive=True)
    assert said["OIDC_USERINFO_SUB"] == TextValue("mia")
    assert said["OIDC_USERINFO_EMAIL"] == TextValue("m@example.test", sensitive=True)
    assert said["OIDC_USERINFO_GROUPS"] == TextValue('["a"]')
    assert "OIDC_USERINFO_NONCE" not in said


async def test_the_link_has_pkce_state_and_nonce(make: Make) -> None:
    secrets = fresh_secrets()
    link = await make(extraScopes=["groups", "openid"]).link(secrets, "mia")
    query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert query == {
        "response_type": "code",
        "client_id": "gateway",
        "scope": "openid groups",
        "state": secrets.state,
        "nonce": secrets.nonce,
        "code_challenge": challenge(secrets.verifier),
        "code_challenge_method": "S256",
        "redirect_uri": "http://127.0.0.1:1/",
    }
    assert secrets.verifier not in link


async def test_the_exchange_proves_who_we_are_and_who_began(there: TestProvider, make: Make) -> None:
    secrets = fresh_secrets()
    await make().exchange("c0de", secrets)
    method, path, form, headers = there.asked[-1]
    assert (method, path) == ("POST", "/token")
    assert form["code_verifier"] == secrets.verifier
    assert headers["Authorization"] == "Basic Z2F0ZXdheTpzM2NyZXQ="
    discovery = there.asked[0]
    assert "Authorization" not in discovery[3], "the secret is not for the discovery"


async def test_the_device_flow_has_five_seconds_where_nothing_is_said(make: Make) -> None:
    oidc = make()
    grant = await oidc.begin_device()
    assert (grant.interval, grant.expires_in) == (5, 60)
    assert isinstance(await oidc.poll_device(grant), Tokens)


async def test_discovery_and_keys_are_asked_for_once_for_many_logins(there: TestProvider, make: Make) -> None:
    oidc = make()
    for _ in range(5):
        await by_code(oidc, there)
    assert there.paths().count("/.well-known/openid-configuration") == 1
    assert there.paths().count("/keys") == 1


async def test_keys_may_change(there: TestProvider, make: Make) -> None:
    now = [1000.0]
    client = WebClient(Endpoint(url=there.url))
    discovery = Discovery(client, there.url, clock=lambda: now[0])
    assert len((await discovery.keys())["keys"]) == 1
    there.keys.append(RSAKey.generate_key(2048, {"kid": "two"}))
    now[0] += 11
    assert len((await discovery.keys(unknown=True))["keys"]) == 2
    there.keys.append(RSAKey.generate_key(2048, {"kid": "three"}))
    assert len((await discovery.keys(unknown=True))["keys"]) == 2, "forged tokens must not make us hammer the provider"
    now[0] += FRESH
    assert len((await discovery.keys())["keys"]) == 3
    await client.close()


async def test_a_provider_that_is_gone_for_a_while_is_known_still(there: TestProvider) -> None:
    now = [1000.0]
    client = WebClient(Endpoint(url=there.url))
    discovery = Discovery(client, there.url, clock=lambda: now[0])
    before = await discovery.metadata()
    there.lies["/.well-known/openid-configuration"] = lambda: web.json_response({}, status=404)
    now[0] += FRESH + 1
    assert await discovery.metadata() == before
    now[0] += 25 * 3600
    with pytest.raises(AuthError):
        await discovery.metadata()
    await client.close()


async def test_those_who_wait_for_a_provider_that_is_down_fail_together(there: TestProvider) -> None:
    now = [1000.0]
    client = WebClient(Endpoint(url=there.url))
    discovery = Discovery(client, there.url, clock=lambda: now[0])
    there.lies["/.well-known/openid-configuration"] = lambda: web.json_response({}, status=404)
    found = await asyncio.gather(*(discovery.metadata() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(error, AuthError) for error in found)
    assert len(there.paths()) == 1
    now[0] += 6
    there.lies.clear()
    assert (await discovery.metadata()).issuer == there.url
    await client.close()


def discovered(there: TestProvider, **change: Any) -> Callable[[], web.StreamResponse]:
    fields = {
        "issuer": there.url,
        "jwks_uri": f"{there.url}/keys",
        "token_endpoint": f"{there.url}/token",
        "userinfo_endpoint": f"{there.url}/userinfo",
        "authorization_endpoint": f"{there.url}/authorization",
        **change,
    }
    return lambda: web.json_response({name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"issuer": ["a"]},
        {"token_endpoint": None},
        {"jwks_uri": None},
        {"token_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": "http://[::1"},
        {"userinfo_endpoint": "http://a b/"},
    ],
)
async def test_a_discovery_that_is_not_to_be_trusted(there: TestProvider, make: Make, change: dict[str, Any]) -> None:
    there.lies["/.well-known/openid-configuration"] = discovered(there, **change)
    with pytest.raises(AuthError):
        await make().exchange("c0de", fresh_secrets())
    assert "/token" not in there.paths()


def redirect() -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/elsewhere"})


async def hang() -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


WRONG: dict[str, Callable[[], Any]] = {
    "redirect": redirect,
    "not found": lambda: web.json_response({}, status=404),
    "no JSON": lambda: web.Response(text="<html>"),
    "a list": lambda: web.json_response([1]),
    "empty": web.Response,
    "huge": lambda: web.Response(body=b'{"a":"' + b"x" * 2_000_000 + b'"}'),
    "deep": lambda: web.Response(body=b"[" * 100_000),
}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys", "/userinfo"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_broken_answer_lets_nobody_in(there: TestProvider, make: Make, path: str, wrong: str) -> None:
    there.lies[path] = WRONG[wrong]
    with pytest.raises((AuthError, Denied)):
        await by_code(make(), there)
    assert "/elsewhere" not in there.paths()


async def test_a_slow_provider_holds_nobody_for_longer_than_the_timeout(there: TestProvider, make: Make) -> None:
    there.lies["/token"] = hang
    began = time.monotonic()
    with pytest.raises(AuthError, match="no answer"):
        await make(timeout="200ms").exchange("c0de", fresh_secrets())
    assert time.monotonic() - began < 20


async def test_a_code_is_sent_once_only(there: TestProvider, make: Make) -> None:
    there.lies["/token"] = lambda: web.json_response({}, status=503)
    with pytest.raises(AuthError):
        await make().exchange("c0de", fresh_secrets())
    assert there.paths().count("/token") == 1


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (400, {"error": "authorization_pending"}, "authorization_pending"),
        (400, {"error": "slow_down"}, "slow_down"),
        (400, {"error": "access_denied"}, "access_denied"),
        (200, {"error": "access_denied"}, "access_denied"),
        (200, {}, "status 200 without a token"),
        (200, {"access_token": 7}, "status 200 without a token"),
        (200, {"access_token": "x" * 100_000}, "status 200 without a token"),
        (401, {}, "status 401 without a token"),
    ],
)
async def test_polling_understands_errors_whatever_their_status(
    there: TestProvider, make: Make, status: int, fields: dict[str, Any], expected: str
) -> None:
    oidc = make()
    grant = await oidc.begin_device()
    there.lies["/token"] = lambda: web.json_response(fields, status=status)
    assert await oidc.poll_device(grant) == expected


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_polling_goes_on_while_the_provider_is_busy(there: TestProvider, make: Make, status: int) -> None:
    oidc = make()
    grant = await oidc.begin_device()
    there.lies["/token"] = lambda: web.json_response({}, status=status)
    with pytest.raises(TransientError):
        await oidc.poll_device(grant)


Change = Callable[[TestProvider], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda there: there.claims.update(aud="other"),
        lambda there: there.claims.update(nonce="other"),
        lambda there: there.claims.update(exp=1),
        lambda there: there.claims.update(iss="https://evil.example"),
        lambda there: there.record.update(sub="somebody-else"),
        lambda there: there.record.clear(),
        lambda there: there.keys.__setitem__(0, RSAKey.generate_key(2048, {"kid": "one"})),
    ],
)
async def test_lies_about_the_user_let_nobody_in(there: TestProvider, make: Make, change: Change) -> None:
    oidc = make(usernameField="email")
    secrets = fresh_secrets()
    there.nonce = secrets.nonce
    await oidc.link(secrets, "mia")
    if change.__code__.co_names[0] == "keys":
        await oidc._discovery.keys()
    change(there)
    with pytest.raises((Denied, AuthError)):
        await oidc.identify(await oidc.exchange("c0de", secrets), secrets.nonce)


@pytest.mark.parametrize(
    ("scope", "enforce", "good"),
    [("openid groups", True, True), ("openid", True, False), ("openid", False, True), (None, True, True)],
)
async def test_scopes_are_enforced_where_that_is_asked_for(
    there: TestProvider, make: Make, scope: str | None, enforce: bool, good: bool
) -> None:
    there.scope = scope
    work: Awaitable[Identity] = by_code(make(extraScopes=["groups"], enforceScopes=enforce), there)
    if good:
        await work
    else:
        with pytest.raises(Denied, match="groups"):
            await work


@pytest.mark.parametrize("value", [None, 7, ["mia"], ""])
async def test_a_name_that_is_no_text_is_none(there: TestProvider, make: Make, value: Any) -> None:
    there.record["nick"] = value
    with pytest.raises(Denied, match="'nick'"):
        await by_code(make(usernameField="nick"), there)


async def test_revocation_never_fails_a_login(there: TestProvider, make: Make) -> None:
    oidc = make()
    await oidc.revoke("acc3ss")
    assert there.asked[-1][2] == {"token": "acc3ss", "token_type_hint": "access_token"}
    there.lies["/revocation"] = redirect
    await oidc.revoke("acc3ss")


async def test_11_the_address_may_end_in_a_slash_or_not(there: TestProvider, make: Make) -> None:
    assert (await by_code(make(url=f"{there.url}/"), there)).username == "mia"


async def test_no_error_quotes_a_secret(there: TestProvider, make: Make) -> None:
    there.lies["/token"] = lambda: web.Response(text='{"access_token": "c4n4ry"')
    with pytest.raises(AuthError) as caught:
        await make().exchange("c0de-c4n4ry", fresh_secrets())
    assert "c4n4ry" not in repr(caught.value) + str(caught.value) + repr(caught.value.__cause__)
    assert "s3cret" not in repr(make().__dict__)
