"""Several factors with OpenSSH's client: a key, then a one-time password; nothing is opened before the last one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.e2e.clients import Client, make_key
from tests.e2e.conftest import Serve
from tests.e2e.hooks import hooks, say
from tests.e2e.places import PASSWORD, Place
from tests.e2e.serving import CANARY, write_users

from moorage.auth.totp import STEP, Secret

SECRET = Secret(f"{CANARY}-{CANARY}".encode())
BOTH = "publickey,keyboard-interactive"


@pytest.fixture
def owned(serve: Serve, tmp_path: Path) -> tuple[Place, Client]:
    """A server where mia needs her key and a code, and pat a password alone; and mia's client."""
    key = make_key(tmp_path / "mia")
    users = write_users(tmp_path / "users", mia=key, pat=PASSWORD)
    entries = json.loads(users.read_text())["users"]
    entries["mia"] |= {"totp": SECRET.text, "authenticationMethods": [BOTH]}
    users.write_text(json.dumps({"users": entries}))
    place = serve("sandbox", auth={"users": {"file": str(users)}, "keyboardInteractive": {"method": "totp"}})
    return place, Client(place.server.port, "mia", tmp_path, key=key)


def log_in(
    client: Client, answers: Sequence[str], directory: Path, *options: str
) -> subprocess.CompletedProcess[bytes]:
    """Log in with a program that gives one answer for each time that it is asked."""
    (directory / "answers").write_text("".join(f"{answer}\n" for answer in answers))
    ask = directory / "ask"
    steps = ('echo "$1" >>asked', "sed -n 1p answers", "sed -i 1d answers")
    ask.write_text("\n".join(["#!/bin/sh", f"cd {directory}", *steps, ""]))
    ask.chmod(0o700)
    chosen = ["BatchMode=no", "NumberOfPasswordPrompts=1", *options]
    return subprocess.run(
        client.command("echo in", options=chosen),
        env={"PATH": os.environ["PATH"], "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


def code() -> str:
    """The one-time password of the moment."""
    return SECRET.code(int(time.time()) // STEP)


def test_a_key_and_a_code_get_in_and_neither_alone(owned: tuple[Place, Client], tmp_path: Path) -> None:
    place, client = owned
    refused = log_in(client, ["000000"], tmp_path)
    assert refused.returncode == 255
    assert b"Permission denied (keyboard-interactive)" in refused.stderr
    only = log_in(client, [code()], tmp_path, "PubkeyAuthentication=no")
    assert only.returncode == 255
    assert b"Permission denied (publickey)" in only.stderr
    assert "GUEST_OPEN" not in place.server.log()
    done = log_in(client, [code()], tmp_path)
    assert done.stdout == b"in\n", done.stderr
    assert (tmp_path / "asked").read_text().splitlines()[-1] == "(mia@127.0.0.1) One-time password: "
    again = log_in(client, [code()], tmp_path)
    assert again.returncode == 255, "a code counts once"
    partial = [record for record in place.server.records() if record.get("code") == "SSH_AUTH_PARTIAL"]
    assert [record["details"]["further"] for record in partial] == ["keyboard-interactive"] * 3


def test_who_has_no_list_of_his_own_needs_one_method(owned: tuple[Place, Client], tmp_path: Path) -> None:
    place, _ = owned
    pat = Client(place.server.port, "pat", tmp_path, password=PASSWORD)
    assert pat.run("echo in").stdout == b"in\n"


def test_a_webhook_may_demand_a_password_on_top_of_a_key(serve: Serve, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    with hooks() as hook:
        hook.answers["/pubkey"] = lambda _: say(success=True, furtherMethods=["password"])
        hook.answers["/password"] = lambda _: say(success=True)
        webhook = {"method": "webhook", "webhook": {"url": hook.url}}
        place = serve("sandbox", auth={"publicKey": webhook, "password": webhook})
        client = Client(place.server.port, "mia", tmp_path, key=key)
        refused = client.run("echo in")
        assert b"Permission denied (password)" in refused.stderr
        assert "GUEST_OPEN" not in place.server.log()
        assert log_in(client, ["anything"], tmp_path).stdout == b"in\n"


def test_a_client_that_only_answers_questions_is_asked_for_the_password(serve: Serve, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", pat=PASSWORD)
    auth = {
        "users": {"file": str(users)},
        "password": {"method": "users"},
        "keyboardInteractive": {"method": "password"},
    }
    place = serve("sandbox", auth=auth)
    pat = Client(place.server.port, "pat", tmp_path)
    done = log_in(pat, [PASSWORD], tmp_path, "PreferredAuthentications=keyboard-interactive")
    assert done.stdout == b"in\n", done.stderr
