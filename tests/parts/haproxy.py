"""A real HAProxy that tells a server of the tests who its clients are."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need

SOURCE: Final = "127.0.0.9"
"""The address that it connects from."""


@contextmanager
def haproxy(directory: Path, *, target: int, send: str) -> Iterator[int]:
    """The port of a relay to the port `target`; `send` is ``send-proxy`` or ``send-proxy-v2``."""
    program = need.program("haproxy", "haproxy")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(
        f"""
global
    maxconn 200
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend ssh
    bind 127.0.0.1:{port}
    default_backend moorage
backend moorage
    source {SOURCE}
    server one 127.0.0.1:{target} {send} check check-send-proxy inter 1s
"""
    )
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-db", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        until(lambda: _accepts(port), "HAProxy listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False
