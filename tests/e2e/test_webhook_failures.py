"""All that can be wrong with a webhook: denial with a reference, the reason in the log, the label in the metric."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncssh
import pytest
import trustme
from tests.e2e.clients import Client
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD
from tests.e2e.serving import CANARY, free_port
from tests.e2e.test_observability import scraped

from moorage.testing import webhooks
from moorage.testing.webhooks import Actor, HookServer

AUTHORITY: Final = trustme.CA()
OTHER: Final = trustme.CA()
_LONG_AGO: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)

CONNECTION = "HTTP_CLIENT_CONNECTION_FAILED"
DECODE = "HTTP_CLIENT_DECODE_FAILED"
STATUS = "AUTH_INVALID_STATUS"
REDIRECT = "HTTP_CLIENT_REDIRECTS_DISABLED"

FAILURES: dict[str, tuple[Actor, str]] = {
    "slow": (webhooks.silent, CONNECTION),
    "status 500": (webhooks.broken, STATUS),
    "status 403": (webhooks.saying({"success": True}, status=403), STATUS),
    "no JSON": (webhooks.no_json, DECODE),
    "invalid JSON": (webhooks.cut_json, DECODE),
    "huge body": (webhooks.flooding, DECODE),
    "success as a string": (webhooks.lying, DECODE),
    "success as a number": (webhooks.counting, DECODE),
    "redirect": (webhooks.redirecting("http://127.0.0.1:9/password"), REDIRECT),
    "empty": (webhooks.empty, DECODE),
}
ANSWERS: dict[str, Actor] = {
    "another content type": webhooks.saying({"success": True}, Content_Type="text/plain"),
    "extra fields": webhooks.saying({"success": True, "later": {"a": [1]}, "remoteAddress": "<nil>:0"}),
}


@contextmanager
def hook(actor: Actor, certificate: trustme.LeafCert | None = None) -> Iterator[HookServer]:
    """A hook server in a thread of its own, for the time of the block."""
    import ssl

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    started, ended = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with HookServer(actor, context=context) as server:
            found.extend((server, asyncio.get_running_loop()))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(20)
    try:
        yield found[0]
    finally:
        found[1].call_soon_threadsafe(ended.set)
        thread.join(20)


def denied(serve: Serve, directory: Path, url: str, reason: str, **settings: Any) -> None:
    """One login at a server that asks `url`: denied as it has to be."""
    metrics = free_port()
    webhook = {"url": url, "timeout": "1s", "authTimeout": "1500ms", **settings}
    place = serve(
        "sandbox",
        auth={"password": {"method": "webhook", "webhook": webhook}},
        metrics={"enable": True, "listen": f"127.0.0.1:{metrics}"},
    )
    client = Client(place.server.port, "mia", directory, password=PASSWORD, options=["LogLevel=INFO"])
    done = client.run("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied" in done.stderr
    said = [line for line in done.stderr.decode().splitlines() if "(reference " in line]
    assert said, done.stderr
    assert said[0].startswith("The login service could not be reached. (reference ")
    reference = said[0].rpartition("(reference ")[2].rstrip(")\r")
    records = [r for r in place.server.records() if r.get("code") == "AUTH_BACKEND_ERROR" and r["level"] == "error"]
    assert [reason in record["message"] for record in records] == [True]
    assert records[0]["details"]["connectionId"].startswith(reference)
    label = f"containerssh_auth_server_failures_total{{authtype=password,reason={reason},retry="
    assert any(name.startswith(label) and "type=hard" in name for name in scraped(metrics))
    assert "GUEST_OPEN" not in place.server.log()
    assert CANARY not in place.server.log()


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_webhook_denies_with_a_reference(serve: Serve, tmp_path: Path, name: str) -> None:
    actor, reason = FAILURES[name]
    with hook(actor) as server:
        denied(serve, tmp_path, server.url, reason)


def test_a_webhook_that_is_down_denies_with_a_reference(serve: Serve, tmp_path: Path) -> None:
    denied(serve, tmp_path, f"http://127.0.0.1:{free_port()}", CONNECTION)


@pytest.mark.parametrize("fault", ["expired", "wrong authority", "wrong name"])
def test_a_webhook_that_is_not_to_be_trusted_denies_with_a_reference(serve: Serve, tmp_path: Path, fault: str) -> None:
    certificates = {
        "expired": lambda: AUTHORITY.issue_cert(
            "localhost", not_before=_LONG_AGO, not_after=_LONG_AGO.replace(year=2021)
        ),
        "wrong authority": lambda: OTHER.issue_cert("localhost"),
        "wrong name": lambda: AUTHORITY.issue_cert("auth.example.org"),
    }
    with hook(webhooks.accepting, certificates[fault]()) as server:
        denied(serve, tmp_path, server.url, CONNECTION, cacert=AUTHORITY.cert_pem.bytes().decode())
        assert server.requests == []


@pytest.mark.parametrize("name", ANSWERS)
def test_what_harmless_servers_say_is_understood(serve: Serve, tmp_path: Path, name: str) -> None:
    with hook(ANSWERS[name]) as server:
        webhook = {"url": server.url, "timeout": "15s"}
        place = serve("sandbox", auth={"password": {"method": "webhook", "webhook": webhook}})
        client = Client(place.server.port, "mia", tmp_path, password=PASSWORD)
        assert client.run("echo in").stdout == b"in\n"


async def test_a_hostile_name_is_asked_as_it_is_or_not_at_all(serve: Serve) -> None:
    """With asyncssh, for OpenSSH's client refuses some of these itself."""
    asked = ["../../etc/passwd", "míа", "mia@example.org", "$(id)", "a%2fb", "mia ", "-oProxyCommand=x"]
    with hook(webhooks.refusing) as server:
        auth = {"password": {"method": "webhook", "webhook": {"url": server.url}}}
        place = serve("sandbox", auth=auth, ssh={"penalties": {"min": "10m", "max": "10m"}})
        for name in [*asked, "", "x" * 256, "x" * 10_000]:
            with pytest.raises((asyncssh.Error, ValueError)):
                await asyncssh.connect(
                    "127.0.0.1",
                    place.server.port,
                    username=name,
                    password=PASSWORD,
                    known_hosts=None,
                    config=None,
                    client_keys=None,
                )
        assert list(dict.fromkeys(request.json["username"] for request in server.requests)) == asked
        assert "GUEST_OPEN" not in place.server.log()
        assert place.server.records(), "the log stays a log"
