"""Who gets in: users of a file and of webhooks, through OpenSSH's client."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients import Client, make_key
from tests.e2e.conftest import Serve
from tests.e2e.hooks import Answer, Hooks, Request, hooks, say
from tests.e2e.places import PASSWORD, USER, Place
from tests.e2e.serving import CANARY, Server, free_port
from tests.parts.engine import RealEngine


@pytest.fixture
def hook() -> Iterator[Hooks]:
    """A webhook server."""
    with hooks() as running:
        yield running


def with_password(place: Place, user: str, password: str) -> Client:
    """The client of another user, who types a password."""
    return replace(place.user, user=user, key=None, password=password)


def test_a_key_of_the_users_file_gets_in(place: Place) -> None:
    assert place.user.run("echo in").stdout == b"in\n"


def test_a_password_of_the_users_file_gets_in(place: Place) -> None:
    assert with_password(place, "pat", PASSWORD).run("echo in").stdout == b"in\n"


def test_another_key_does_not(place: Place, tmp_path: Path) -> None:
    done = replace(place.user, key=make_key(tmp_path / "other")).run("echo in")
    assert (done.returncode, done.stdout) == (255, b"")


def test_a_wrong_password_and_an_unknown_user_look_the_same(place: Place) -> None:
    wrong = with_password(place, "pat", f"wrong-{CANARY}").run("echo in")
    unknown = with_password(place, "nobody-of-that-name", f"wrong-{CANARY}").run("echo in")
    keyed = with_password(place, USER, f"wrong-{CANARY}").run("echo in")
    assert wrong.stdout == unknown.stdout == keyed.stdout == b""
    said = [done.stderr.split(b"@")[1].partition(b": ")[2] for done in (wrong, unknown, keyed)]
    assert said[0].startswith(b"Permission denied")
    assert said == [said[0]] * 3
    assert {wrong.returncode, unknown.returncode, keyed.returncode} == {255}


def test_only_enabled_methods_are_offered(place: Place, serve: Serve, hook: Hooks) -> None:
    def offered(client: Client) -> bytes:
        return client.run("true", options=["PreferredAuthentications=none"]).stderr.rpartition(b"Permission denied ")[2]

    assert offered(place.user).strip() == b"(publickey,password)."
    password_only = {"password": {"method": "webhook", "webhook": {"url": hook.url}}}
    assert offered(serve("sandbox", auth=password_only).user).strip() == b"(password)."


def test_refused_keys_are_counted(serve: Serve, tmp_path: Path) -> None:
    server = serve("sandbox", ssh={"maxKeyQueries": 2})
    keys = [make_key(tmp_path / f"key{n}") for n in range(4)]
    extra = [f"IdentityFile={path}" for path in keys]
    done = replace(server.user, key=keys[0], options=extra).run("true")
    assert done.returncode == 255
    assert b"oo many authentication failures" in done.stderr


def test_an_agent_with_many_keys_gets_in(serve: Serve, tmp_path: Path) -> None:
    server = serve("sandbox", ssh={"maxAuthTries": 1})
    extra = [f"IdentityFile={make_key(tmp_path / f'key{n}')}" for n in range(10)]
    assert replace(server.user, options=extra).run("echo in").stdout == b"in\n"


Grant = Callable[[Request], Answer]


def grants(**more: Any) -> Grant:
    """A hook that lets everybody in."""
    return lambda _: say(success=True, **more)


def webhook_auth(hook: Hooks) -> dict[str, Any]:
    """Both kinds of webhook at one server, impatient."""
    one = {"method": "webhook", "webhook": {"url": hook.url, "timeout": "1s", "authTimeout": "2s"}}
    return {"password": one, "publicKey": one}


def test_a_password_webhook_decides_and_prepares_the_guest(backend: str, serve: Serve, hook: Hooks) -> None:
    def check(request: Request) -> Answer:
        right = base64.b64decode(request["passwordBase64"]) == PASSWORD.encode()
        token = {"value": f"token-{CANARY}", "sensitive": True}
        return say(success=right and request["username"] == "noa", environment={"TOKEN": token})

    hook.answers["/password"] = check
    place = serve(backend, auth=webhook_auth(hook))
    assert with_password(place, "noa", PASSWORD).run('echo "$TOKEN"').stdout == f"token-{CANARY}\n".encode()
    assert with_password(place, "noa", f"wrong-{CANARY}").run("true").returncode == 255
    first, second = hook.requests("/password")
    assert first["username"] == "noa"
    assert first["remoteAddress"].startswith("127.0.0.1:")
    assert first["clientVersion"].startswith("SSH-2.0-OpenSSH")
    assert first["connectionId"] != second["connectionId"]
    assert len(first["connectionId"]) == 32


def test_a_key_webhook_decides_once_a_connection(serve: Serve, hook: Hooks, key: Path) -> None:
    line = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    hook.answers["/pubkey"] = lambda request: say(success=request["publicKey"] == line)
    place = serve("sandbox", auth=webhook_auth(hook))
    assert place.user.run("echo in").stdout == b"in\n"
    assert [request["publicKey"] for request in hook.requests("/pubkey")] == [line]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{}"),
        Answer(b""),
        Answer(b"not JSON"),
        Answer(b'{"success": true', 200),
        Answer(b'{"success": "yes"}'),
        Answer(b'{"success": true}', 403),
        Answer(b'{"success": true}', 500),
        Answer(b'{"success": true, "pad": "' + b"x" * 10_000_000 + b'"}'),
        Answer(b"", 302, {"Location": "/granted"}),
    ],
    ids=["empty-object", "empty", "text", "cut", "wrong-type", "forbidden", "error", "10MB", "redirect"],
)
def test_a_broken_or_lying_webhook_lets_nobody_in(serve: Serve, hook: Hooks, answer: Answer) -> None:
    hook.answers["/password"] = lambda _: answer
    hook.answers["/granted"] = grants()
    place = serve("sandbox", auth=webhook_auth(hook))
    done = with_password(place, "noa", PASSWORD).run("echo in")
    assert done.stdout == b""
    assert b"Permission denied" in done.stderr
    assert not hook.requests("/granted")


def test_a_webhook_that_hangs_lets_nobody_in_and_holds_nobody_up(serve: Serve, hook: Hooks, key: Path) -> None:
    def hang(_: Request) -> Answer:
        hook.released.wait(30)
        return say(success=True)

    hook.answers["/password"] = hang
    hook.answers["/pubkey"] = grants()
    place = serve("sandbox", auth=webhook_auth(hook))
    waiting = with_password(place, "noa", PASSWORD).start("echo in")
    assert place.user.run("echo in").stdout == b"in\n"
    out, err = waiting.communicate(timeout=15)
    assert out == b""
    assert b"Permission denied" in err


def test_a_webhook_that_is_gone_lets_nobody_in(serve: Serve) -> None:
    with hooks() as gone:
        auth = webhook_auth(gone)
    place = serve("sandbox", auth=auth)
    done = with_password(place, "noa", PASSWORD).run("echo in")
    assert done.stdout == b""
    assert b"Permission denied" in done.stderr
    assert any(record.get("code", "").startswith(("AUTH", "HTTP_CLIENT")) for record in place.server.records())


def everything_zero(**config: Any) -> dict[str, Any]:
    """What a configuration hook sends that was built on the reference's library: every key, mostly with zero values."""
    return {
        "remoteAddress": "<nil>:0",
        "connectionId": "",
        "clientVersion": "",
        "username": "",
        "config": {
            "backend": "",
            "security": {"maxSessions": 0, "env": {"mode": "", "allow": None, "deny": None}},
            "log": {"level": "emerg"},
            **config,
        },
    }


