"""What strangers cost: key exchanges, and a flood of connections that never log in while an honest client does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.clients import Client, make_key
from tests.e2e.processes import cpu_seconds, memory_kib
from tests.e2e.serving import Server, write_users
from tests.e2e.waiting import until

from bench.report import Report, Sample
from bench.targets import Target

FROM = "127.0.0.2"
"""The address of those who flood."""


def measure_exchanges(report: Report, targets: Sequence[Target], *, rounds: int) -> None:
    """Key exchanges by ssh-keyscan, which leaves when it has seen the host key; some dozens at a time."""
    rates: dict[str, str] = {}
    costs: dict[str, float] = {}
    for target in targets:
        hosts = "127.0.0.1\n" * 50
        command = ["ssh-keyscan", "-T", "60", "-t", "ed25519", "-p", str(target.client.port), "-f", "-"]
        subprocess.run(command, input=hosts, capture_output=True, text=True, check=True)  # warms
        before, begun, done = cpu_seconds([target.pid]), time.perf_counter(), 0
        for _ in range(rounds):
            found = subprocess.run(command, input=hosts, capture_output=True, text=True, check=True)
            done += found.stdout.count("ssh-ed25519")
        spent = time.perf_counter() - begun
        until(lambda pid=target.pid: _is_calm(pid), "nothing is going on any more", seconds=60)  # type: ignore[misc]
        costs[target.name] = (cpu_seconds([target.pid]) - before) / done
        rates[target.name] = f"{done / spent:.0f}"
    report.figure("key exchanges a second, 50 at a time", rates)
    report.figure("server CPU ms per key exchange", {name: f"{cost * 1e3:.1f}" for name, cost in costs.items()})
    report.at_most("server CPU per key exchange : sshd", costs["sandbox"] / costs["sshd"], 1)


def _is_calm(pid: int) -> bool:
    before = cpu_seconds([pid])
    time.sleep(0.3)
    return cpu_seconds([pid]) - before < 0.02


@contextmanager
def flood(port: int, strangers: int) -> Iterator[None]:
    """So many connections from `FROM` in the middle of their handshakes, by a process of their own."""
    command = [sys.executable, "-m", "bench.strangers", str(port), str(strangers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the flood did not come up")
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def measure_flood(report: Report, directory: Path, *, strangers: int, rounds: int) -> None:
    """An honest client's logins before and during a flood, and what the server's memory does."""
    key = make_key(directory / "flood-key")
    users = write_users(directory / "flood-users", bench=key)
    config = {
        "backend": "sandbox",
        "auth": {"users": {"file": str(users)}},
        "log": {"level": "warning"},
        "ssh": {
            "loginGraceTime": "600s",
            "maxStartups": {"begin": 2 * strangers, "rate": 30, "full": 4 * strangers},
            "maxStartupsPerSource": 2 * strangers,
        },
    }
    prefix = ["sh", "-c", f'ulimit -n {strangers + 1000}; exec "$@"', "sh"]
    with Server(directory / "flood", config, prefix=prefix) as server:
        client = Client(server.port, "bench", directory, key=key)
        _logins(client, 5)
        idle = Sample(_logins(client, rounds))
        before = memory_kib(server.pid)
        with flood(server.port, strangers):
            held = memory_kib(server.pid)
            under = Sample(_logins(client, rounds))
            descriptors = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
    if descriptors < strangers:
        raise RuntimeError(f"only {descriptors} descriptors are open: the flood was not held")
    report.times("a login, idle, ms (median / p95)", {"sandbox": idle})
    report.times(f"a login among {strangers:,} half-open connections, ms", {"sandbox": under})
    report.figure("server memory per half-open connection, KB", {"sandbox": f"{(held - before) / strangers:.0f}"})
    report.figure(f"server memory with {strangers:,} of them, MB", {"sandbox": f"{held / 1024:.0f}"})
    report.at_most("login in a flood, p95 : idle, p95", under.p95 / idle.p95, 3)


def _logins(client: Client, rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        done = client.run("true")
        if done.returncode:
            raise RuntimeError(f"an honest client was turned away: {done.stderr!r}")
        taken.append(time.perf_counter() - begun)
    return taken


def _hold(port: int, strangers: int) -> None:
    """Open the connections, send the beginning of a handshake on each, and keep them until stdin is closed."""
    import resource
    import socket

    resource.setrlimit(resource.RLIMIT_NOFILE, (strangers + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    offer = bytes.fromhex("00000014" + "06" + "14") + bytes(18)  # a key exchange that never becomes complete
    held = []
    for _ in range(strangers):
        stranger = socket.create_connection(("127.0.0.1", port), 60, (FROM, 0))
        stranger.sendall(b"SSH-2.0-Stranger\r\n" + offer[:20])
        held.append(stranger)
    for stranger in held:
        stranger.recv(4)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _hold(int(sys.argv[1]), int(sys.argv[2]))
