"""Webhooks against real servers: what they are asked, how long, and that no failure is ever a login."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.auth.lines import captured_log

from moorage.auth.contract import HookKind
from moorage.auth.hook import pauses
from moorage.auth.webhook import Webhook
from moorage.codes import Code
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId, FileValue, Metadata, TextValue, Verdict
from moorage.net.http import CallError, Endpoint
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer, in_turn, saying

PASSWORD = b"hunter2-s3cret"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
MIA = Attempt(
    ConnectionId("8f0c6b2a4d5e4f709a1b2c3d4e5f6071"), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia"
)
LONG = timedelta(seconds=15)
SHORT = timedelta(milliseconds=300)


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting) as server:
        yield server


class Pauses:
    """A sleep that takes no time and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0)


class Counts:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def requested(self, kind: HookKind, *, retry: bool) -> None:
        self.heard.append(f"requested {kind} {retry:d}")

    def failed(self, kind: HookKind, *, retry: bool, reason: str, final: bool) -> None:
        self.heard.append(f"failed {kind} {retry:d} {reason}{' final' if final else ''}")

    def decided(self, kind: HookKind, *, retry: bool, success: bool, remote_address: Address) -> None:
        self.heard.append(f"decided {kind} {retry:d} {success} {remote_address.host}")

    def took(self, kind: HookKind, *, seconds: float, is_answered: bool) -> None:
        assert seconds >= 0


def hook(
    server: HookServer,
    kind: HookKind = HookKind.PASSWORD,
    *,
    timeout: timedelta = LONG,
    budget: timedelta = LONG,
    sleep: Pauses | None = None,
    observer: Counts | None = None,
    transmit_sensitive: bool = False,
) -> Webhook:
    return Webhook(
        kind,
        Endpoint(url=server.url, timeout=timeout),
        budget=budget,
        sleep=sleep or Pauses(),
        observer=observer,
        transmit_sensitive=transmit_sensitive,
    )


async def test_the_three_hooks_post_their_bodies_to_their_paths(server: HookServer) -> None:
    login = replace(MIA, authenticated_username="mia@example.com")
    opening = (
        b'{"remoteAddress":"198.51.100.7:40122","connectionId":"8f0c6b2a4d5e4f709a1b2c3d4e5f6071",'
        b'"clientVersion":"SSH-2.0-OpenSSH_9.6","username":"mia"'
    )
    password, key, authz = (
        hook(server, kind) for kind in (HookKind.PASSWORD, HookKind.PUBLIC_KEY, HookKind.AUTHORIZATION)
    )
    assert (await password.password(MIA, b"s3cret")).success
    assert (await key.public_key(MIA, KEY)).success
    assert (await authz.authorize(login)).success
    for provider in (password, key, authz):
        await provider.close()
        await provider.close()
    assert [(request.target, request.body) for request in server.requests] == [
        ("/password", opening + b',"passwordBase64":"czNjcmV0"}\n'),
        ("/pubkey", opening + b',"publicKey":"' + KEY.encode() + b'"}\n'),
        ("/authz", opening + b',"authenticatedUsername":"mia@example.com"}\n'),
    ]


