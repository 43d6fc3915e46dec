"""How long a login takes, from the start of the client to the first byte of output, and how many fit in a second."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.engine import Engine
from bench.report import Report, Sample
from bench.targets import Target


def measure(report: Report, targets: Sequence[Target], engine: Engine | None, *, rounds: int) -> None:
    """One login after the other, the targets by turns, so that a drift of the machine meets all of them."""
    seconds: dict[str, list[float]] = {target.name: [] for target in targets}
    after: dict[str, list[float]] = {target.name: [] for target in targets}
    started: list[float] = []
    for turn in range(rounds + 1):
        for target in targets:
            target.settle()
            whole, part = _first_output(target)
            target.settle()
            if turn:  # the first round warms the caches
                seconds[target.name].append(whole)
                after[target.name].append(part)
        if engine is not None:
            start, first = engine.first_login(["echo", "hi"])
            if turn:
                started.append(start)
                seconds.setdefault("engine", []).append(first)
    samples = {name: Sample(values) for name, values in seconds.items()}
    parts = {name: Sample(values) for name, values in after.items()}
    report.times("login to first output, ms (median / p95)", samples)
    report.times("of it after authentication, ms", parts)
    if engine is not None:
        floor = Sample(started)
        report.times("the engine's create + start alone, ms", {"engine": floor})
        report.at_most("login, docker : create + start", samples["docker"].median / floor.median, 1.25)
        report.at_most(
            "login after authentication, docker : create + start", parts["docker"].median / floor.median, 1.25
        )
        report.at_most("login, docker, p95 : median", samples["docker"].p95 / samples["docker"].median, 2)
        report.at_most("login, warm : sshd", samples["warm"].median / samples["sshd"].median, 0.3)
        report.at_most("login, warm, p95 : 100 ms", samples["warm"].p95 / 0.1, 1)
    report.at_most("login, sandbox : sshd", samples["sandbox"].median / samples["sshd"].median, 1)
    report.at_most("login, sandbox, p95 : median", samples["sandbox"].p95 / samples["sandbox"].median, 2)


def measure_rate(report: Report, targets: Sequence[Target], engine: Engine | None, *, logins: int) -> None:
    """Whole logins a second, eight at a time."""
    rates: dict[str, float] = {}
    for target in targets:
        target.settle()
        with ThreadPoolExecutor(8) as pool:
            begun = time.perf_counter()
            for done in pool.map(lambda _, client=target.client: client.run("true"), range(logins)):
                if done.returncode:
                    raise RuntimeError(f"{target.name}: {done.stderr!r}")
            rates[target.name] = logins / (time.perf_counter() - begun)
        target.settle()
    if engine is not None:
        host = engine.host
        with ThreadPoolExecutor(8) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda _: Engine(host).first_login(["echo", "hi"]), range(logins)))
            rates["engine"] = logins / (time.perf_counter() - begun)
        report.at_least("logins a second, warm : raw engine API", rates["warm"] / rates["engine"], 4)
    report.figure("logins a second, 8 at a time", {name: f"{rate:.1f}" for name, rate in rates.items()})


def _first_output(target: Target) -> tuple[float, float]:
    """Seconds until ``ssh host echo hi`` has given its first byte: from its start, and from its authentication."""
    command = target.client.command("echo", "hi", options=["LogLevel=VERBOSE"])
    pipe = subprocess.PIPE
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=target.client.environment
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        said = b""
        while b"Authenticated to" not in said:
            line = client.stderr.readline()
            if not line:
                raise RuntimeError(f"{target.name}: no login: {said!r}")
            said += line
        authenticated = time.perf_counter()
        first = client.stdout.read(1)
        ended = time.perf_counter()
        client.communicate()
    if first != b"h" or client.returncode:
        raise RuntimeError(f"{target.name}: the login gave {first!r} and status {client.returncode}")
    return ended - begun, ended - authenticated
