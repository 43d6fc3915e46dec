"""Files: OpenSSH's sftp with one large file each way, and rsync with very many small ones."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.clients import Client

from bench.report import Report, Sample
from bench.targets import Target


def measure(report: Report, targets: Sequence[Target], *, megabytes: int, files: int, rounds: int) -> None:
    """The targets by turns; where the guest has no rsync that measure is left out."""
    put: dict[str, list[float]] = {target.name: [] for target in targets}
    get: dict[str, list[float]] = {target.name: [] for target in targets}
    many: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="mb-files-") as scratch:
        large, tree = Path(scratch) / "large", Path(scratch) / "tree"
        large.write_bytes(random.Random(1).randbytes(1_000_000) * megabytes)
        _plant(tree, files)
        for _ in range(rounds):
            for target in targets:
                with target.client.opened() as client:
                    # In memory everywhere, as a sandbox's /tmp is; sshd's guest is the host.
                    memory = "/dev/shm" if target.name == "sshd" else "/tmp"
                    place = f"{memory}/{Path(scratch).name}-guest"
                    client.run(f"mkdir -p {place}")
                    begun = time.perf_counter()
                    _sftp(client, f"put {large} {place}/large")
                    middle = time.perf_counter()
                    _sftp(client, f"get {place}/large {scratch}/back")
                    put[target.name].append(megabytes / (middle - begun))
                    get[target.name].append(megabytes / (time.perf_counter() - middle))
                    if client.run("rsync --version").returncode == 0:
                        begun = time.perf_counter()
                        command = ["rsync", "-a", "-e", client.rsh(), f"{tree}/", f"127.0.0.1:{place}/tree"]
                        subprocess.run(command, check=True, env=client.environment, capture_output=True)
                        many.setdefault(target.name, []).append(time.perf_counter() - begun)
                    client.run(f"rm -rf {place}")
    for way, speeds in (("put", put), ("get", get)):
        fast = {name: Sample(values).median for name, values in speeds.items()}
        report.figure(f"sftp {way}, MB/s", {name: f"{value:.0f}" for name, value in fast.items()})
        for name in [name for name in fast if name != "sshd"]:
            report.at_least(f"sftp {way}, {name} : sshd", fast[name] / fast["sshd"], 0.5)
    report.times(f"rsync of {files} small files, ms", {name: Sample(values) for name, values in many.items()})
    if "sandbox" in many:
        ratio = Sample(many["sandbox"]).median / Sample(many["sshd"]).median
        report.at_most("rsync of small files, sandbox : sshd", ratio, 1.5)


def _plant(tree: Path, files: int) -> None:
    chance = random.Random(2)
    for number in range(files):
        path = tree / f"{number % 50}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(100, 4000)))


def _sftp(client: Client, command: str) -> None:
    done = client.tool("sftp", "-b", "-", "guest", input=f"{command}\n".encode(), timeout=120)
    if done.returncode:
        raise RuntimeError(f"sftp: {done.stderr!r}")
