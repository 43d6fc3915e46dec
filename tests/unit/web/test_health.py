"""The health endpoint: when it says what, and in which form."""

from __future__ import annotations

import asyncio

import pytest

from moorage.config.sections.health import HealthConfig
from moorage.service import Supervisor
from moorage.web.health import Health, HealthServer, negotiated
from moorage.web.server import Request


def server(health: Health) -> HealthServer:
    return HealthServer(HealthConfig.model_validate({"listen": "127.0.0.1:0"}), health)


@pytest.mark.parametrize(
    ("accept", "content_type", "ok", "not_ok"),
    [
        ("", "text/plain", b"ok", b"not ok"),
        ("*/*", "text/plain", b"ok", b"not ok"),
        ("application/json", "application/json", b'"ok"', b'"not ok"'),
        ("application/*", "application/json", b'"ok"', b'"not ok"'),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html", b"ok", b"not ok"),
    ],
)
async def test_the_state_is_told_in_the_form_that_is_asked_for(
    accept: str, content_type: str, ok: bytes, not_ok: bytes
) -> None:
    health = Health()
    serving = server(health)
    for change, status, body in ((None, 503, not_ok), (health.start, 200, ok), (health.stop, 503, not_ok)):
        if change is not None:
            await change()
        reply = serving._reply(Request("/any/path", accept))
        assert (reply.status, reply.body, reply.content_type) == (status, body, f"{content_type}; charset=utf-8")


async def test_what_runs_is_live_also_while_it_starts_and_drains() -> None:
    health = Health()
    serving = server(health)

    def seen() -> tuple[int, int]:
        live, ready = (serving._reply(Request(path, "")).status for path in ("/live", "/ready"))
        return live, ready

    assert seen() == (200, 503)
    await health.start()
    assert seen() == (200, 200)
    await health.drain(5)
    assert seen() == (200, 503)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("text/*", "text/plain"),
        ("text/html", "text/html"),
        ("TEXT/PLAIN ; charset=utf-8", "text/plain"),
        ("application/json;q=0.5, text/plain;q=0.4", "application/json"),
        ("application/json, */*", "application/json"),
        ("application/json, text/plain, */*", "text/plain"),
        ("text/plain;q=0, */*", "application/json"),
        ("text/*;q=0, application/*;q=0, */*", None),
        ("image/png", None),
        ("text/plain;q=0", None),
        ("text/plain;q=many", "text/plain"),
        ("text/plain;q=7, application/json", "application/json"),
        ("text/plain;q=nan, application/json", "application/json"),
        ("nonsense", "text/plain"),
        ("a/b/c", "text/plain"),
        (",,;;,", "text/plain"),
        ("application/json;v=1", "application/json"),
        ("image/png," * 1000 + "text/plain", None),
    ],
)
def test_a_content_type_is_agreed_on(accept: str, chosen: str | None) -> None:
    assert negotiated(accept) == chosen


def test_what_cannot_be_had_is_a_406_that_says_what_can() -> None:
    reply = server(Health())._reply(Request("/", "image/png"))
    assert (reply.status, reply.body) == (406, b"offered are text/plain, application/json, text/html\n")


async def test_health_is_last_to_be_well_and_first_to_be_not() -> None:
    """As the services stand in the app: the endpoint first, what it tells of last."""
    health = Health()
    seen: list[tuple[str, bool]] = []

    class Middle:
        name = "middle"

        async def start(self) -> None:
            seen.append(("start", health.is_ok))

        async def drain(self, timeout: float) -> None:
            seen.append(("drain", health.is_ok))

        async def stop(self) -> None:
            seen.append(("stop", health.is_ok))

    supervisor = Supervisor([server(health), Middle(), health], drain_timeout=5)

    def ready() -> None:
        seen.append(("ready", health.is_ok))
        supervisor.ask_to_stop()

    async with asyncio.timeout(10):
        await supervisor.run(ready)
    assert seen == [("start", False), ("ready", True), ("drain", False), ("stop", False)]
