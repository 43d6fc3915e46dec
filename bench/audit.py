"""What recording costs: throughput, key strokes and memory with and without it; and how fast recordings are read."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.e2e.clients import Client, make_key
from tests.e2e.processes import cpu_seconds, memory_kib
from tests.e2e.serving import Server, write_users
from tests.e2e.waiting import until

from bench.report import Report, Sample
from moorage.audit.codec import Entry, Packer, encode
from moorage.audit.recording import read
from moorage.gateway import events
from moorage.gateway.eventmetrics import event_metrics
from moorage.gateway.model import Address, Attempt, ConnectionId
from moorage.metrics import Metrics

_KINDS: Final = {
    "bulk, zeros": "head -c {bytes} /dev/zero",
    "bulk, random": "head -c {bytes} /dev/urandom",
    "terminal text": "yes 'drwxr-xr-x 2 root root 4096 Jan  1 00:00 a-file-of-some-name' | head -c {bytes}",
}
_WANTED: Final = {"bulk, zeros": 0.7, "bulk, random": 0.7, "terminal text": 0.85}


def measure(report: Report, scratch: Path, *, megabytes: int, rounds: int, strokes: int) -> None:
    """All of it; the two servers by turns."""
    with ExitStack() as stack:
        plain = stack.enter_context(_server(scratch / "plain", recorded=False))
        recorded = stack.enter_context(_server(scratch / "recorded", recorded=True))
        both = {"sandbox": plain, "recorded": recorded}
        for kind, script in _KINDS.items():
            speeds: dict[str, list[float]] = {name: [] for name in both}
            costs: dict[str, list[float]] = {name: [] for name in both}
            for turn in range(rounds + 1):
                for name, (server, client) in both.items():
                    before, begun = cpu_seconds([server.pid]), time.perf_counter()
                    command = client.command(script.format(bytes=megabytes * 1_000_000))
                    subprocess.run(command, stdout=subprocess.DEVNULL, env=client.environment, check=True)
                    if turn:
                        speeds[name].append(megabytes / (time.perf_counter() - begun))
                        costs[name].append((cpu_seconds([server.pid]) - before) / (megabytes / 1000))
            report.figure(f"{kind}, MB/s", {name: f"{Sample(values).median:.0f}" for name, values in speeds.items()})
            report.figure(
                f"{kind}, server CPU s per GB", {name: f"{Sample(values).median:.2f}" for name, values in costs.items()}
            )
            pairs = zip(speeds["recorded"], speeds["sandbox"], strict=True)
            report.at_least(
                f"{kind}, recorded : unrecorded", Sample([one / other for one, other in pairs]).median, _WANTED[kind]
            )
        times = {name: Sample(_strokes(client, strokes)) for name, (_, client) in both.items()}
        report.times("a key stroke and its echo, ms (median / p95)", times)
        report.at_most("a key stroke's p95, recorded, ms more", 1e3 * (times["recorded"].p95 - times["sandbox"].p95), 1)
        report.figure(
            "server memory after it, MB",
            {name: f"{memory_kib(server.pid) / 1024:.0f}" for name, (server, _) in both.items()},
        )
    _measure_reader(report, scratch, megabytes)
    _measure_metrics(report)


@contextmanager
def _server(directory: Path, *, recorded: bool) -> Iterator[tuple[Server, Client]]:
    directory.mkdir(parents=True)
    key = make_key(directory / "key")
    users = write_users(directory / "users", bench=key)
    config: dict[str, Any] = {
        "backend": "sandbox",
        "auth": {"users": {"file": str(users)}},
        "log": {"level": "warning"},
    }
    if recorded:
        recordings = directory / "recordings"
        recordings.mkdir()
        intercept = dict.fromkeys(("stdin", "stdout", "stderr"), True)
        config["audit"] = {"enable": True, "format": "binary", "storage": "file", "intercept": intercept}
        config["audit"]["file"] = {"directory": str(recordings)}
    with Server(directory, config) as server:
        client = Client(server.port, "bench", directory, key=key, options=["Ciphers=aes128-gcm@openssh.com"])
        until(lambda: client.run("true").returncode == 0, f"moorage logs in\n{server.log()}", seconds=15)
        yield server, client


def _strokes(client: Client, count: int) -> list[float]:
    """Seconds from each byte to its echo."""
    session = client.start("stty raw -echo; echo ready; exec cat", flags=["-tt"])
    assert session.stdin is not None
    assert session.stdout is not None
    found = []
    while b"ready" not in session.stdout.readline():
        pass
    for number in range(count + 20):
        begun = time.perf_counter()
        session.stdin.write(b"x")
        session.stdin.flush()
        session.stdout.read(1)
        if number >= 20:
            found.append(time.perf_counter() - begun)
    session.kill()
    session.communicate()
    return found


def _measure_reader(report: Report, scratch: Path, megabytes: int) -> None:
    dense, text = os.urandom(16384), b"drwxr-xr-x 2 root root 4096 Jan  1 00:00 file\n" * 356
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        packer = Packer()
        file.write(packer.begin())
        entry = encode("0" * 32, Entry(500, 1, {"stream": 1, "data": dense + text}, 0))
        for _ in range(megabytes * 4):
            file.write(packer.pack([entry] * 8))
        file.flush()
        size = Path(file.name).stat().st_size
        begun = time.process_time()
        with Path(file.name).open("rb") as again:
            count = sum(1 for _ in read(iter(lambda: again.read(1 << 18), b"")))
        spent = time.process_time() - begun
    report.figure(
        "reading a recording, MB of the file a second of processor time", {"recorded": f"{size / spent / 1e6:.0f}"}
    )
    report.figure(
        "reading a recording, MB of its content a second of processor time",
        {"recorded": f"{count * 32768 / spent / 1e6:.0f}"},
    )
    report.at_least("reading a recording, a second of processor time : 100 MB of the file", size / spent / 1e8, 1)


def _measure_metrics(report: Report) -> None:
    """What counting a login costs, against the least that a login can take of the processor (10 ms)."""
    metrics, peer = Metrics(), Address("192.0.2.7", 1)
    factory = event_metrics(metrics, backend="sandbox")
    attempt = Attempt(ConnectionId("0" * 32), peer, "SSH-2.0-x", "mia")
    heard = (
        events.ConnectionOpened(at=1.0, remote_address=peer),
        events.ClientIdentified(at=1.0, version="", hassh="", algorithms=""),
        events.AuthAttempted(at=1.1, attempt=attempt, method="publickey", success=True),
        events.GuestOpened(at=1.2, backend="sandbox", seconds=0.1),
        events.SessionOpened(at=1.2, channel=0),
        events.SessionClosed(at=1.3, channel=0),
        events.ConnectionClosed(at=1.3, reason=""),
    )
    rounds = 5000
    begun = time.process_time()
    for _ in range(rounds):
        listener = factory(attempt.connection_id, peer)
        for event in heard:
            listener(event)
    each = (time.process_time() - begun) / rounds
    report.figure("metrics of one login, microseconds of processor time", {"recorded": f"{each * 1e6:.0f}"})
    report.at_most("metrics of a login : 10 ms of processor time", each / 0.01, 0.01)
