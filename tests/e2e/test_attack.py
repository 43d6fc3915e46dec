"""Strangers who misbehave, and the honest who get in meanwhile."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack
from dataclasses import replace

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.waiting import until

pytestmark = pytest.mark.sandbox


def test_an_honest_client_logs_in_among_500_half_open_connections(serve: Serve) -> None:
    place = serve("sandbox", ssh={"maxStartups": {"begin": 1000, "rate": 30, "full": 2000}, "maxStartupsPerSource": 0})
    with ExitStack() as held:
        for _ in range(500):
            held.enter_context(socket.create_connection(("127.0.0.1", place.server.port), timeout=10))
        assert place.user.run("echo in").stdout == b"in\n"


def test_who_is_slow_is_ended_at_the_grace_time(serve: Serve) -> None:
    place = serve("sandbox", ssh={"loginGraceTime": "1s"})
    with socket.create_connection(("127.0.0.1", place.server.port), timeout=10) as silent:
        silent.sendall(b"SSH-2.0-S")
        while silent.recv(4096):
            pass


def test_a_penalised_source_is_told_why_and_others_get_in(serve: Serve) -> None:
    penalties = {"authFailed": "60s", "exempt": ["127.0.0.1/32"]}
    place = serve("sandbox", ssh={"penalties": penalties})
    there = ["-b", "127.0.0.2"]
    assert place.user.run("true", flags=there).returncode == 0
    assert place.user.run("true", flags=there, options=["User=stranger"]).returncode == 255
    until(lambda: "SSH_SOURCE_PENALISED" in place.server.log(), "the source is penalised")
    refused = place.user.run("true", flags=there, options=["LogLevel=DEBUG1"])
    assert refused.returncode == 255
    assert b"Not allowed at this time: failed authentication. Try again in " in refused.stderr
    assert place.user.run("echo in").stdout == b"in\n"


def test_who_speaks_no_ssh_is_penalised_too(serve: Serve) -> None:
    place = serve("sandbox", ssh={"penalties": {"protocolError": "60s", "exempt": ["127.0.0.1/32"]}})
    with socket.create_connection(("127.0.0.1", place.server.port), 10, ("127.0.0.2", 0)) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while browser.recv(4096):
                pass
    until(lambda: "SSH_SOURCE_PENALISED" in place.server.log(), "the source is penalised")
    with socket.create_connection(("127.0.0.1", place.server.port), 10, ("127.0.0.2", 0)) as again:
        assert again.recv(4096).startswith(b"Not allowed at this time: broken handshake. Try again in ")


def test_an_unknown_user_is_told_what_a_known_one_is(serve: Serve) -> None:
    place = serve("sandbox")

    def said(user: str) -> bytes:
        stranger = replace(place.user, user=user, password="wrong", key=None, options=["LogLevel=DEBUG1"])
        done = stranger.run("true")
        assert done.returncode == 255
        begin = done.stderr.index(b"SSH2_MSG_SERVICE_ACCEPT")
        return done.stderr[begin:].replace(user.encode(), b"USER")

    assert said("pat") == said("nobody-here")
    assert b"Permission denied" in said("pat")


def test_one_source_cannot_use_up_the_startups_of_all(serve: Serve) -> None:
    place = serve("sandbox")
    with ExitStack() as held:
        greeted = []
        for _ in range(250):
            stranger = socket.create_connection(("127.0.0.1", place.server.port), 10, ("127.0.0.2", 0))
            greeted.append(held.enter_context(stranger).recv(8).startswith(b"SSH-2.0-"))
        assert sum(greeted) == 50
        assert place.user.run("echo in").stdout == b"in\n"
