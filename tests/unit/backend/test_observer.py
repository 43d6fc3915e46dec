"""The requests of backends are counted, and told to an observer by those that can."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.unit.backend.docker.actors import ScriptedEngine, answer, hang, scripted_engine

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.backend import DockerBackend
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError
from moorage.backend.observer import RequestMetrics, RequestObserver, counted
from moorage.backend.registry import Backends
from moorage.backend.sandbox import SandboxBackend
from moorage.metrics import Metrics

DEADLINE = 10.0


def counts(metrics: Metrics, backend: str = "docker") -> tuple[float, ...]:
    """Requests and errors."""
    lines = dict(line.rsplit(" ", 1) for line in metrics.exposition()[0].decode().splitlines())
    names = (f'containerssh_backend_{what}_total{{backend="{backend}"}}' for what in ("requests", "errors"))
    return tuple(float(lines[name]) for name in names)


class Something:
    def __init__(self, metrics: Metrics) -> None:
        self.observer: RequestObserver = RequestMetrics(metrics, "docker")

    @counted
    async def ask(self, failure: BaseException | None = None) -> str:
        if failure is not None:
            raise failure
        return "answer"


async def test_a_request_counts_and_a_failure_twice_but_not_a_cancellation() -> None:
    metrics = Metrics()
    asked = Something(metrics)
    assert counts(metrics) == (0, 0)
    assert await asked.ask() == "answer"
    with pytest.raises(KeyError):
        await asked.ask(KeyError())
    with pytest.raises(asyncio.CancelledError):
        await asked.ask(asyncio.CancelledError())
    assert counts(metrics) == (3, 1)
    timed = 'moorage_backend_request_duration_seconds_count{backend="docker",request="ask"} 3.0'
    assert timed in metrics.exposition()[0].decode().splitlines()


async def observed(scripted: ScriptedEngine) -> tuple[Engine, Metrics]:
    metrics = Metrics()
    return Engine(EngineAddress.parse(scripted.host), observer=RequestMetrics(metrics, "docker")), metrics


async def test_an_engine_counts_what_guests_need_and_nothing_else(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as scripted:
        engine, metrics = await observed(scripted)
        scripted.on("^GET /images", answer(404, {"message": "no such image"}))
        scripted.on("^POST /containers/x/start", answer(500, {"message": "no"}))
        scripted.on("^POST /containers/x/(kill|resize)", answer(204))
        assert await engine.image("x", timeout=DEADLINE) is None
        with pytest.raises(EngineError):
            await engine.start("x", timeout=DEADLINE)
        await engine.kill("x", "HUP", timeout=DEADLINE)
        await engine.resize("x", columns=80, rows=24, timeout=DEADLINE)
        await engine.close()
        assert counts(metrics) == (2, 1)


async def test_an_engine_that_says_nothing_in_time_has_failed(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as scripted:
        engine, metrics = await observed(scripted)
        scripted.on("^POST /containers/x/start", hang)
        with pytest.raises(TimeoutError):
            await engine.start("x", timeout=0.05)
        await engine.close()
        assert counts(metrics) == (1, 1)


async def test_backends_are_given_an_observer_of_their_name(tmp_path: Path) -> None:
    metrics = Metrics()
    backends = Backends(state_directory=tmp_path, instance="i", observer=partial(RequestMetrics, metrics))
    docker, sandbox = backends.get("docker"), backends.get("sandbox")
    assert isinstance(docker, DockerBackend)
    assert isinstance(sandbox, SandboxBackend)
    assert counts(metrics, "docker") == counts(metrics, "sandbox") == (0, 0)
    await backends.close()
