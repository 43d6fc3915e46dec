"""From where, when and how long: OpenSSH's client is refused, warned and ended; and what an SFTP client is held to."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.clients import Client
from tests.e2e.conftest import Serve
from tests.e2e.terminal import terminal
from tests.e2e.waiting import until
from tests.parts import need

PREPARE = "mkdir -p /tmp/.secret /tmp/sites; echo s >/tmp/.secret/key; ln -s / /tmp/out; cat"


def test_a_user_may_be_logged_in_so_many_times(serve: Serve) -> None:
    place = serve("sandbox", security={"maxLogins": 1})
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    refused = place.user.run("echo in")
    assert (refused.returncode, refused.stdout) == (255, b"")
    assert b"You are logged in too many times." in refused.stderr
    client.kill()
    until(lambda: place.user.run("echo in").stdout == b"in\n", "the place is free again")


def test_a_login_from_elsewhere_reads_why(serve: Serve) -> None:
    place = serve("sandbox", security={"sources": {"allow": ["198.51.100.0/24"]}})
    done = place.user.run("echo in")
    assert done.returncode == 255
    assert done.stdout == b""
    assert b"Logins from your address are not allowed." in done.stderr
    (refused,) = [record for record in place.server.records() if record.get("code") == "SECURITY_SOURCE_REJECTED"]
    assert refused["level"] == "info"


def test_a_connection_on_which_nothing_moves_is_warned_and_ended(serve: Serve) -> None:
    need.program("tmux", "tmux")
    place = serve("sandbox", security={"timeLimits": {"idle": "4s", "warning": "3s"}})
    command = [str(word) for word in place.user.command(flags=["-tt"])]
    with terminal(command, place.user.environment) as window:
        window.shows("$", seconds=15)
        window.shows("moorage: Nothing has moved for too long: the connection ends in", seconds=15)
        window.enter("echo $((40 + 2)) goes on")
        window.shows("42 goes on")
        window.shows("left with 255", seconds=30)
    assert "SSH_TIME_LIMIT" in place.server.log()


def test_a_busy_connection_goes_on_and_what_is_no_terminal_gets_no_text(serve: Serve) -> None:
    place = serve("sandbox", security={"timeLimits": {"idle": "2s", "total": "6s", "warning": "1s"}})
    client = place.user.start("while :; do echo tick; sleep 0.2; done")
    out, err = client.communicate(timeout=30)
    assert client.returncode == 255
    assert set(out.split()) == {b"tick"}
    assert out.count(b"tick") > 12, "longer than the idle time"
    assert b"time for this login is over" in err.lower()


@pytest.fixture
def jailed(serve: Serve, backend: str) -> Client:
    """A client who is held to a directory of the guest, without its secret and with little room."""
    rules = {"root": "/tmp", "hidden": [".secret"], "quota": "1Mi"}
    command = {
        "mode": "filter",
        "allow": ["mkdir -p /tmp/.secret /tmp/sites; echo s >/tmp/.secret/key; ln -s / /tmp/out; cat"],
    }
    return serve(backend, security={"sftp": rules, "command": command}).user


def sftp(client: Client, *commands: str) -> subprocess.CompletedProcess[bytes]:
    """Run OpenSSH's sftp with a batch; a failing command does not end it."""
    batch = "".join(f"-@{command}\n" for command in commands)  # neither an end at a failure, nor an echo
    return client.tool("sftp", "-b", "-", "guest", input=batch.encode())


def test_an_sftp_client_sees_its_directory_and_nothing_else(jailed: Client, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"s" * 1000)
    large.write_bytes(b"l" * (2 << 20))
    with jailed.opened() as client:
        prepare = client.start(PREPARE)
        until(lambda: b"sites" in sftp(client, "ls").stdout, "the guest is prepared")
        done = sftp(
            client, "pwd", "ls -a /", "ls /..", "get /.secret/key", "get /etc/passwd", "ls out", "cd out/etc", "pwd"
        )
        assert b"Remote working directory: /\n" in done.stdout
        assert b".secret" not in done.stdout
        assert b"root" not in done.stdout
        assert done.stdout.count(b"Remote working directory: /\n") == 2
        assert done.stderr.count(b"not found") + done.stderr.count(b"No such file") >= 2, done.stderr
        put = sftp(client, f"put {small} sites/small", f"put {large} sites/large", "ls -l sites", "df")
        assert b"1000" in put.stdout
        assert b"sites/large" in put.stderr
        back = tmp_path / "back"
        assert sftp(client, f"get sites/small {back}").returncode == 0
        assert back.read_bytes() == small.read_bytes()
        prepare.kill()


def test_ways_around_are_closed(jailed: Client) -> None:
    assert b"Shell execution is disabled" in jailed.run(flags=["-T"]).stderr
    assert b"Command execution is disabled" in jailed.run("cat /etc/passwd").stderr
    legacy = jailed.tool("scp", "-O", "guest:/etc/passwd", "/dev/null")
    assert legacy.returncode != 0


def test_a_forced_sftp_server_is_all_there_is(serve: Serve, backend: str) -> None:
    place = serve(backend, security={"forceCommand": "internal-sftp", "sftp": {"readOnly": True}})
    assert b"passwd" in sftp(place.user, "ls /etc/passwd").stdout
    assert place.user.run("echo in").stdout == b""
    assert sftp(replace(place.user), "mkdir /tmp/made").stderr
