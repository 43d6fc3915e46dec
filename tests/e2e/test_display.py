"""X programs in a guest on a real X server: trusted and untrusted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.waiting import until
from tests.parts import need


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user who sits before an X server that asks for a cookie."""
    server = need.program("Xvfb", "xvfb")
    for name, package in (("xauth", "xauth"), ("xclock", "x11-apps"), ("xwininfo", "x11-utils")):
        need.program(name, package)
    authority = tmp_path / "xauthority"
    told, tell = os.pipe()
    command = [
        server,
        "-displayfd",
        str(tell),
        "-nolisten",
        "tcp",
        "-auth",
        str(authority),
        "-screen",
        "0",
        "640x480x24",
    ]
    cookie = os.urandom(16).hex()
    subprocess.run(["xauth", "-f", authority, "add", ":0", ".", cookie], check=True, capture_output=True)
    with subprocess.Popen(command, pass_fds=[tell], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        os.close(tell)
        try:
            with os.fdopen(told) as reader:
                display = f":{reader.readline().strip()}"
            subprocess.run(["xauth", "-f", authority, "add", display, ".", cookie], check=True, capture_output=True)
            yield {"DISPLAY": display, "XAUTHORITY": str(authority)}
        finally:
            running.terminate()


@pytest.mark.parametrize("flag", ["-X", "-Y"], ids=["untrusted", "trusted"])
def test_a_window_of_the_guest_is_seen(serve: Serve, screen: dict[str, str], flag: str) -> None:
    place = serve("sandbox", security={"forwarding": {"x11ForwardingMode": "enable"}})
    environment = {**place.user.environment, **screen}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        place.user.command("exec xclock -name of-the-guest", flags=[flag]), env=environment, stderr=pipe, stdin=pipe
    ) as client:
        try:

            def windows() -> str:
                done = subprocess.run(
                    ["xwininfo", "-root", "-tree"],
                    env={**os.environ, **screen},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                return done.stdout

            until(lambda: "of-the-guest" in windows() or client.poll() is not None, "the window is there", seconds=20)
            assert client.poll() is None, client.stderr.read() if client.stderr else ""
        finally:
            client.kill()
    until(lambda: "of-the-guest" not in windows(), "the window goes with the connection", seconds=10)
