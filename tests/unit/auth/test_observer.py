"""The calls of hooks become metrics, as real hooks make them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.auth.contract import HookKind, HookObserver
from moorage.auth.observer import HookMetrics, hooks_of
from moorage.auth.webhook import Webhook
from moorage.config import load_text
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId
from moorage.metrics import Metrics
from moorage.net.http import Endpoint
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer

PEER = Address("192.0.2.7", 40000)
ATTEMPT = Attempt(ConnectionId("0" * 32), PEER, "SSH-2.0-x", "mia")
BOTH = load_text(
    """
    auth: {password: {method: webhook, webhook: {url: "http://h"}}, authz: {method: webhook, webhook: {url: "http://h"}}}
    configserver: {url: "http://h"}
    """,
    "c.yaml",
).config


def values(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition()[0].decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(("containerssh_auth", "containerssh_config")))
    return {name.removeprefix("containerssh_"): float(value) for name, value in pairs}


def test_what_can_be_expected_is_shown_from_the_beginning() -> None:
    metrics = Metrics()
    HookMetrics(metrics, BOTH)
    assert values(metrics) == {
        'config_server_requests_total{retry="0"}': 0,
        **{
            f"{name}_total{{{labels}}}": 0
            for kind in ("password", "authorization")
            for name, labels in (
                ("auth_server_requests", f'authtype="{kind}",retry="0"'),
                ("auth_success", f'authtype="{kind}",country="XX",retry="0"'),
                ("auth_failures", f'authtype="{kind}",country="XX",retry="0"'),
            )
        },
    }


def test_hooks_are_those_that_are_switched_on() -> None:
    assert set(hooks_of(BOTH)) == {HookKind.PASSWORD, HookKind.AUTHORIZATION, HookKind.CONFIG}
    keys = load_text('auth: {publicKey: {method: webhook, webhook: {url: "http://h"}}}', "c.yaml").config
    assert list(hooks_of(keys)) == [HookKind.PUBLIC_KEY]


def test_the_configuration_s_hook_is_counted_apart() -> None:
    metrics = Metrics()
    observer: HookObserver = HookMetrics(metrics, load_text("{}", "c.yaml").config)
    observer.requested(HookKind.CONFIG, retry=False)
    observer.failed(HookKind.CONFIG, retry=False, reason="CONFIG_INVALID_STATUS_CODE", final=False)
    observer.requested(HookKind.CONFIG, retry=True)
    observer.failed(HookKind.CONFIG, retry=True, reason="CONFIG_INVALID_STATUS_CODE", final=False)
    observer.failed(HookKind.CONFIG, retry=True, reason="CONFIG_INVALID_STATUS_CODE", final=True)
    failures = 'config_server_failures_total{{reason="CONFIG_INVALID_STATUS_CODE",retry="{}",type="{}"}}'
    assert values(metrics) == {
        'config_server_requests_total{retry="0"}': 1,
        'config_server_requests_total{retry="1"}': 1,
        failures.format(0, "soft"): 1,
        failures.format(1, "soft"): 1,
        failures.format(1, "hard"): 1,
    }


@pytest.mark.parametrize("kind", [HookKind.PASSWORD, HookKind.PUBLIC_KEY, HookKind.AUTHORIZATION])
async def test_a_real_hook_is_counted_with_its_answers(kind: HookKind) -> None:
    metrics = Metrics()
    observer = HookMetrics(metrics, load_text("{}", "c.yaml").config, country=lambda host: f"of {host}")

    async def ask(url: str) -> None:
        endpoint = Endpoint(url=url, timeout=timedelta(seconds=10))
        hook = Webhook(kind, endpoint, budget=timedelta(seconds=10), observer=observer)
        try:
            await {
                HookKind.PASSWORD: lambda: hook.password(ATTEMPT, b"x"),
                HookKind.PUBLIC_KEY: lambda: hook.public_key(ATTEMPT, "ssh-ed25519 AAAA"),
                HookKind.AUTHORIZATION: lambda: hook.authorize(ATTEMPT),
            }[kind]()
        finally:
            await hook.close()

    async with HookServer(webhooks.accepting) as server:
        await ask(server.url)
        server.actor = webhooks.redirecting("http://127.0.0.1:1/")
        with pytest.raises(AuthError):
            await ask(server.url)
    reason = 'reason="HTTP_CLIENT_REDIRECTS_DISABLED",retry="0"'
    assert values(metrics) == {
        f'auth_server_requests_total{{authtype="{kind}",retry="0"}}': 2,
        f'auth_success_total{{authtype="{kind}",country="of 192.0.2.7",retry="0"}}': 1,
        f'auth_server_failures_total{{authtype="{kind}",{reason},type="soft"}}': 1,
        f'auth_server_failures_total{{authtype="{kind}",{reason},type="hard"}}': 1,
    }
    text = metrics.exposition()[0].decode()
    for outcome in ("answered", "failed"):
        assert f'moorage_webhook_duration_seconds_count{{outcome="{outcome}",webhook="{kind}"}} 1.0\n' in text
