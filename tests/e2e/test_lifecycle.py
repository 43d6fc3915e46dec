"""Servers and clients come and go, kindly and not; guests never outlive their owners."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.e2e.clients import Client
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD, USER, Place, of_user
from tests.e2e.processes import tree
from tests.e2e.serving import write_users
from tests.e2e.waiting import until
from tests.parts.engine import RealEngine

Session = subprocess.Popen[bytes]


@contextmanager
def session(user: Client, command: str = "exec sleep 1000") -> Iterator[Session]:
    """A session that says ``ready`` and goes on; killed at the end if it still runs."""
    client = user.start(f"echo ready; {command}")
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == b"ready\n", client.communicate(timeout=5)[1]
        yield client
    finally:
        client.kill()
        with contextlib.suppress(ValueError):  # its pipes were read to the end already
            client.communicate(timeout=10)


Leftovers = Callable[[], object]


@pytest.fixture
def left_of(request: pytest.FixtureRequest) -> Callable[[Place], Leftovers]:
    """Take note of a server's guests; the result tells at any later time what is left of them."""

    def note(place: Place) -> Leftovers:
        if place.backend == "docker":
            engine: RealEngine = request.getfixturevalue("engine")
            until(lambda: of_user(engine, USER), "the container runs")
            return lambda: of_user(engine, USER)
        noted = tree([place.server.pid]) - {place.server.pid}
        assert noted, "a sandbox has processes"
        return lambda: [pid for pid in noted if is_alive(pid)]

    return note


def is_alive(pid: int) -> bool:
    """Does a process run, or wait for its end to be noticed by a parent that lives?"""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


Note = Callable[[Place], Leftovers]


def test_the_end_of_a_session_ends_its_guest(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend)
    with session(place.user, "cat") as client:
        left = left_of(place)
        client.communicate(timeout=15)
        assert client.returncode == 0
    until(lambda: not left(), "the guest ends with its login")


def test_a_client_that_is_killed_leaves_no_guest(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend)
    with session(place.user) as client:
        left = left_of(place)
        client.kill()
        until(lambda: not left(), "the guest ends with its client")


def test_a_client_that_falls_silent_leaves_no_guest(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend, ssh={"clientAliveInterval": "1s", "clientAliveCountMax": 2})
    with session(place.user) as client:
        left = left_of(place)
        client.send_signal(signal.SIGSTOP)  # the connection stays, and nobody answers: as when a network dies
        until(lambda: not left(), "the guest ends when its client does not answer", seconds=15)


def test_a_connection_that_is_reset_leaves_no_guest(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend)
    with resettable(place.server.port) as (port, reset), session(replace(place.user, port=port)) as client:
        left = left_of(place)
        reset()
        client.communicate(timeout=10)
        until(lambda: not left(), "the guest ends with its connection")


def test_a_server_that_is_killed_leaves_no_guest(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend)
    with session(place.user) as client, session(place.user):
        left = left_of(place)
        place.server.signal(signal.SIGKILL)
        place.server.wait()
        client.communicate(timeout=10)
        assert client.returncode == 255
        until(lambda: not left(), "the guests end with the server")


def test_a_client_that_leaves_while_its_guest_is_made_leaves_none(backend: str, serve: Serve) -> None:
    place = serve(backend)
    gone: list[Session] = []
    while len(gone) < 5:
        client = place.user.start("sleep 1000")
        until(lambda: place.server.log().count("SSH_HANDSHAKE_SUCCESSFUL") == len(gone) + 1, "the login has begun")
        client.kill()
        client.communicate()
        gone.append(client)
    place.server.signal(signal.SIGTERM)
    assert place.server.wait() == 0


def test_a_drain_waits_for_sessions(backend: str, serve: Serve) -> None:
    place = serve(backend)
    with session(place.user, "cat") as client:
        place.server.signal(signal.SIGTERM)
        until(lambda: not place.server.greets(), "the server accepts no more")
        out, _ = client.communicate(b"still served", timeout=10)
        assert (out, client.returncode) == (b"still served", 0)
        assert place.server.wait() == 0


def test_a_drain_ends_sessions_at_its_deadline_with_a_message(backend: str, serve: Serve) -> None:
    place = serve(backend, ssh={"shutdownTimeout": "1s"})
    with session(place.user) as client:
        place.server.signal(signal.SIGTERM)
        _, err = client.communicate(timeout=15)
        assert client.returncode != 0
        assert b"shut" in err.lower() or b"maintenance" in err.lower() or b"stop" in err.lower(), err
        assert place.server.wait() == 0


def test_a_second_signal_ends_a_drain_at_once(backend: str, serve: Serve, left_of: Note) -> None:
    place = serve(backend, ssh={"shutdownTimeout": "10m"})
    with session(place.user) as client:
        left = left_of(place)
        place.server.signal(signal.SIGTERM)
        until(lambda: not place.server.greets(), "the server accepts no more")
        assert place.server.process.poll() is None
        place.server.signal(signal.SIGTERM)
        client.communicate(timeout=10)
        place.server.wait(10)
        until(lambda: not left(), "no guest is left")


def test_an_idle_server_ends_at_once(serve: Serve) -> None:
    place = serve("sandbox", ssh={"shutdownTimeout": "10m"})
    place.server.signal(signal.SIGTERM)
    assert place.server.wait(5) == 0


def test_a_hang_up_signal_re_reads_the_users_and_keeps_the_sessions(serve: Serve) -> None:
    place = serve("sandbox")
    users = place.server.directory / "users"
    write_users(users, early=PASSWORD)
    config = json.loads(place.server.config_file.read_text())
    place.server.end()
    place.server.configure({**config, "auth": {"users": {"file": str(users)}}})
    place.server.start()
    early = replace(place.user, user="early", key=None, password=PASSWORD)
    late = replace(early, user="late")
    with session(early, "cat") as client:
        assert late.run("true").returncode != 0
        write_users(users, early=PASSWORD, late=PASSWORD)
        place.server.signal(signal.SIGHUP)
        until(lambda: late.run("true").returncode == 0, "the new user is known")
        out, _ = client.communicate(b"still here", timeout=10)
        assert out == b"still here"


def test_a_hang_up_signal_says_what_may_not_change(serve: Serve) -> None:
    place = serve("sandbox")
    config = json.loads(place.server.config_file.read_text())
    place.server.configure({**config, "ssh": {**config["ssh"], "listen": "127.0.0.1:1"}})
    place.server.signal(signal.SIGHUP)
    until(lambda: any("ssh.listen" in json.dumps(r) for r in place.server.records()), "the log names the key")
    assert place.user.run("echo still served").stdout == b"still served\n"


def test_a_hang_up_signal_with_a_broken_file_changes_nothing(serve: Serve) -> None:
    place = serve("sandbox")
    place.server.config_file.write_text("ssh: [")
    place.server.signal(signal.SIGHUP)
    until(lambda: "config.yaml" in place.server.log(), "the log names the file")
    assert place.user.run("echo still served").stdout == b"still served\n"


@contextmanager
def resettable(target: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to `target`, and a way to break its one connection without a goodbye."""
    broken = threading.Event()

    def carry() -> None:
        outer, _ = listener.accept()
        inner = socket.create_connection(("127.0.0.1", target))
        with outer, inner:
            other = {outer: inner, inner: outer}
            while not broken.is_set():
                for source in select.select(list(other), [], [], 0.05)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)
            for end in other:  # closing then sends a reset
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=carry)
        thread.start()
        try:
            yield listener.getsockname()[1], broken.set
        finally:
            broken.set()
            thread.join(10)
