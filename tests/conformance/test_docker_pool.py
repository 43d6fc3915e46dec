"""Containers from a pool: the contract holds as it does for others, and what was started ahead is nobody's."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.engines import containers, docker_backend, engine_config
from tests.conformance.test_docker import OnDocker
from tests.parts.engine import RealEngine

from moorage.backend.docker.backend import DockerBackend
from moorage.backend.docker.ready import kind_of
from moorage.config import AppConfig
from moorage.gateway.contract import Backend
from moorage.gateway.model import Login
from moorage.testing.streams import DEADLINE
from moorage.testing.suite import run
from moorage.testing.suite_life import LifeTests

pytestmark = pytest.mark.docker

WHO_AM_I = "cat /etc/hostname; sed 's/.*) . //' /proc/1/stat | cut -d' ' -f19"
"""What tells one container from all others, and from itself started again."""


class TestPool(OnDocker, LifeTests):
    """One container stands ready."""

    def config(self) -> AppConfig:
        plain = super().config()
        return plain.model_copy(
            update={
                "docker": plain.docker.model_copy(update={"pool": plain.docker.pool.model_copy(update={"size": 1})})
            }
        )

    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        with tempfile.TemporaryDirectory(prefix="moorage-state-") as state:
            async with docker_backend(Path(state)) as backend:
                await backend.prepare(self.config())
                await self.filled(backend)
                yield backend
            assert await containers(self.real, backend) == []

    async def leftovers(self, backend: Backend) -> list[str]:
        """What stands ready, or is being made so, was not left behind by a login."""
        return [line for line in await super().leftovers(backend) if not line.startswith("/moorage-spare")]

    async def filled(self, backend: DockerBackend, config: AppConfig | None = None) -> None:
        """Returns when a container stands ready."""
        kind = kind_of((config or self.config()).docker)
        assert kind is not None
        async with asyncio.timeout(DEADLINE):
            while not backend._pool.ready(kind):
                await asyncio.sleep(0.01)

    async def spares(self, backend: Backend) -> list[str]:
        assert isinstance(backend, DockerBackend)
        return [line for line in await containers(self.real, backend) if line.startswith("/moorage-spare")]

    async def test_a_login_gets_what_stood_ready_and_another_takes_its_place(self, backend: DockerBackend) -> None:
        (before,) = await self.spares(backend)
        async with self.opened(backend) as first:
            name = before.removeprefix("/").partition(" ")[0]
            async with asyncio.timeout(DEADLINE):
                while before in await self.spares(backend):  # it is renamed
                    await asyncio.sleep(0.01)
            assert not [line for line in await containers(self.real, backend) if name in line]
            await self.filled(backend)
            assert len(await self.spares(backend)) == 1
            second = await asyncio.wait_for(backend.open(self.login(), lambda line: None), DEADLINE)
            assert (await run(first, WHO_AM_I)).stdout != (await run(second, WHO_AM_I)).stdout
            await asyncio.wait_for(second.close("over"), DEADLINE)

    async def test_it_is_named_after_its_login(self, backend: DockerBackend) -> None:
        login = self.login()
        async with self.opened(backend, login), asyncio.timeout(DEADLINE):
            while not [line for line in await containers(self.real, backend) if login.connection_id[:12] in line]:
                await asyncio.sleep(0.01)

    async def test_variables_and_files_of_the_login_are_there(self, backend: Backend) -> None:
        path = self.path("file")
        login = self.login(environment={"COURSE": "of action"}, files={path: b"content"})
        async with self.opened(backend, login) as guest:
            assert (await run(guest, f"echo $COURSE; cat {path}")).stdout == b"of action\ncontent"

    async def test_a_login_of_another_kind_gets_its_own(self, backend: DockerBackend) -> None:
        other = self.changed(host={"Memory": 64 << 20})
        async with self.opened(backend, replace(self.login(), config=other)) as guest:
            assert (await run(guest, "echo on")).stdout == b"on\n"
            await self.filled(backend)
            await self.filled(backend, other)

    async def test_one_that_died_meanwhile_is_replaced(self, backend: DockerBackend) -> None:
        (before,) = await self.spares(backend)
        await self.kill_all(backend)
        async with asyncio.timeout(DEADLINE):
            while before in await self.spares(backend):
                await asyncio.sleep(0.01)
        await self.filled(backend)
        async with self.opened(backend) as guest:
            assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_a_reconfigured_pool_keeps_the_new_kind(self, backend: DockerBackend) -> None:
        other = self.changed(host={"Memory": 64 << 20})
        backend.reconfigure(other)
        await self.filled(backend, other)

    async def test_a_companion_and_variables_do_not_go_together_with_it(self, backend: DockerBackend) -> None:
        """The container's own program would have started without them."""
        config = self.changed(idle_command=("/bin/sh", "-c", 'echo "$COURSE" >/tmp/started; exec sleep 1000'))
        backend.reconfigure(config)
        await self.filled(backend, config)
        login: Login = replace(self.login(environment={"COURSE": "first"}), config=config)
        async with self.opened(backend, login) as guest:
            until = "until [ -s /tmp/started ]; do sleep 0.05; done; cat /tmp/started"
            assert (await run(guest, until)).stdout == b"first\n"

    def changed(self, **execution: Any) -> AppConfig:
        """The suite's configuration with another execution."""
        config = self.config()
        given = config.docker.execution
        if "host" in execution:
            execution["host"] = {**given.host, **execution["host"]}
        docker = config.docker.model_copy(update={"execution": given.model_copy(update=execution)})
        return config.model_copy(update={"docker": docker})


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_closing_while_it_is_filled_leaves_nothing(
    docker_engine: RealEngine, busybox_image: str, tmp_path: Path, moment: float
) -> None:
    plain = engine_config(docker_engine, busybox_image)
    docker = plain.docker.model_copy(update={"pool": plain.docker.pool.model_copy(update={"size": 2})})
    async with docker_backend(tmp_path) as backend:
        await backend.prepare(plain.model_copy(update={"docker": docker}))
        await asyncio.sleep(moment)
    assert await containers(docker_engine, backend) == []
