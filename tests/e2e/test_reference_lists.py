"""The lists of what ContainerSSH's own tests check, line by line, on every backend and with real clients.

C are the lines about a guest, S those about the server.  `tests/contract/test_conformance_lists.py` holds the table.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from tests.e2e.clients import Client
from tests.e2e.conftest import Configure, Serve
from tests.e2e.places import PASSWORD, Place
from tests.e2e.serving import Server, write_users
from tests.e2e.terminal import terminal
from tests.e2e.test_factors import log_in
from tests.e2e.waiting import until
from tests.parts import need


def by_password(place: Place, password: str = PASSWORD) -> Client:
    """The user who has a password."""
    return replace(place.user, user="pat", key=None, password=password)


def test_c1_a_single_program_runs(place: Place) -> None:
    done = place.user.run("echo 'Hello world!'")
    assert (done.stdout, done.returncode) == (b"Hello world!\n", 0)


def test_c2_variables_that_were_set_before_are_expanded_by_the_shell(place: Place) -> None:
    done = place.user.run('echo "$FOO"', options=["SetEnv=FOO=Bar"])
    assert (done.stdout, done.returncode) == (b"Bar\n", 0)


def test_c3_an_interactive_shell_has_variables_a_size_and_an_exit_status(place: Place) -> None:
    need.program("tmux", "tmux")
    command = [str(word) for word in place.user.command(flags=["-tt"], options=["SetEnv=foo=bar"])]
    with terminal(command, place.user.environment, size=(80, 25)) as window:
        window.enter("PS1='ready''> '")
        window.shows("ready> ")
        window.enter('echo "foo is $foo, size is $(stty size)"')
        window.shows("foo is bar, size is 25 80")
        window.resize(120, 26)
        window.enter('echo "size is now $(stty size)"')
        window.shows("size is now 26 120")
        window.enter('echo "Hello" "world!"')
        window.shows("Hello world!")
        window.enter("exit")
        window.shows("left with 0")


def test_c4_an_exit_code_is_reported(place: Place) -> None:
    assert place.user.run("exit 42").returncode == 42


def test_c5_a_signal_reaches_the_program(place: Place) -> None:
    async def talk() -> None:
        options = {"username": place.user.user, "client_keys": [str(place.user.key)], "known_hosts": None, "config": []}
        async with asyncio.timeout(30), asyncssh.connect("127.0.0.1", place.server.port, **options) as client:
            program = "trap 'echo USR1 received; exit 0' USR1; echo ready; while :; do sleep 0.05; done"
            process = await client.create_process(program)
            assert await process.stdout.readline() == "ready\n"
            process.send_signal("USR1")
            assert await process.stdout.readline() == "USR1 received\n"
            assert (await process.wait()).exit_status == 0

    asyncio.run(talk())


@pytest.mark.sandbox
def test_s1_a_server_that_cannot_get_ready_ends_with_the_reason(configure: Configure, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(tmp_path / "server", configure("sandbox"), port=port)
        with pytest.raises(AssertionError, match=f"address already in use: 127.0.0.1 port {port}"):
            server.start()
        assert server.wait() == 1


def test_s2_a_wrong_password_is_a_failed_authentication_and_nothing_else(place: Place) -> None:
    done = by_password(place, "wrong").run("true")
    assert done.returncode in (5, 255)  # sshpass says 5
    assert b"Permission denied" in done.stderr


@pytest.mark.sandbox
def test_s3_a_wrong_answer_is_refused_and_the_right_one_accepted(serve: Serve, tmp_path: Path) -> None:
    users = {"file": str(write_users(tmp_path / "users", pat=PASSWORD))}
    questions = {"password": {"method": "users"}, "keyboardInteractive": {"method": "password"}}
    place = serve("sandbox", auth={"users": users, **questions})
    pat = Client(place.server.port, "pat", tmp_path)
    asked = "PreferredAuthentications=keyboard-interactive"
    refused = log_in(pat, ["wrong"], tmp_path, asked)
    assert (refused.stdout, refused.returncode) == (b"", 255)
    assert b"Permission denied" in refused.stderr
    done = log_in(pat, [PASSWORD], tmp_path, asked)
    assert (done.stdout, done.returncode) == (b"in\n", 0), done.stderr


def test_s5_a_login_by_password_gets_a_shell_that_answers(place: Place) -> None:
    script = b'test "$TERM" = vt100 && read line && echo "$line"\nHello world!\n'
    done = by_password(place).run(input=script, options=["SetEnv=TERM=vt100"], flags=["-T"])
    assert (done.stdout, done.returncode) == (b"Hello world!\n", 0), done.stderr


def test_s6_a_shell_that_fails_says_so_by_its_status(place: Place) -> None:
    done = by_password(place).run(input=b"exit 1\n", flags=["-T"])
    assert (done.stdout, done.returncode) == (b"", 1), done.stderr


@pytest.mark.sandbox
def test_s7_an_rsa_key_of_4096_bits_gets_in(serve: Serve, tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-f", str(key)], check=True)
    place = serve("sandbox", auth={"users": {"file": str(write_users(tmp_path / "users", rita=key))}})
    assert replace(place.user, user="rita", key=key).run("echo in").stdout == b"in\n"
    assert replace(place.user, user="rita").run("echo in").returncode == 255, "another key"


@pytest.mark.sandbox
def test_s8_keepalives_come_at_their_interval(serve: Serve) -> None:
    place = serve("sandbox", ssh={"clientAliveInterval": "1s"})
    client = place.user.start("cat", options=["LogLevel=DEBUG1"])
    assert client.stderr is not None
    seen: list[float] = []
    for line in client.stderr:
        if b"rtype keepalive@openssh.com want_reply 1" in line:
            seen.append(time.monotonic())
            if len(seen) == 3:
                break
    assert client.poll() is None, "answers keep the connection"
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(seen))


@pytest.mark.sandbox
def test_s9_a_server_with_an_open_shell_that_ends_when_told_stops_long_before_its_deadline(serve: Serve) -> None:
    place = serve("sandbox", ssh={"shutdownTimeout": "60s"})
    begun = time.monotonic()
    client = place.user.start("echo ready; read line; exit 0", flags=["-tt"])
    assert client.stdout is not None
    until(lambda: b"ready" in client.stdout.readline(), "the shell is there")  # type: ignore[union-attr]
    place.server.signal(signal.SIGTERM)
    until(lambda: not place.server.greets(), "the server accepts no more")
    client.communicate(b"\n", timeout=20)
    assert place.server.wait(30) == 0
    assert time.monotonic() - begun < 55
