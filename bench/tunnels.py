"""Tunnels: how fast and how soon bytes come back from an echo in the guest, and whether many tunnels share fairly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from tests.e2e.serving import free_port
from tests.e2e.waiting import until

from bench.report import Report, Sample
from bench.targets import Target

_ECHO: Final = (
    # sshd's guest is the host itself: there it must be the loopback.
    'if [ -n "$SSH_CLIENT" ]; then socat TCP-LISTEN:{port},bind=127.0.0.1,fork,backlog=128 EXEC:cat & '
    "else busybox nc -ll -p {port} -e cat & fi; echo ready; cat >/dev/null; kill $!"
)
_CHUNK: Final = 1 << 16
_ROUND_TRIPS: Final = 300
_REFUSALS: Final = 50
_MANY: Final = 100


def measure(report: Report, targets: Sequence[Target], *, megabytes: int, rounds: int) -> None:
    """Through ``ssh -L``, the targets by turns."""
    speeds: dict[str, list[float]] = {target.name: [] for target in targets}
    delays: dict[str, list[float]] = {target.name: [] for target in targets}
    shares: dict[str, list[float]] = {target.name: [] for target in targets}
    refusals: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            with _echo(target) as (port, nobody):
                speeds[target.name].append(megabytes / _seconds(port, megabytes * 1_000_000))
                delays[target.name] += _delays(port)
                shares[target.name].append(_fairness(port))
                refusals[target.name] += [_refusal(nobody) for _ in range(_REFUSALS)]
    fast = {name: Sample(values).median for name, values in speeds.items()}
    report.figure("through a tunnel and back, MB/s", {name: f"{value:.0f}" for name, value in fast.items()})
    report.times("one byte through a tunnel and back, ms", {name: Sample(values) for name, values in delays.items()})
    report.times("a tunnel to where nobody listens is refused, ms", {n: Sample(v) for n, v in refusals.items()})
    fair = {name: Sample(values).median for name, values in shares.items()}
    report.figure("100 tunnels at once, slowest : mean", {name: f"{value:.2f}" for name, value in fair.items()})
    for name in [name for name in fast if name != "sshd"]:
        report.at_least(f"tunnel, {name} : sshd", fast[name] / fast["sshd"], 1)
        report.at_least(f"100 tunnels, {name}, slowest : mean", fair[name], 0.5)
        report.at_most(f"refused tunnel, {name}, p95 : 100 ms", Sample(refusals[name]).p95 / 0.1, 1)


@contextmanager
def _echo(target: Target) -> Iterator[tuple[int, int]]:
    """A port of ours that leads to an echo in the guest, and one that leads to where nobody listens."""
    ours, theirs, nobody = free_port(), free_port(), free_port()
    flags = ["-L", f"{ours}:127.0.0.1:{theirs}", "-L", f"{nobody}:127.0.0.1:{free_port()}"]
    client = target.client.start(_ECHO.format(port=theirs), flags=flags, options=["Ciphers=aes128-gcm@openssh.com"])
    try:
        assert client.stdout is not None
        if client.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{target.name}: no echo: {client.communicate()[1]!r}")
        until(lambda: _seconds(ours, 1), f"{target.name} echoes")
        yield ours, nobody
    finally:
        client.kill()
        client.communicate()


def _seconds(port: int, size: int) -> float:
    """How long `size` bytes take there and back; 0 if nobody answers."""
    with socket.create_connection(("127.0.0.1", port), 60) as tunnel, suppress(ConnectionResetError):
        return _echoed(tunnel, size)
    return 0.0


def _echoed(tunnel: socket.socket, size: int) -> float:
    block = bytes(_CHUNK)
    begun = time.perf_counter()

    def send() -> None:
        left = size
        with suppress(ConnectionResetError, BrokenPipeError):
            while left:
                left -= tunnel.send(block[: min(left, _CHUNK)])

    sender = threading.Thread(target=send)
    sender.start()
    received = 0
    while received < size and (data := tunnel.recv(_CHUNK)):
        received += len(data)
    sender.join()
    return time.perf_counter() - begun if received == size else 0.0


def _delays(port: int) -> list[float]:
    with socket.create_connection(("127.0.0.1", port), 60) as tunnel:
        tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = []
        for _ in range(_ROUND_TRIPS):
            begun = time.perf_counter()
            tunnel.sendall(b"x")
            tunnel.recv(1)
            found.append(time.perf_counter() - begun)
    return found


def _refusal(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port), 60) as tunnel:
        begun = time.perf_counter()
        tunnel.recv(1)
        return time.perf_counter() - begun


def _fairness(port: int) -> float:
    """The slowest of many tunnels against their mean, by speed; all are open before the first moves anything."""
    together = threading.Barrier(_MANY)

    def one(tunnel: socket.socket) -> float:
        together.wait()
        return 500_000 / _echoed(tunnel, 500_000)

    with ExitStack() as stack, ThreadPoolExecutor(_MANY) as pool:
        tunnels = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(_MANY)]
        for tunnel in tunnels:
            _echoed(tunnel, 1)
        speeds = list(pool.map(one, tunnels))
    return min(speeds) / (sum(speeds) / len(speeds))
