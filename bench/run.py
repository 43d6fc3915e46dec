"""Run every measure side by side: ``python -m bench.run [--quick] [--engine URL]``."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncssh
import pytest
from tests.parts.engine import docker

from bench import audit, auth, command, files, login, memory, strangers, throughput, tunnels
from bench.engine import Engine
from bench.report import Report, write_into
from bench.targets import all_targets, warm_targets

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    """Measure, print the tables, and put them into the documentation unless the run was a quick one."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; the documentation is left alone")
    parser.add_argument("--engine", default="", help="unix:///path of a container engine")
    parser.add_argument(
        "--only",
        choices=("strangers", "auth", "audit"),
        help="leave the rest out, and its part of the documentation",
    )
    options = parser.parse_args()
    quick: bool = options.quick
    begun = time.monotonic()
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory(prefix="mb-") as scratch:
        if not options.only:
            with an_engine(options.engine) as engine:
                reports["bench"] = logins_and_bytes(Path(scratch) / "all", engine, quick=quick)
        if options.only in {None, "strangers"}:
            reports["strangers"] = floods(Path(scratch) / "strangers", quick=quick)
        if options.only in {None, "auth"}:
            reports["auth"] = authentication(Path(scratch) / "auth", quick=quick)
        if options.only in {None, "audit"}:
            reports["audit"] = recordings(Path(scratch) / "audit", quick=quick)
    for part, report in reports.items():
        print(f"\n{report.text()}")
        if not quick:
            write_into(PAGE, report.text(), part=part)
    print(f"\nTook {time.monotonic() - begun:.0f} s.")
    ratios = [ratio for report in reports.values() for ratio in report.ratios]
    missed = sum(not ratio.met for ratio in ratios)
    if missed:
        print(f"{missed} of {len(ratios)} figures fall short of what is wanted.")


def logins_and_bytes(scratch: Path, engine: Engine | None, *, quick: bool) -> Report:
    """What those who are let in get, side by side."""
    report = Report(machine(engine))
    print(report.machine, flush=True)
    with all_targets(scratch, engine) as targets:
        with warm_targets(scratch, engine) as warm:
            login.measure(report, [*warm, *targets], engine, rounds=5 if quick else 25)
            login.measure_rate(report, [*warm, *targets], engine, logins=16 if quick else 48)
        command.measure(report, targets, engine, rounds=20 if quick else 100)
        throughput.measure(report, targets, megabytes=100 if quick else 400, rounds=2 if quick else 5)
        tunnels.measure(report, targets, megabytes=20 if quick else 100, rounds=1 if quick else 3)
        many = 500 if quick else 5000
        files.measure(report, targets, megabytes=50 if quick else 200, files=many, rounds=1 if quick else 3)
        memory.measure(report, targets, sessions=20 if quick else 200)
    return report


def floods(scratch: Path, *, quick: bool) -> Report:
    """What those who are not let in cost."""
    report = Report(machine(None))
    with all_targets(scratch, None) as targets:
        strangers.measure_exchanges(report, targets, rounds=2 if quick else 6)
    strangers.measure_flood(report, scratch, strangers=200 if quick else 2000, rounds=10 if quick else 40)
    return report


def authentication(scratch: Path, *, quick: bool) -> Report:
    """What it costs to find out who somebody is."""
    report = Report(machine(None))
    auth.measure_webhook(report, scratch, rounds=100 if quick else 500)
    auth.measure_hashes(report, scratch, seconds=3 if quick else 10)
    return report


def recordings(scratch: Path, *, quick: bool) -> Report:
    """What recording costs."""
    report = Report(machine(None))
    megabytes, rounds = (50, 2) if quick else (200, 5)
    audit.measure(report, scratch, megabytes=megabytes, rounds=rounds, strokes=200 if quick else 1000)
    return report


def machine(engine: Engine | None) -> str:
    """Date, machine and versions in general words."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    parts = [
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}",
        f"{os.cpu_count()} cores shared by client, server and guests",
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        f"asyncssh {asyncssh.__version__}",
        ssh.strip(),
        f"engine {engine.version()}" if engine else "no container engine",
    ]
    return ", ".join(parts) + "."


@contextmanager
def an_engine(host: str) -> Iterator[Engine | None]:
    """The engine that was named, the one that answers, or a private one; None where none can be had."""
    if host:
        os.environ["DOCKER_HOST"] = host
    with ExitStack() as stack:
        try:
            engine = Engine(stack.enter_context(docker()).host)
        except pytest.skip.Exception as missing:
            print(f"Measuring without a container engine; {missing}", flush=True)
            engine = None
        if engine is not None:
            engine.make_image()
            stack.callback(engine.remove_image)
        yield engine


if __name__ == "__main__":
    main()