FAILURES = {
    "silent": (webhooks.silent, Code.HTTP_CLIENT_CONNECTION_FAILED, True),
    "dripping": (webhooks.dripping, Code.HTTP_CLIENT_CONNECTION_FAILED, True),
    "closing": (webhooks.closing, Code.HTTP_CLIENT_CONNECTION_FAILED, True),
    "no_http": (webhooks.no_http, Code.HTTP_CLIENT_CONNECTION_FAILED, True),
    "long_headed": (webhooks.long_headed, Code.HTTP_CLIENT_CONNECTION_FAILED, True),
    "broken": (webhooks.broken, Code.AUTH_INVALID_STATUS, True),
    "busy": (webhooks.busy, Code.AUTH_INVALID_STATUS, True),
    "missing": (webhooks.missing, Code.AUTH_INVALID_STATUS, False),
    "unauthorized": (webhooks.unauthorized, Code.AUTH_INVALID_STATUS, False),
    "created": (webhooks.created, Code.AUTH_INVALID_STATUS, False),
    "without_content": (webhooks.without_content, Code.AUTH_INVALID_STATUS, False),
    "redirecting": (webhooks.redirecting("/elsewhere"), Code.HTTP_CLIENT_REDIRECTS_DISABLED, False),
    "closing_early": (webhooks.closing_early, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "flooding": (webhooks.flooding, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "endless": (webhooks.endless, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "inflating": (webhooks.inflating, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "empty": (webhooks.empty, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "no_json": (webhooks.no_json, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "cut_json": (webhooks.cut_json, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "deep_json": (webhooks.deep_json, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "a_list": (webhooks.a_list, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "just_true": (webhooks.just_true, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "lying": (webhooks.lying, Code.HTTP_CLIENT_DECODE_FAILED, False),
    "counting": (webhooks.counting, Code.HTTP_CLIENT_DECODE_FAILED, False),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("kind", [HookKind.PASSWORD, HookKind.PUBLIC_KEY, HookKind.AUTHORIZATION])
async def test_a_failing_hook_is_an_error_and_never_a_login(server: HookServer, name: str, kind: HookKind) -> None:
    actor, reason, is_repeated = FAILURES[name]
    server.actor = actor
    pauses = Pauses()
    provider = hook(server, kind, timeout=patience_with(name), sleep=stopping_after(pauses, 2))
    calls = {
        HookKind.PASSWORD: provider.password(MIA, PASSWORD),
        HookKind.PUBLIC_KEY: provider.public_key(MIA, KEY),
        HookKind.AUTHORIZATION: provider.authorize(MIA),
    }
    chosen = calls.pop(kind)
    for unused in calls.values():
        unused.close()
    with captured_log() as lines, pytest.raises(AuthError) as caught:
        await chosen
    await provider.close()
    failure = caught.value
    assert failure.code == Code.AUTH_BACKEND_ERROR
    assert isinstance(failure.__cause__, CallError)
    assert failure.__cause__.code == reason
    assert reason in str(failure)
    assert len(pauses.asked) == (2 if is_repeated else 0)
    assert server.url in str(failure)
    everything = json.dumps(lines) + str(failure) + repr(failure) + repr(failure.__cause__) + failure.user_text
    for secret in (PASSWORD.decode(), "aHVudGVyMi1zM2NyZXQ", KEY.split()[1]):
        assert secret not in everything


def patience_with(name: str) -> timedelta:
    """A short time for the actors that never answer; they would be waited for."""
    return SHORT if name in {"silent", "dripping"} else LONG


def stopping_after(pauses: Pauses, count: int) -> Pauses:
    """`pauses`, whose last one is as long as any budget: a hook that keeps failing comes to its end."""

    class Ending(Pauses):
        async def __call__(self, seconds: float) -> None:
            await pauses(seconds)
            if len(pauses.asked) == count:
                raise TimeoutError

    return Ending()


async def test_what_passes_by_itself_is_waited_out(server: HookServer) -> None:
    server.actor = in_turn(webhooks.closing, webhooks.broken, webhooks.busy, webhooks.accepting)
    pauses, counts = Pauses(), Counts()
    provider = hook(server, sleep=pauses, observer=counts)
    assert (await provider.password(MIA, PASSWORD)).success
    await provider.close()
    assert pauses.asked == [0.5, 1.0, 2.0]
    assert counts.heard == [
        "requested password 0",
        "failed password 0 HTTP_CLIENT_CONNECTION_FAILED",
        "requested password 1",
        "failed password 1 AUTH_INVALID_STATUS",
        "requested password 1",
        "failed password 1 AUTH_INVALID_STATUS",
        "requested password 1",
        "decided password 1 True 198.51.100.7",
    ]


async def test_what_will_not_get_better_fails_at_once(server: HookServer) -> None:
    server.actor = webhooks.missing
    pauses, counts = Pauses(), Counts()
    provider = hook(server, HookKind.PUBLIC_KEY, sleep=pauses, observer=counts)
    with pytest.raises(AuthError):
        await provider.public_key(MIA, KEY)
    await provider.close()
    assert len(server.requests) == 1
    assert not pauses.asked
    assert counts.heard == [
        "requested pubkey 0",
        "failed pubkey 0 AUTH_INVALID_STATUS",
        "failed pubkey 0 AUTH_INVALID_STATUS final",
    ]


async def test_a_refusal_is_an_answer_and_is_not_repeated(server: HookServer) -> None:
    server.actor = webhooks.refusing
    counts = Counts()
    provider = hook(server, HookKind.AUTHORIZATION, observer=counts)
    assert await provider.authorize(MIA) == Verdict(False)
    await provider.close()
    assert counts.heard == ["requested authorization 0", "decided authorization 0 False 198.51.100.7"]


async def test_a_running_call_is_cut_when_the_budget_is_spent(server: HookServer) -> None:
    server.actor = webhooks.silent
    counts = Counts()
    provider = hook(server, timeout=timedelta(hours=1), budget=timedelta(milliseconds=200), observer=counts)
    with pytest.raises(AuthError, match="gave up"):
        await provider.password(MIA, PASSWORD)
    await provider.close()
    assert counts.heard[1:] == [
        "failed password 0 HTTP_CLIENT_CONNECTION_FAILED",
        "failed password 0 HTTP_CLIENT_CONNECTION_FAILED final",
    ]


async def test_a_pause_is_cut_when_the_budget_is_spent(server: HookServer) -> None:
    server.actor = webhooks.broken
    provider = Webhook(
        HookKind.PASSWORD, Endpoint(url=server.url, timeout=LONG), budget=timedelta(seconds=1), sleep=_for_ever
    )
    with pytest.raises(AuthError, match="status 500"):
        await provider.password(MIA, PASSWORD)
    await provider.close()
    assert len(server.requests) == 1


async def _for_ever(_: float) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("actor", [webhooks.silent, webhooks.broken])
async def test_cancelling_stops_all_work(server: HookServer, actor: webhooks.Actor) -> None:
    server.actor = actor
    provider = Webhook(HookKind.PASSWORD, Endpoint(url=server.url, timeout=LONG), budget=LONG, sleep=_for_ever)
    task = asyncio.create_task(provider.password(MIA, PASSWORD))
    async with asyncio.timeout(10):
        await server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await provider.close()
    assert len(server.requests) == 1


def test_pauses_grow_from_half_a_second_to_ten() -> None:
    endless = pauses()
    assert [next(endless) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


ATTACHED = Metadata(
    {"team": TextValue("blue"), "pin": TextValue("1234", sensitive=True)},
    {"LANG": TextValue("C"), "TOKEN": TextValue("t0k", sensitive=True)},
    {"/lic": FileValue(b"l"), "/key": FileValue(b"k", sensitive=True)},
)


@pytest.mark.parametrize("transmit", [False, True])
async def test_secret_metadata_is_sent_on_only_when_that_is_wanted(server: HookServer, transmit: bool) -> None:
    provider = hook(server, HookKind.AUTHORIZATION, transmit_sensitive=transmit)
    await provider.authorize(replace(MIA, metadata=ATTACHED))
    await provider.close()
    body = server.requests[0].json
    sent = {*body["metadata"], *body["environment"], *body["files"]}
    assert sent == ({"team", "pin", "LANG", "TOKEN", "/lic", "/key"} if transmit else {"team", "LANG", "/lic"})


async def test_a_password_is_not_taken_to_another_host_by_a_redirect(server: HookServer) -> None:
    async with HookServer(webhooks.accepting) as thief:
        server.actor = webhooks.redirecting(f"http://localhost:{thief.port}/", 308)
        provider = Webhook(HookKind.PASSWORD, Endpoint(url=server.url, timeout=LONG, allow_redirects=True), budget=LONG)
        with pytest.raises(AuthError, match="HTTP_CLIENT_REDIRECTS_DISABLED"):
            await provider.password(MIA, PASSWORD)
        await provider.close()
        assert not thief.requests


async def test_attempts_share_nothing_but_connections(server: HookServer) -> None:
    def decide(request: webhooks.Request) -> object:
        name = request.json["username"]
        return {"success": name != "eve", "authenticatedUsername": name, "environment": {name: {"value": name}}}

    server.actor = webhooks.deciding(decide)
    provider = hook(server)
    names = [f"user{number}" for number in range(20)] + ["eve"]
    verdicts = await asyncio.gather(*(provider.password(replace(MIA, username=name), PASSWORD) for name in names))
    await provider.close()
    for name, verdict in zip(names, verdicts, strict=True):
        assert verdict == (
            Verdict(False) if name == "eve" else Verdict(True, name, Metadata(environment={name: TextValue(name)}))
        )


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "x" * 10_000, "Zoë 😀", "bad\udcff", "", "<script>"])
async def test_any_user_name_can_be_asked_about(server: HookServer, name: str) -> None:
    provider = hook(server)
    with captured_log() as lines:
        assert (await provider.password(replace(MIA, username=name), PASSWORD)).success
    await provider.close()
    assert server.requests[0].json["username"] == name.replace("\udcff", "\ufffd")
    assert [line["code"] for line in lines if "authtype" in line["details"]] == [Code.AUTH, Code.AUTH_SUCCESSFUL]
    assert {line["details"]["connectionId"] for line in lines} == {MIA.connection_id}
    assert PASSWORD.decode() not in json.dumps(lines)


async def test_an_answer_with_echoed_fields_of_a_go_server_is_understood(server: HookServer) -> None:
    server.actor = saying(
        {
            "remoteAddress": "<nil>:0",
            "connectionId": "",
            "clientVersion": "",
            "username": "",
            "success": True,
            "metadata": None,
        },
        Content_Type="text/plain; charset=utf-8",
    )
    provider = hook(server)
    assert await provider.password(MIA, PASSWORD) == Verdict(True)
    await provider.close()
