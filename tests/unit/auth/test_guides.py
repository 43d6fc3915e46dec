"""What the guides show is true: configurations load, files parse, the sample server lets the right ones in."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.auth.test_webhook import MIA

from moorage.auth import wire
from moorage.auth.configserver import ConfigHook
from moorage.auth.contract import HookKind
from moorage.auth.usersfile import parse_users
from moorage.auth.webhook import Webhook
from moorage.config import load_text
from moorage.net.http import Endpoint

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def blocks(guide: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (GUIDES / guide).read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize("text", blocks("users.md", "yaml") + blocks("webhooks.md", "yaml"))
def test_every_configuration_and_users_file_can_be_used(text: str) -> None:
    if text.startswith("users:"):
        assert parse_users(text).by_name["mia"].password is not None
    else:
        load_text(text, "config.yaml", look_at_files=False)


def test_every_question_and_answer_is_of_the_protocol() -> None:
    question, answer, config = (json.loads(text) for text in blocks("webhooks.md", "json"))
    assert question == json.loads(wire.password_request(MIA, b"s3cret"))
    assert wire.read_verdict(answer).success
    assert wire.read_config(config)


async def test_the_sample_server_lets_the_right_ones_in() -> None:
    sample: dict[str, Any] = {"__name__": "sample"}
    exec(blocks("webhooks.md", "python")[0], sample)
    server: ThreadingHTTPServer = sample["serve"](0)
    sample["Hooks"].log_message = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    patience = timedelta(seconds=15)
    hook = Webhook(HookKind.PASSWORD, Endpoint(url=url, timeout=patience), budget=patience)
    base = load_text(f"configserver: {{url: {url}/config, timeout: 15s}}\nbackend: docker\n", "config.yaml").config
    source = ConfigHook(base)
    try:
        assert (await hook.password(MIA, b"s3cret")).success
        assert not (await hook.password(MIA, b"wrong")).success
        effective, _ = await source.resolve(MIA)
        assert effective.docker.execution.container["Image"] == "debian:12"
    finally:
        await hook.close()
        await source.close()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
