"""``moorage healthcheck`` tells the truth by its exit status."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server that gives every GET this status; its URL, and the path and Accept header of each request."""
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Accept"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/probe", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(directory: Path, **health: Any) -> subprocess.CompletedProcess[str]:
    file = directory / "config.yaml"
    webhook = {"method": "webhook", "webhook": {"url": "http://127.0.0.1:1"}}
    file.write_text(json.dumps({"auth": {"password": webhook}, "health": health}))
    command = [sys.executable, "-c", "from moorage.cli import main; main()", "healthcheck", "--config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_server_that_is_well_is_status_0(tmp_path: Path) -> None:
    with answering(200) as (url, asked):
        done = check(tmp_path, enable=True, client={"url": url})
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert asked == [("/probe", "application/json")]


@pytest.mark.parametrize("status", [503, 404, 204, 302])
def test_any_other_answer_is_status_1(tmp_path: Path, status: int) -> None:
    with answering(status) as (url, _):
        done = check(tmp_path, enable=True, client={"url": url})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"moorage: the server answers with status {status} (CORE_HEALTH_CHECK_FAILED)\n"


def test_no_answer_is_status_1(tmp_path: Path) -> None:
    done = check(tmp_path, enable=True, client={"url": "http://127.0.0.1:1/"})
    assert done.returncode == 1
    assert done.stderr == "moorage: http://127.0.0.1:1/ cannot be asked: Connection refused (HEALTH_REQUEST_FAILED)\n"


def test_a_server_without_the_endpoint_is_not_said_to_be_well(tmp_path: Path) -> None:
    with answering(200) as (url, asked):
        done = check(tmp_path, enable=False, client={"url": url})
    assert done.returncode == 1
    assert "health.enable is off" in done.stderr
    assert asked == []


def test_a_file_that_is_wrong_is_said_as_everywhere(tmp_path: Path) -> None:
    done = check(tmp_path, enable=True, client={"url": "nonsense"})
    assert done.returncode == 1
    assert "health.client.url: the URL is not http or https" in done.stderr
