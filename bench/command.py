"""How long a further command takes on a connection that is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncssh

from bench.engine import Engine
from bench.report import Report, Sample
from bench.targets import Target


def measure(report: Report, targets: Sequence[Target], engine: Engine | None, *, rounds: int) -> None:
    """A command from its request to its exit status, by one client library everywhere; the engine by its exec."""
    seconds = asyncio.run(_commands(targets, rounds))
    if engine is not None:
        seconds["engine"] = _execs(engine, rounds)
    samples = {name: Sample(values) for name, values in seconds.items()}
    report.times("command on an open connection, ms (median / p95)", samples)
    for name in ("docker", "sandbox"):
        if name in samples:
            if "engine" in samples:
                report.at_most(f"command, {name} : engine exec", samples[name].median / samples["engine"].median, 0.3)
            report.at_most(f"command, {name}, p95 : median", samples[name].p95 / samples[name].median, 2)


async def _commands(targets: Sequence[Target], rounds: int) -> dict[str, list[float]]:
    connections = {target.name: await connect(target) for target in targets}
    seconds: dict[str, list[float]] = {name: [] for name in connections}
    for turn in range(rounds + 3):
        for name, connection in connections.items():
            begun = time.perf_counter()
            done = await connection.run("echo hi", encoding=None)
            if turn >= 3:
                seconds[name].append(time.perf_counter() - begun)
            if done.stdout != b"hi\n" or done.exit_status != 0:
                raise RuntimeError(f"{name}: the command gave {done.stdout!r} and status {done.exit_status}")
    for connection in connections.values():
        connection.close()
        await connection.wait_closed()
    return seconds


async def connect(target: Target) -> asyncssh.SSHClientConnection:
    """A connection to `target` by the client library."""
    return await asyncssh.connect(
        "127.0.0.1",
        target.client.port,
        username=target.client.user,
        client_keys=[str(target.client.key)],
        known_hosts=None,
        agent_path=None,
        config=None,
        connect_timeout=60,
        login_timeout=60,
    )


def _execs(engine: Engine, rounds: int) -> list[float]:
    container = engine.create(["cat"])
    seconds = []
    try:
        engine.start(container)
        with engine.attach(container):
            for _ in range(rounds):
                begun = time.perf_counter()
                engine.execute(container, ["echo", "hi"])
                seconds.append(time.perf_counter() - begun)
    finally:
        engine.remove(container)
    return seconds
