"""What an operator sees of a real server: metrics, health, and its log at a syslog daemon."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.e2e.clients import Client
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD
from tests.e2e.serving import CANARY, MOORAGE, Server, free_port, leaks
from tests.e2e.waiting import until
from tests.parts.engine import RealEngine

SAMPLE = Path(__file__).parents[1] / "unit" / "config" / "samples" / "packaged.yaml"


@contextmanager
def auth_server(port: int, *options: str) -> Iterator[None]:
    """`moorage auth-server` on the loopback for the time of the block."""
    command = [str(MOORAGE), "auth-server", "--listen", f"127.0.0.1:{port}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "is listening" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(10)


def get(port: int, path: str, **headers: str) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def scraped(port: int) -> dict[str, float]:
    """Every value, by ``name{label=value,…}``, as Prometheus asks for it."""
    status, headers, text = get(port, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert status == 200
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}": sample.value
        for family in families
        for sample in family.samples
    }


def test_the_packaged_sample_runs_unchanged_and_counts(engine: RealEngine, debian_image: str, tmp_path: Path) -> None:
    hooks, port, metrics = free_port(), free_port(), free_port()
    key = tmp_path / "ssh_host_rsa_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(key)], check=True)
    text = SAMPLE.read_text()
    for there, here in (
        ("ssh:\n", f"ssh:\n  listen: 127.0.0.1:{port}\n"),
        ("/etc/containerssh/ssh_host_rsa_key", str(key)),
        ("127.0.0.1:8080", f"127.0.0.1:{hooks}"),
        ("0.0.0.0:9100", f"127.0.0.1:{metrics}"),
    ):
        assert there in text
        text = text.replace(there, here)
    text += f"\ndocker: {{connection: {{host: '{engine.host}'}}}}\n"

    def expected(**changed: float) -> dict[str, float]:
        zeros: dict[str, float] = {
            "config_server_requests_total{retry=0}": 0,
            "auth_server_requests_total{authtype=password,retry=0}": 0,
            "auth_success_total{authtype=password,country=XX,retry=0}": 0,
            "auth_failures_total{authtype=password,country=XX,retry=0}": 0,
            "ssh_connections_total{country=XX}": 0,
            "ssh_current_connections{country=XX}": 0,
            "ssh_successful_handshakes_total{country=XX}": 0,
            "ssh_failed_handshakes_total{country=XX}": 0,
            "backend_errors_total{backend=docker}": 0,
        }
        found = {name.partition("{")[0]: name for name in zeros}
        return {**zeros, **{found[name]: value for name, value in changed.items()}}

    def counted() -> dict[str, float]:
        now = {name.removeprefix("containerssh_"): value for name, value in scraped(metrics).items()}
        return {name: now.pop(name) for name in expected() if name in now}

    server = Server(tmp_path / "server", text, port=port, environment={"STATE_DIRECTORY": str(tmp_path / "state")})
    users = ["--user", f"noa:{PASSWORD}", "--image", f"noa={debian_image}"]
    with auth_server(hooks, *users), server:
        # The harness has looked whether the port greets: connections that end before a login.
        looked = until(lambda: greeted(counted()), "the first connections have ended")
        assert counted() == expected(ssh_connections_total=looked, ssh_failed_handshakes_total=looked)
        noa = Client(port, "noa", tmp_path, password=PASSWORD)
        assert noa.run("echo in").stdout == b"in\n"
        assert replace(noa, password=f"wrong-{CANARY}").run("echo in").returncode == 255
        after = expected(
            config_server_requests_total=1,
            auth_server_requests_total=2,
            auth_success_total=1,
            auth_failures_total=1,
            ssh_connections_total=looked + 2,
            ssh_successful_handshakes_total=1,
            ssh_failed_handshakes_total=looked + 1,
        )
        until(lambda: counted() == after, "both logins are counted and have ended", seconds=15)
        now = scraped(metrics)
        assert now["containerssh_backend_requests_total{backend=docker}"] >= 3
        for stage in ("auth", "config", "guest"):
            assert now[f"moorage_login_stage_duration_seconds_count{{stage={stage}}}"] == 1
        session = noa.start("echo ready; exec sleep 100")
        assert session.stdout is not None
        assert session.stdout.readline() == b"ready\n"
        assert scraped(metrics)["containerssh_ssh_current_connections{country=XX}"] == 1
        assert scraped(metrics)["moorage_guests_open{backend=docker}"] == 1
        session.kill()
        session.communicate()
        until(lambda: scraped(metrics)["moorage_guests_open{backend=docker}"] == 0, "the guest is gone", seconds=15)
        assert get(metrics, "/")[0] == 404
        assert "# TYPE containerssh_ssh_connections_total counter\n" in get(metrics, "/metrics")[2]


def greeted(values: Mapping[str, float]) -> float:
    """How many connections there were, once all of them have ended."""
    is_over = values["ssh_current_connections{country=XX}"] == 0
    return values["ssh_connections_total{country=XX}"] if is_over else 0


@pytest.fixture
def syslog() -> Iterator[socket.socket]:
    """A syslog daemon that takes UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        daemon.settimeout(10)
        yield daemon


def test_health_follows_the_server_and_its_log_goes_to_syslog(serve: Serve, syslog: socket.socket) -> None:
    port = free_port()
    place = serve(
        "sandbox",
        health={"enable": True, "listen": f"127.0.0.1:{port}", "client": {"url": f"http://127.0.0.1:{port}/"}},
        log={
            "level": "debug",
            "destination": "syslog",
            "syslog": {"destination": f"127.0.0.1:{syslog.getsockname()[1]}", "facility": "local0", "tag": "moor"},
        },
    )

    def healthcheck() -> int:
        command = [str(MOORAGE), "healthcheck", "--config", str(place.server.config_file)]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode

    assert (get(port, "/")[0], healthcheck()) == (200, 0)
    session = place.user.start("echo ready; cat")
    assert session.stdout is not None
    assert session.stdout.readline() == b"ready\n"
    place.server.signal(signal.SIGTERM)
    until(lambda: get(port, "/")[0] == 503, "the server says that it drains")
    assert (get(port, "/ready")[0], get(port, "/live")[0]) == (503, 200)
    assert healthcheck() == 1
    assert get(port, "/", Accept="application/json")[2] == '"not ok"'
    session.communicate(b"", timeout=10)
    assert place.server.wait() == 0
    assert healthcheck() == 1

    lines: list[str] = []
    while not (lines and '"service": "health server"' in lines[-1] and "SERVICE_STOPPED" in lines[-1]):
        lines.append(syslog.recv(10_000).decode())
    assert place.server.log() == ""
    assert not leaks("\n".join(lines))
    host = socket.gethostname()
    for line in lines:
        priority, _, name, tag, pid, message_id, data, body = line.split(" ", 7)
        assert (name, tag, pid, message_id, data) == (host, "moor", "-", "-", "-")
        assert priority.startswith("<1")  # local0 is 16: 128 and a severity
        assert set(json.loads(body)) == {"code", "message", "details"}
    codes = [json.loads(line.split(" ", 7)[7])["code"] for line in lines]
    wanted = ["HEALTH_AVAILABLE", "SSH_AUTH_SUCCESSFUL", "SERVICE_DRAINING", "SERVICE_STOPPED"]
    assert [code for code in wanted if code in codes] == wanted
