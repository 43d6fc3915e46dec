"""Thousands of logins, some of which vanish, leave the server as it was."""

from __future__ import annotations

import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.places import Place
from tests.e2e.processes import memory_kib, tree
from tests.e2e.waiting import until

MINUTES = float(os.environ.get("MOORAGE_SOAK_MINUTES", "4"))
CHANCE = random.Random(11)


def descriptors(place: Place) -> int:
    """How many files and sockets the server has open."""
    return len(list(Path(f"/proc/{place.server.pid}/fd").iterdir()))


def one_login(place: Place) -> bool:
    """Log in and list a directory; every tenth client vanishes in the middle instead.  Was it served?"""
    if CHANCE.random() < 0.1:
        client = place.user.start("yes")
        assert client.stdout is not None
        client.stdout.read(1)
        client.kill()
        client.communicate()
        return True
    return place.user.run("ls /").returncode == 0


@pytest.mark.timeout(0)
def test_a_server_is_after_many_logins_what_it_was_before(
    backend: str, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    place = serve(backend, log={"level": "warning"})
    for _ in range(30):
        assert one_login(place)
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    files, memory = descriptors(place), memory_kib(place.server.pid)
    served = 0
    deadline = time.monotonic() + 60 * MINUTES
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < deadline:
            assert all(pool.map(lambda _: one_login(place), range(40)))
            served += 40
            with capsys.disabled():
                sys.stdout.write(f"\r{backend}: {served} logins, {memory_kib(place.server.pid)} KiB ")
                sys.stdout.flush()
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    # Connections to an engine are kept for a while, for the next login.
    until(lambda: descriptors(place) <= files, f"descriptors are back to {files}", seconds=90)
    assert memory_kib(place.server.pid) < memory + 20_000, f"grown from {memory} KiB over {served} logins"
