"""How fast bytes go through, each way, and what that costs the server's side in CPU time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.e2e.processes import cpu_seconds
from tests.e2e.waiting import until

from bench.report import Report, Sample
from bench.targets import Target

_WAYS: Final = {"out": "out of the guest", "in": "into the guest"}
_WANTED: Final = {"out": 1.0, "in": 0.85}


def measure(report: Report, targets: Sequence[Target], *, megabytes: int, rounds: int) -> None:
    """`rounds` transfers of `megabytes` each way through OpenSSH's client, the targets by turns."""
    speeds: dict[tuple[str, str], list[float]] = {}
    costs: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):
        for target in targets:
            with _open(target) as settings:
                for way in _WAYS:
                    rate, cost = _transfer(target, settings, way, megabytes if turn else 20)
                    if turn:
                        speeds.setdefault((way, target.name), []).append(rate)
                        costs.setdefault((way, target.name), []).append(cost)
    for way, words in _WAYS.items():
        fast = {target.name: Sample(speeds[way, target.name]).median for target in targets}
        dear = {target.name: Sample(costs[way, target.name]).median for target in targets}
        report.figure(f"{words}, MB/s", {name: f"{value:.0f}" for name, value in fast.items()})
        report.figure(f"{words}, server CPU s per GB", {name: f"{value:.2f}" for name, value in dear.items()})
        for name in [name for name in fast if name != "sshd"]:
            # Each transfer is compared with sshd's of the same turn, then the middle one counts.
            pairs = zip(speeds[way, name], speeds[way, "sshd"], strict=True)
            ratio = Sample([ours / theirs for ours, theirs in pairs]).median
            report.at_least(f"throughput {words}, {name} : sshd", ratio, _WANTED[way])


@contextmanager
def _open(target: Target) -> Iterator[list[str]]:
    """A connection that stays open, so that the server's processes can be read before and after a transfer."""
    control = target.client.directory / "control"
    settings = [f"ControlPath={control}", "Ciphers=aes128-gcm@openssh.com"]
    master = target.client.start(options=settings, flags=["-M", "-N"])
    try:
        until(control.exists, f"{target.name} lets a connection open")
        target.client.run("true", options=settings)  # the guest is there now
        yield settings
    finally:
        master.terminate()
        master.communicate()


def _transfer(target: Target, settings: list[str], way: str, megabytes: int) -> tuple[float, float]:
    """MB a second, and CPU seconds per GB on the server's side: gateway, agent and the program."""
    script = f"dd if=/dev/zero bs=1000000 count={megabytes} 2>/dev/null" if way == "out" else "cat >/dev/null"
    command = target.client.command(script, options=settings)
    processes = [target.pid, *target.guests()]
    before = cpu_seconds(processes)
    begun = time.perf_counter()
    with subprocess.Popen(
        ["head", "-c", f"{megabytes if way == 'in' else 0}000000", "/dev/zero"], stdout=subprocess.PIPE
    ) as source:
        done = subprocess.run(
            command, stdin=source.stdout, stdout=subprocess.DEVNULL, env=target.client.environment, check=False
        )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{target.name}: the transfer ended with status {done.returncode}")
    return megabytes / seconds, (cpu_seconds(processes) - before) / (megabytes / 1000)
