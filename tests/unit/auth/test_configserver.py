"""The configuration hook: one question a login, an answer laid over the file, whole or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.auth.lines import captured_log
from tests.unit.auth.test_webhook import ATTACHED, FAILURES, MIA, SHORT, Counts, Pauses, patience_with, stopping_after

from moorage.auth.configserver import BUDGET, ConfigHook, FileAlone, config_source
from moorage.codes import Code
from moorage.config import AppConfig, load_text
from moorage.errors import AuthError, ConfigError
from moorage.net.http import CallError
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer, saying

LOGIN = replace(MIA, username="root", authenticated_username="mia", metadata=ATTACHED)


def config(url: str, *, timeout: str = "15s", more: str = "") -> AppConfig:
    """A file's configuration with a configuration server at `url`."""
    text = f"""
configserver: {{url: "{url}", timeout: {timeout}{more}}}
backend: docker
docker: {{execution: {{container: {{image: file-image, env: [A=1]}}}}}}
"""
    return load_text(text, "config.yaml", look_at_files=False).config


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with HookServer(saying({})) as server:
        yield server


def hook(server: HookServer, **settings: str) -> ConfigHook:
    return ConfigHook(config(f"{server.url}/config?tenant=1", **settings), sleep=Pauses())


async def test_the_question_goes_to_exactly_the_url_and_holds_no_secret(server: HookServer) -> None:
    source = hook(server)
    await source.resolve(LOGIN)
    await source.close()
    await source.close()
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/config?tenant=1")
    assert request.body == (
        b'{"remoteAddress":"198.51.100.7:40122","connectionId":"8f0c6b2a4d5e4f709a1b2c3d4e5f6071",'
        b'"metadata":{"team":{"value":"blue","sensitive":false}},'
        b'"environment":{"LANG":{"value":"C","sensitive":false}},'
        b'"files":{"/lic":{"value":"bA==","sensitive":false}},'
        b'"clientVersion":"SSH-2.0-OpenSSH_9.6","username":"root","authenticatedUsername":"mia"}\n'
    )


async def test_secrets_are_sent_when_that_is_wanted(server: HookServer) -> None:
    source = hook(server, more=", transmitSensitiveMetadata: true")
    await source.resolve(LOGIN)
    await source.close()
    assert server.requests[0].json["environment"]["TOKEN"] == {"value": "t0k", "sensitive": True}


async def test_an_answer_is_laid_over_the_file_for_this_login_only(server: HookServer) -> None:
    server.actor = webhooks.in_turn(
        saying(
            {
                "config": {"docker": {"execution": {"container": {"Image": "hook-image", "Env": []}}}},
                "authenticatedUsername": "zoe",
                "environment": {"PROJECT": {"value": "atlas"}, "LANG": {"value": "de"}},
            }
        ),
        saying({"config": None}),
    )
    source = hook(server)
    effective, attempt = await source.resolve(LOGIN)
    assert effective.docker.execution.container["Image"] == "hook-image"
    assert effective.docker.execution.container["Env"] == ["A=1"]
    assert attempt.authenticated_username == "zoe"
    assert attempt.username == "root"
    assert {name: value.value for name, value in attempt.metadata.environment.items()} == {
        "LANG": "de",
        "TOKEN": "t0k",
        "PROJECT": "atlas",
    }
    plain, unchanged = await source.resolve(LOGIN)
    await source.close()
    assert plain.docker.execution.container["Image"] == "file-image"
    assert unchanged == LOGIN


@pytest.mark.parametrize(
    "answer",
    [
        {"backend": "nonsense"},
        {"docker": {"execution": {"mode": "nonsense"}}},
        {"docker": {"execution": {"container": {"Env": "A=1"}}}},
        {"docker": []},
        {"nonsense": 1},
        {"docker": {"execution": {"container": {"Image": "hook-image"}}}, "security": {"maxSessions": "many"}},
    ],
)
async def test_an_answer_that_makes_no_valid_configuration_is_refused_whole(
    server: HookServer, answer: dict[str, object]
) -> None:
    server.actor = saying({"config": answer, "environment": {"A": {"value": "b"}}})
    source = hook(server)
    with pytest.raises(ConfigError) as caught:
        await source.resolve(LOGIN)
    assert caught.value.code == Code.BACKEND_CONFIG_ERROR
    assert server.url in str(caught.value)
    server.actor = saying({})
    effective, _ = await source.resolve(LOGIN)
    assert effective.docker.execution.container["Image"] == "file-image"
    await source.close()


@pytest.mark.parametrize("name", [name for name in FAILURES if name not in {"lying", "counting"}])
async def test_a_failing_server_is_an_error_and_never_the_files_configuration(server: HookServer, name: str) -> None:
    actor, reason, _ = FAILURES[name]
    if reason == Code.AUTH_INVALID_STATUS:
        reason = Code.CONFIG_INVALID_STATUS_CODE
    server.actor = actor
    patience = "300ms" if patience_with(name) == SHORT else "15s"
    source = ConfigHook(config(server.url, timeout=patience), sleep=stopping_after(Pauses(), 1))
    with captured_log() as lines, pytest.raises(AuthError) as caught:
        await source.resolve(LOGIN)
    await source.close()
    assert caught.value.code == Code.CONFIG_BACKEND_ERROR
    assert isinstance(caught.value.__cause__, CallError)
    assert caught.value.__cause__.code == reason
    assert "t0k" not in json.dumps(lines) + str(caught.value)


async def test_calls_are_counted(server: HookServer) -> None:
    server.actor = webhooks.in_turn(webhooks.broken, saying({}))
    counts = Counts()
    source = ConfigHook(config(server.url), sleep=Pauses(), observer=counts)
    await source.resolve(LOGIN)
    await source.close()
    assert counts.heard == ["requested config 0", "failed config 0 CONFIG_INVALID_STATUS_CODE", "requested config 1"]


async def test_cancelling_stops_the_call(server: HookServer) -> None:
    server.actor = webhooks.silent
    source = hook(server)
    task = asyncio.create_task(source.resolve(LOGIN))
    async with asyncio.timeout(10):
        await server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await source.close()


async def test_without_a_server_every_login_has_the_files_configuration() -> None:
    base = config("")
    source = config_source(base)
    assert isinstance(source, FileAlone)
    assert await source.resolve(LOGIN) == (base, LOGIN)
    await source.close()


async def test_with_a_server_it_is_asked_for_a_minute_at_most(server: HookServer) -> None:
    source = config_source(config(server.url))
    assert isinstance(source, ConfigHook)
    assert timedelta(seconds=60) == BUDGET
    await source.close()


@pytest.mark.parametrize("with_server", [True, False])
async def test_a_configuration_that_was_read_again_counts_for_later_logins(
    server: HookServer, with_server: bool
) -> None:
    url = server.url if with_server else ""
    source = config_source(config(url))
    source.rebase(load_text("docker: {execution: {container: {image: new-image}}}", "config.yaml").config)
    effective, _ = await source.resolve(LOGIN)
    await source.close()
    assert effective.docker.execution.container["Image"] == "new-image"
    assert len(server.requests) == with_server


def test_settings_that_cannot_be_used_stop_the_start() -> None:
    broken = AppConfig.model_validate({"configserver": {"url": "https://h/", "cacert": "/nowhere"}})
    with pytest.raises(ConfigError, match="configserver"):
        config_source(broken)
