"""The examples of the guide, run and asked by the SSH server's own client."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web

from moorage.auth.chain import AuthChain
from moorage.auth.configserver import ConfigHook
from moorage.auth.contract import HookKind
from moorage.auth.webhook import Webhook
from moorage.config import load_text
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId
from moorage.net.http import Endpoint

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "webhook-library.md").read_text()
WITH_AIOHTTP, WITH_FASTAPI = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
(CONFIGURATION,) = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
MIA = Attempt(ConnectionId("0" * 32), Address("192.0.2.1", 1), "SSH-2.0-x", "mia")
LONG = timedelta(seconds=20)


def example(code: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example.py", "exec"), namespace)
    return namespace


@pytest.fixture
async def with_aiohttp() -> AsyncIterator[str]:
    runner = web.AppRunner(example(WITH_AIOHTTP)["app"])
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def uvicorn_of(app: Any) -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", ws="none"))
    serving = asyncio.create_task(server._serve([listener]))
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def test_the_example_with_aiohttp_decides_and_configures(with_aiohttp: str) -> None:
    hook = Webhook(HookKind.PASSWORD, Endpoint(url=with_aiohttp, timeout=LONG), budget=LONG)
    verdict = await hook.password(MIA, b"s3cret")
    assert (verdict.success, verdict.authenticated_username) == (True, "mia@example.org")
    assert verdict.metadata.environment["TOKEN"].sensitive
    assert not (await hook.password(MIA, b"wrong")).success
    await hook.close()
    base = load_text(f"configserver: {{url: {with_aiohttp}/config}}\nbackend: docker\n", "c.yaml").config
    source = ConfigHook(base)
    config, _ = await source.resolve(MIA)
    assert config.docker.execution.container["Image"] == "example/mia"
    await source.close()


async def test_the_example_with_fastapi_knows_who_asks() -> None:
    async with uvicorn_of(example(WITH_FASTAPI)["app"]) as url:
        text = CONFIGURATION.replace("http://127.0.0.1:8000", url)
        chain = AuthChain(load_text(text, "c.yaml").config)
        assert (await chain.public_key(MIA, KEY)).success
        assert not (await chain.public_key(MIA, KEY.replace("AAAAIEJ5", "AAAAIEJ6"))).success
        await chain.close()
        unsigned = AuthChain(load_text(text.replace("secret:", "# secret:"), "c.yaml").config)
        with pytest.raises(AuthError, match="401"):
            await unsigned.public_key(MIA, KEY)
        await unsigned.close()
