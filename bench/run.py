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

from bench import command, login, memory, throughput
from bench.engine import Engine
from bench.report import Report, write_into
from bench.targets import all_targets

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    """Measure, print the tables, and put them into the documentation unless the run was a quick one."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; the documentation is left alone")
    parser.add_argument("--engine", default="", help="unix:///path of a container engine")
    options = parser.parse_args()
    quick: bool = options.quick
    begun = time.monotonic()
    with an_engine(options.engine) as engine, tempfile.TemporaryDirectory(prefix="mb-") as scratch:
        report = Report(machine(engine))
        print(report.machine, flush=True)
        with all_targets(Path(scratch), engine) as targets:
            login.measure(report, targets, engine, rounds=5 if quick else 25)
            command.measure(report, targets, engine, rounds=20 if quick else 100)
            throughput.measure(report, targets, megabytes=100 if quick else 400, rounds=2 if quick else 5)
            memory.measure(report, targets, sessions=20 if quick else 200)
            login.measure_rate(report, targets, engine, logins=16 if quick else 48)
    print(f"\n{report.text()}\n\nTook {time.monotonic() - begun:.0f} s.")
    if not quick:
        write_into(PAGE, report.text())
    missed = sum(not ratio.met for ratio in report.ratios)
    if missed:
        print(f"{missed} of {len(report.ratios)} figures fall short of what is wanted.")


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
