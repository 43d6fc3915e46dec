"""What the conformance tests of all engines share: a backend on a real engine, and a look at what it leaves."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.parts.engine import RealEngine

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.backend import DockerBackend
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError
from moorage.backend.lease import INSTANCE
from moorage.config import AppConfig
from moorage.gateway.contract import Backend, Guest
from moorage.testing.suite import Suite


@asynccontextmanager
async def docker_backend(state: Path) -> AsyncIterator[DockerBackend]:
    """A backend of its own, closed at the end; nothing of it stays in its state directory."""
    backend = DockerBackend(state_directory=state, instance=uuid.uuid4().hex[:16])
    try:
        yield backend
    finally:
        await backend.close()
    assert set(os.listdir(state / "docker")) <= {"sweep"}


def engine_config(engine: RealEngine, image: str, **execution: Any) -> AppConfig:
    """The configuration for guests of `image` on `engine`."""
    container = {"Image": image, **execution.pop("container", {})}
    network = {} if engine.network else {"NetworkMode": "none"}
    host = {**network, **execution.pop("host", {})}
    return AppConfig.model_validate(
        {
            "backend": "docker",
            "docker": {
                "connection": {"host": engine.host},
                "execution": {"container": container, "host": host, **execution},
            },
        }
    )


async def containers(engine: RealEngine, backend: DockerBackend) -> list[str]:
    """All containers of `backend` on `engine`, running or not, as ``name state``."""
    client = Engine(EngineAddress.parse(engine.host))
    try:
        found = await client.containers([f"{INSTANCE}={backend.instance}"], timeout=10)
        return [f"{item['Names'][0]} {item['State']}" for item in found]
    finally:
        await client.close()


class OnEngine(Suite):
    """A real engine under test; a subclass says which engine, which image and how."""

    execution: ClassVar[Mapping[str, Any]] = {}
    real: RealEngine
    image: str

    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        with tempfile.TemporaryDirectory(prefix="moorage-state-") as state:
            async with docker_backend(Path(state)) as backend:
                yield backend

    def config(self) -> AppConfig:
        return engine_config(self.real, self.image, **self.execution)

    async def leftovers(self, backend: Backend) -> list[str]:
        assert isinstance(backend, DockerBackend)
        return await containers(self.real, backend)

    async def lose(self, backend: Backend, guest: Guest) -> None:
        await self.kill_all(backend)

    async def kill_all(self, backend: Backend) -> None:
        """Kill the first process of all containers of `backend`."""
        assert isinstance(backend, DockerBackend)
        client = Engine(EngineAddress.parse(self.real.host))
        try:
            for found in await client.containers([f"{INSTANCE}={backend.instance}"], timeout=10):
                with contextlib.suppress(EngineError):  # one that is on the list may be gone by now
                    await client.kill(found["Id"], "KILL", timeout=10)
        finally:
            await client.close()
