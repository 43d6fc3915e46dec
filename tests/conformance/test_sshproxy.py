"""The backend contract on a real OpenSSH server behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.parts.sshd import Sshd, sshd

from moorage.backend.sshproxy import SSHProxyBackend
from moorage.config import AppConfig
from moorage.gateway.contract import Backend, Guest
from moorage.testing.backend import BackendConformance


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """The server behind, for all tests of the module."""
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


class TestOpenSSH(BackendConformance):
    """On OpenSSH's server."""

    has_jail = False
    has_agent = False
    has_perl = True
    settings: dict[str, Any] = {}

    @pytest.fixture
    async def backend(self, behind: Sshd, tmp_path: Path) -> AsyncIterator[Backend]:
        self.behind = behind
        backend = SSHProxyBackend(state_directory=tmp_path, instance="conformance")
        yield backend
        await backend.close()

    def config(self) -> AppConfig:
        return AppConfig.model_validate({"backend": "sshproxy", "sshproxy": self.behind.settings(**self.settings)})

    async def leftovers(self, backend: Backend) -> list[str]:
        import asyncio

        for _ in range(100):  # sshd takes a moment to end what it has started
            if not self.behind.sessions():
                return []
            await asyncio.sleep(0.05)
        return [f"{pid}: {line}" for pid, line in self.behind.sessions().items()]

    async def lose(self, backend: Backend, guest: Guest) -> None:
        self.behind.cut()
