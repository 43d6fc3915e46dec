"""The conformance suite against the agent as a bare child process: the agent and its link, and nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.gateway.contract import Backend, Guest
from moorage.testing.backend import BackendConformance
from moorage.testing.host import HostBackend


class TestHost(BackendConformance):
    has_perl = shutil.which("perl") is not None

    @pytest.fixture
    async def backend(self) -> AsyncIterator[HostBackend]:
        agent = os.environ.get("MOORAGE_TEST_AGENT")
        backend = HostBackend(Path(agent) if agent else None)
        yield backend
        await backend.close()
        for child in backend.agents.values():
            await asyncio.to_thread(child.wait)

    async def leftovers(self, backend: Backend) -> list[str]:
        assert isinstance(backend, HostBackend)
        return backend.leftovers()

    async def lose(self, backend: Backend, guest: Guest) -> None:
        assert isinstance(backend, HostBackend)
        backend.agents[guest].kill()