def test_the_config_webhook_changes_the_image_per_user(
    serve: Serve, hook: Hooks, engine: RealEngine, busybox_image: str, debian_image: str
) -> None:
    def configure(request: Request) -> Answer:
        if request["username"] == "busy":
            return say(**everything_zero(docker={"execution": {"container": {"Image": busybox_image}}}))
        return say(**everything_zero())

    hook.answers.update({"/password": grants(), "/config": configure})
    place = serve("docker", auth=webhook_auth(hook), configserver={"url": f"{hook.url}/config"})
    see = "test -e /etc/debian_version && echo debian || echo busybox"
    assert with_password(place, "busy", PASSWORD).run(see).stdout == b"busybox\n"
    assert with_password(place, "noa", PASSWORD).run(see).stdout == b"debian\n"
    assert [request["username"] for request in hook.requests("/config")] == ["busy", "noa"]


def test_a_config_webhook_that_talks_nonsense_costs_that_login_only(serve: Serve, hook: Hooks) -> None:
    def configure(request: Request) -> Answer:
        if request["username"] == "bad":
            return say(config={"backend": "no-such-backend"})
        return say(config={})

    hook.answers.update({"/password": grants(), "/config": configure})
    place = serve("sandbox", auth=webhook_auth(hook), configserver={"url": f"{hook.url}/config"})
    bad = with_password(place, "bad", PASSWORD).run("echo in")
    assert (bad.returncode, bad.stdout) == (255, b"")
    assert with_password(place, "noa", PASSWORD).run("echo in").stdout == b"in\n"


QUICK_START = """\
ssh:
  listen: 127.0.0.1:{port}
  hostkeys:
    - {host_key}
backend: docker
docker:
  connection:
    host: {engine}
  execution:
    container:
      image: {image}
    host:
      networkmode: none
{auth}
configserver:
  url: "{hook}/config"
"""

NEW_AUTH = """\
auth:
  password:
    method: webhook
    webhook:
      url: "{hook}"
"""

OLD_AUTH = """\
auth:
  url: "{hook}"
  password: true
  pubkey: false
"""


@pytest.mark.parametrize("auth", [NEW_AUTH, OLD_AUTH], ids=["0.5", "0.4"])
def test_a_quick_start_file_of_the_reference_works_unchanged(
    serve: Serve, hook: Hooks, engine: RealEngine, busybox_image: str, tmp_path: Path, auth: str
) -> None:
    hook.answers.update({"/password": grants(), "/config": lambda _: say(**everything_zero())})
    port = free_port()
    text = QUICK_START.format(
        port=port,
        host_key=make_key(tmp_path / "ssh_host_key"),
        engine=engine.host,
        image=busybox_image,
        hook=hook.url,
        auth=auth.format(hook=hook.url),
    )
    with Server(tmp_path / "server", text, port=port, environment={"STATE_DIRECTORY": str(tmp_path / "state")}):
        user = Client(port, "foo", tmp_path, password=PASSWORD)
        assert user.run("test -x /bin/busybox && id -u").stdout == b"0\n"
    public = (tmp_path / "ssh_host_key.pub").read_text().split()[1]
    assert public in (tmp_path / f"known_hosts-{port}").read_text()
