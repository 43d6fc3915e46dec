"""A real Prometheus that scrapes a server of the tests."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need


@dataclass(frozen=True)
class Prometheus:
    """The running program."""

    port: int

    def api(self, path: str, **query: str) -> Any:
        """The data that ``/api/v1/PATH`` answers with; an error of Prometheus is one here."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from error

    def value(self, expression: str) -> float | None:
        """The one value of `expression` now; None if there is none yet."""
        found = self.api("query", query=expression)["result"]
        assert len(found) <= 1, f"{expression} has {len(found)} values"
        return float(found[0]["value"][1]) if found else None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(directory: Path, *, scrapes: int) -> Iterator[Prometheus]:
    """Prometheus for the time of the block, asking the port `scrapes` on the loopback every second."""
    program = need.program("prometheus", "prometheus")
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "prometheus.yml"
    job = {"job_name": "moorage", "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{scrapes}"]}]}
    config.write_text(json.dumps({"scrape_configs": [job]}))
    port = free_port()
    command = [
        *(program, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
    try:
        running = Prometheus(port)
        until(running.is_ready, "Prometheus is ready", seconds=30)
        yield running
    finally:
        process.terminate()
        process.wait(20)
