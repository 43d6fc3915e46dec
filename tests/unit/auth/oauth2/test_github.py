"""GitHub, by its wire: who is let in, by which organisation, and what becomes of tokens."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.parts.github import GitHub, Person, github

from moorage.auth.oauth2.calls import fresh_secrets
from moorage.auth.oauth2.contract import Denied, Identity, Tokens
from moorage.auth.oauth2.github import GitHubProvider
from moorage.codes import Code
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError

Make = Callable[..., GitHubProvider]


@pytest.fixture
def there() -> Iterator[GitHub]:
    with github() as running:
        yield running


@pytest.fixture
async def make(there: GitHub) -> AsyncIterator[Make]:
    made: list[GitHubProvider] = []

    def make(secret: str = "", **block: Any) -> GitHubProvider:
        settings = {
            "provider": "github",
            "clientId": there.client_id,
            "clientSecret": secret or there.client_secret,
            "github": {"url": there.url, "apiurl": there.api, **block},
        }
        made.append(GitHubProvider(OAuth2Config.model_validate(settings)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def by_device(provider: GitHubProvider, there: GitHub) -> Identity:
    grant = await provider.begin_device()
    there.approve(grant.user_code)
    tokens = await provider.poll_device(grant)
    assert isinstance(tokens, Tokens)
    return await provider.identify(tokens, None)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def visit(link: str) -> dict[str, str]:
    """Open a link and agree; the query that the browser is sent back with."""
    try:
        urllib.request.build_opener(_Stay).open(link, timeout=10)
    except urllib.error.HTTPError as answer:
        with answer:
            query = parse_qs(urlsplit(answer.headers["Location"]).query)
            return {name: values[0] for name, values in query.items()}
    raise AssertionError("no redirect")


async def test_10_the_device_flow_gives_the_metadata_of_the_reference(there: GitHub, make: Make) -> None:
    identity = await by_device(make(), there)
    assert identity.username == "mia"
    said = identity.metadata.metadata
    assert said["GITHUB_ID"].value == "583231"
    assert said["GITHUB_BIO"].value == ""
    assert said["GITHUB_TOKEN"].value in there.tokens
    assert all(value.sensitive for value in said.values())
    profile = {
        "NAME",
        "AVATAR_URL",
        "BIO",
        "COMPANY",
        "EMAIL",
        "BLOG_URL",
        "LOCATION",
        "TWITTER_USERNAME",
        "PROFILE_URL",
    }
    assert set(said) - {"GITHUB_2FA"} == {f"GITHUB_{name}" for name in profile | {"TOKEN", "LOGIN", "ID", "NODE_ID"}}


async def test_waiting_and_refusal(there: GitHub, make: Make) -> None:
    provider = make()
    grant = await provider.begin_device()
    assert grant.interval == 1
    assert await provider.poll_device(grant) == "authorization_pending"
    assert await provider.poll_device(grant) == "slow_down"


async def test_the_code_flow_with_pkce(there: GitHub, make: Make) -> None:
    provider, secrets = make(), fresh_secrets()
    back = visit(await provider.link(secrets, "mia"))
    assert back["state"] == secrets.state
    assert "login=mia" in there.links[0]
    with pytest.raises(Denied, match="bad_verification_code"):
        await provider.exchange(back["code"], fresh_secrets())
    back = visit(await provider.link(secrets, "mia"))
    tokens = await provider.exchange(back["code"], secrets)
    assert (await provider.identify(tokens, None)).username == "mia"


async def test_a_wrong_client_secret_is_told(there: GitHub, make: Make) -> None:
    provider, secrets = make(secret="wrong"), fresh_secrets()
    back = visit(await provider.link(secrets, "mia"))
    with pytest.raises(Denied, match="incorrect_client_credentials"):
        await provider.exchange(back["code"], secrets)


@pytest.mark.parametrize(
    ("orgs", "granted", "code"),
    [
        ({"acme": "active"}, None, None),
        ({"acme": "pending"}, None, Code.AUTH_FAILED),
        ({"other": "active"}, None, Code.AUTH_FAILED),
        ({}, None, Code.AUTH_FAILED),
        ({"acme": "active"}, [], Code.GITHUB_REQUIRED_SCOPE_NOT_GRANTED),
        ({"acme": "active"}, ["gist"], Code.GITHUB_REQUIRED_SCOPE_NOT_GRANTED),
    ],
)
async def test_membership_itself_is_looked_up(
    there: GitHub, make: Make, orgs: dict[str, str], granted: list[str] | None, code: Code | None
) -> None:
    there.person, there.granted = Person("mia", orgs), granted
    provider = make(requireOrgMembership="acme")
    if code is None:
        assert (await by_device(provider, there)).username == "mia"
        return
    with pytest.raises(Denied) as caught:
        await by_device(provider, there)
    assert caught.value.code is code


@pytest.mark.parametrize(("has", "granted", "good"), [(True, None, True), (False, None, False), (True, [], False)])
async def test_two_factors_are_demanded_and_not_knowing_is_a_no(
    there: GitHub, make: Make, has: bool, granted: list[str] | None, good: bool
) -> None:
    there.person, there.granted = Person("mia", two_factor=has), granted
    provider = make(require2FA=True)
    if good:
        assert (await by_device(provider, there)).metadata.metadata["GITHUB_2FA"].value == "true"
    else:
        with pytest.raises(Denied, match="two-factor"):
            await by_device(provider, there)


async def test_extra_scopes_are_enforced_by_their_prefix(there: GitHub, make: Make) -> None:
    provider = make(extraScopes=["repo:status", "gist"], enforceScopes=True)
    there.granted = ["repo", "gist"]
    assert await by_device(provider, there)
    there.granted = ["repo"]
    with pytest.raises(Denied, match="gist"):
        await by_device(provider, there)


async def test_a_device_flow_that_is_switched_off_there_is_no_answer(there: GitHub, make: Make) -> None:
    there.has_device_flow = False
    with pytest.raises(AuthError, match="device_flow_disabled"):
        await make().begin_device()


async def test_tokens_really_are_revoked(there: GitHub, make: Make) -> None:
    provider = make()
    token = (await by_device(provider, there)).metadata.metadata["GITHUB_TOKEN"].value
    await provider.revoke(token)
    assert there.revoked == [token]
    await provider.revoke(token)
    with pytest.raises(AuthError, match="status 401"):
        await provider.identify(Tokens(token), None)


async def test_an_enterprise_path_is_kept(there: GitHub, make: Make) -> None:
    link = await make(url=f"{there.url}/enterprise").link(fresh_secrets(), "mia")
    assert urlsplit(link).path == "/enterprise/login/oauth/authorize"
