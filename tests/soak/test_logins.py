"""Thousands of logins, some of which vanish, leave the server as it was."""

from __future__ import annotations

import os
import random
import shlex
import socketserver
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.e2e.clients import Done
from tests.e2e.conftest import Serve
from tests.e2e.places import Place
from tests.e2e.processes import memory_kib, tree
from tests.e2e.serving import free_port
from tests.e2e.waiting import until

MINUTES = float(os.environ.get("MOORAGE_SOAK_MINUTES", "4"))
CHANCE = random.Random(11)


def descriptors(place: Place) -> int:
    """How many files and sockets the server has open."""
    return len(list(Path(f"/proc/{place.server.pid}/fd").iterdir()))


FORWARDING = {"forwarding": {"reverseForwardingMode": "enable", "forwardingMode": "enable"}}
TUNNELLED = 'exec 3<>/dev/tcp/127.0.0.1/4711; echo "through $1" >&3; head -n 1 <&3'


def one_login(place: Place, echo: int) -> bool:
    """Log in and list a directory, or send a line through a tunnel; every tenth client vanishes.  Was it served?"""
    kind = CHANCE.random()
    if kind < 0.1:
        client = place.user.start("yes")
        assert client.stdout is not None
        client.stdout.read(1)
        client.kill()
        client.communicate()
        return True
    if kind < 0.3:
        flags = ["-R", f"4711:127.0.0.1:{echo}", "-o", "ExitOnForwardFailure=yes"]
        return served(place.user.run("bash", "-c", shlex.quote(TUNNELLED), flags=flags), 0, b"through \n")
    if kind < 0.4:  # a tunnel to where nobody listens
        return served(place.user.run(flags=["-W", "127.0.0.1:1"]), 255, b"")
    return served(place.user.run("ls /etc/passwd"), 0, b"/etc/passwd\n")


def served(done: Done, status: int, out: bytes) -> bool:
    """Has a client ended as it should?  One that has not is shown."""
    if (done.returncode, done.stdout) == (status, out):
        return True
    sys.stderr.write(f"{done}\n")
    return False


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a service that sends back what it gets."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.wfile.write(self.rfile.readline())

    class Service(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100

    with Service(("127.0.0.1", 0), Echo) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield service.server_address[1]
        service.shutdown()
        thread.join()


def open_connections(port: int) -> float:
    """How many connections the server says are open."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("containerssh_ssh_current_connections{"))


@pytest.mark.timeout(0)
def test_a_server_is_after_many_logins_what_it_was_before(
    backend: str, serve: Serve, echo: int, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = free_port()
    sections = {"log": {"level": "warning"}, "metrics": {"enable": True, "listen": f"127.0.0.1:{metrics}"}}
    place = serve(backend, security=FORWARDING, **sections)
    for _ in range(30):
        assert one_login(place, echo)
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    files, memory = descriptors(place), memory_kib(place.server.pid)
    logins = 0
    deadline = time.monotonic() + 60 * MINUTES
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < deadline:
            assert all(pool.map(lambda _: one_login(place, echo), range(40)))
            logins += 40
            with capsys.disabled():
                sys.stdout.write(f"\r{backend}: {logins} logins, {memory_kib(place.server.pid)} KiB ")
                sys.stdout.flush()
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    until(lambda: open_connections(metrics) == 0, "no connection is open")
    # Connections to an engine are kept for a while, for the next login.
    until(lambda: descriptors(place) <= files, f"descriptors are back to {files}", seconds=90)
    assert memory_kib(place.server.pid) < memory + 20_000, f"grown from {memory} KiB over {logins} logins"
