"""The conversation: what the user sees, what he may answer, and what becomes of his tokens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from moorage.auth.oauth2.contract import (
    Denied,
    DeviceGrant,
    Identity,
    Secrets,
    Tokens,
    TransientError,
)
from moorage.auth.oauth2.login import OAuth2Login
from moorage.codes import Code
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId, Metadata, Restrictions, Round, TextValue

MIA = Attempt(ConnectionId("0123456789abcdef" * 2), Address("10.1.2.3", 4000), "SSH-2.0-OpenSSH_9.6", "mia")
CANARY = "c4n4ry"


@dataclass
class FakeProvider:
    """Does what it is told to."""

    has_device_flow: bool = True
    has_code_flow: bool = True
    polls: list[Tokens | str | Exception] = field(default_factory=lambda: [Tokens(f"token-{CANARY}")])
    identity: Identity | Exception = field(
        default_factory=lambda: Identity("mia", {"groups": ["dev"]}, Metadata({"OIDC_TOKEN": TextValue("t", True)}))
    )
    device_failure: Exception | None = None
    expires_in: float = 100.0
    revoked: list[str] = field(default_factory=list)
    exchanged: list[str] = field(default_factory=list)
    secrets: Secrets | None = None
    nonce: str | None = None
    closed: bool = False

    async def begin_device(self) -> DeviceGrant:
        if self.device_failure is not None:
            raise self.device_failure
        return DeviceGrant(f"device-{CANARY}", "WXYZ-1234", "https://id.example/device", 5, self.expires_in)

    async def poll_device(self, grant: DeviceGrant) -> Tokens | str:
        answer = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def link(self, secrets: Secrets, username: str) -> str:
        self.secrets = secrets
        return f"https://id.example/authorize?state={secrets.state}"

    async def exchange(self, code: str, secrets: Secrets) -> Tokens:
        self.exchanged.append(code)
        return Tokens(f"token-{CANARY}")

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        self.nonce = nonce
        if isinstance(self.identity, Exception):
            raise self.identity
        return self.identity

    async def revoke(self, access_token: str) -> None:
        self.revoked.append(access_token)

    async def close(self) -> None:
        self.closed = True


@dataclass
class User:
    """Reads what he is shown and answers."""

    answer: Callable[[Round], Sequence[str]] = lambda shown: [""] * len(shown.prompts)
    shown: list[Round] = field(default_factory=list)

    async def ask(self, shown: Round) -> Sequence[str]:
        self.shown.append(shown)
        return self.answer(shown)


def login(fake: FakeProvider, pauses: list[float] | None = None, **config: Any) -> OAuth2Login:
    async def sleep(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)
        await asyncio.sleep(0)

    settings = OAuth2Config.model_validate({"provider": "oidc", **config})
    return OAuth2Login(settings, provider=fake, sleep=sleep)


async def test_the_device_flow_shows_link_and_code_and_asks_openssh_nothing() -> None:
    provider, user, pauses = FakeProvider(polls=["authorization_pending", "slow_down", Tokens("t")]), User(), []  # type: ignore[var-annotated]
    verdict = await login(provider, pauses).keyboard_interactive(MIA, user.ask)
    assert verdict.success
    assert verdict.authenticated_username == "mia"
    (shown,) = user.shown
    assert shown.prompts == ()
    assert "https://id.example/device" in shown.instruction
    assert "WXYZ-1234" in shown.instruction
    assert pauses == [5, 5, 10]
    assert provider.nonce is None
    assert not provider.revoked


@pytest.mark.parametrize("version", ["SSH-2.0-PuTTY_Release_0.80", "SSH-2.0-WinSCP_release_6.3", ""])
async def test_other_clients_read_everything_in_the_question(version: str) -> None:
    other = Attempt(MIA.connection_id, MIA.remote_address, version, "mia")
    user = User()
    assert (await login(FakeProvider()).keyboard_interactive(other, user.ask)).success
    (shown,) = user.shown
    assert (shown.name, shown.instruction) == ("", "")
    (prompt,) = shown.prompts
    assert "https://id.example/device" in prompt.text
    assert "WXYZ-1234" in prompt.text
    assert prompt.echo


async def test_a_qr_code_is_for_those_clients_that_are_listed() -> None:
    for patterns, has_one in (((), False), (("^SSH-2.0-OpenSSH",), True), (("PuTTY",), False)):
        user = User()
        await login(FakeProvider(), qr_code_clients=patterns).keyboard_interactive(MIA, user.ask)
        text = user.shown[0].instruction + "".join(prompt.text for prompt in user.shown[0].prompts)
        assert ("█" in text) is has_one
        assert ("█" in user.shown[0].instruction) is False, "OpenSSH would escape it"
        assert "\x1b" not in text


async def test_clients_that_are_not_listed_for_the_device_flow_use_the_other() -> None:
    provider = FakeProvider()
    user = User(lambda shown: [f"{provider.secrets.state}|c0de"] if provider.secrets else [])
    assert (await login(provider, device_flow_clients=("PuTTY",)).keyboard_interactive(MIA, user.ask)).success
    assert provider.exchanged == ["c0de"]
    assert provider.nonce == provider.secrets.nonce  # type: ignore[union-attr]


async def test_a_device_flow_that_does_not_begin_leaves_the_code_flow() -> None:
    provider = FakeProvider(device_failure=AuthError("too many"))
    user = User(lambda shown: [f" {provider.secrets.state}|c0de\n"] if provider.secrets else [])
    assert (await login(provider).keyboard_interactive(MIA, user.ask)).success
    with pytest.raises(AuthError, match="too many"):
        await login(FakeProvider(has_code_flow=False, device_failure=AuthError("too many"))).keyboard_interactive(
            MIA, User().ask
        )


@pytest.mark.parametrize(
    "typed", ["", "c0de", "|c0de", "wrong|c0de", "{state}", "{state}|", "{state}x|c0de", "{state}c0de", "ü|ü"]
)
async def test_only_the_state_of_this_very_attempt_opens_it(typed: str) -> None:
    provider = FakeProvider(has_device_flow=False)

    def answer(shown: Round) -> Sequence[str]:
        assert provider.secrets is not None
        return [typed.format(state=provider.secrets.state)] * len(shown.prompts)

    user = User(answer)
    assert not (await login(provider).keyboard_interactive(MIA, user.ask)).success
    assert not provider.exchanged
    assert "(reference 0123456789ab)" in user.shown[-1].instruction
    assert user.shown[-1].prompts == ()


async def test_secrets_are_new_for_each_attempt_and_the_answer_is_not_echoed() -> None:
    provider = FakeProvider(has_device_flow=False)
    seen = set()
    for _ in range(3):
        user = User()
        await login(provider).keyboard_interactive(MIA, user.ask)
        assert provider.secrets is not None
        seen |= {provider.secrets.state, provider.secrets.verifier, provider.secrets.nonce}
        assert user.shown[0].prompts[0].echo is False
    assert len(seen) == 9
    assert all(len(value) >= 43 for value in seen)


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "invalid_client", "whatever"])
async def test_a_provider_that_says_no_ends_it_with_a_line_for_the_user(error: str) -> None:
    user = User()
    assert not (await login(FakeProvider(polls=[error])).keyboard_interactive(MIA, user.ask)).success
    assert "(reference 0123456789ab)" in user.shown[-1].instruction


async def test_a_provider_that_fails_for_a_while_is_asked_again_more_slowly() -> None:
    pauses: list[float] = []
    provider = FakeProvider(polls=[TransientError("busy"), TransientError("busy"), Tokens("t")])
    assert (await login(provider, pauses).keyboard_interactive(MIA, User().ask)).success
    assert pauses == [5, 10, 20]


async def test_a_code_that_nobody_enters_expires() -> None:
    provider = FakeProvider(polls=["authorization_pending"], expires_in=0.05)
    user = User()
    assert not (await login(provider).keyboard_interactive(MIA, user.ask)).success
    assert "expired" in user.shown[-1].instruction


async def test_the_whole_login_has_an_end() -> None:
    provider = FakeProvider(polls=["authorization_pending"])
    with pytest.raises(AuthError, match="has not logged in") as caught:
        await login(provider, auth_timeout="1s").keyboard_interactive(MIA, User().ask)
    assert caught.value.code is Code.AUTH_OAUTH2_TIMEOUT


@pytest.mark.parametrize(
    ("known", "provider_name", "config", "good"),
    [
        ("bob", "oidc", {}, True),
        ("bob", "oidc", {"oidc": {"enforceUsername": True}}, False),
        ("Mia", "oidc", {"oidc": {"enforceUsername": True}}, False),
        ("mia", "oidc", {"oidc": {"enforceUsername": True}}, True),
        ("bob", "github", {}, False),
        ("MIA", "github", {}, True),
        ("bob", "github", {"github": {"enforceUsername": False}}, True),
    ],
)
async def test_the_name_at_the_provider_is_held_against_the_name_here(
    known: str, provider_name: str, config: dict[str, Any], good: bool
) -> None:
    provider = FakeProvider(identity=Identity(known, {}, Metadata()))
    verdict = await login(provider, **{"provider": provider_name, **config}).keyboard_interactive(MIA, User().ask)
    assert verdict.success is good
    assert provider.revoked == ([] if good else [f"token-{CANARY}"])
    if good:
        assert verdict.authenticated_username == known


async def test_rules_attach_and_restrict() -> None:
    rules = [{"claim": "groups", "values": ["dev"], "metadata": {"role": "dev"}, "without": ["terminal"]}]
    verdict = await login(FakeProvider(), rules=rules).keyboard_interactive(MIA, User().ask)
    assert verdict.metadata.metadata["role"] == TextValue("dev")
    assert verdict.restrictions == Restrictions(terminal=False)


@pytest.mark.parametrize(
    "failure", [Denied("no", Code.AUTH_FAILED), AuthError("no answer"), RuntimeError("a bug"), asyncio.CancelledError()]
)
async def test_a_token_of_a_login_that_fails_is_revoked(failure: BaseException) -> None:
    provider = FakeProvider(identity=failure)  # type: ignore[arg-type]

    async def identify(tokens: Tokens, nonce: str | None) -> Identity:
        raise failure

    provider.identify = identify  # type: ignore[method-assign]
    with contextlib.suppress(AuthError, RuntimeError, asyncio.CancelledError):
        assert not (await login(provider).keyboard_interactive(MIA, User().ask)).success
    assert provider.revoked == [f"token-{CANARY}"]


async def test_rules_that_refuse_revoke_as_well() -> None:
    provider = FakeProvider()
    verdict = await login(provider, rules=[{"claim": "groups", "values": ["x"]}]).keyboard_interactive(MIA, User().ask)
    assert not verdict.success
    assert provider.revoked


async def test_no_secret_is_in_any_text() -> None:
    provider = FakeProvider(identity=Identity("mia", {"email": CANARY}, Metadata()))
    with structlog.testing.capture_logs() as logs:
        await login(provider, rules=[{"claim": "none"}]).keyboard_interactive(MIA, User().ask)
        provider.polls = [f"error-{CANARY}"[:5]]
        await login(provider).keyboard_interactive(MIA, User().ask)
    texts = [repr(logs)]
    texts += [repr(Tokens(CANARY, CANARY, CANARY)), repr(DeviceGrant(CANARY, "", "", 1, 1))]
    texts += [repr(Secrets(CANARY, CANARY, CANARY)), repr(provider.identity)]
    assert all(CANARY not in text for text in texts)


async def test_a_token_can_be_revoked_when_the_login_ends() -> None:
    provider = FakeProvider()
    made = login(provider)
    await made.revoke(Metadata({"OIDC_TOKEN": TextValue("a", True), "OTHER": TextValue("b")}))
    assert provider.revoked == ["a"]
    await made.close()
    assert provider.closed
