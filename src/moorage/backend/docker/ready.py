"""Containers that were started before their login came: what they have in common, and how one becomes a login's own.

The engine cannot change a container's labels and environment once it is created.  So a ready container carries
labels of nobody, its programs get the login's variables from the agent, and it is renamed to show whose it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Hashable
from dataclasses import replace

from moorage.agent.guest import AgentGuest
from moorage.agent.messages import GuestSettings
from moorage.backend.contract import CleanUps
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.backend.docker.launch import DockerLauncher, companion_of
from moorage.backend.docker.spec import container_name, environment
from moorage.config import AppConfig
from moorage.config.sections.docker import DockerConfig
from moorage.gateway.model import Address, Attempt, ConnectionId, Login


def nobodys(config: AppConfig) -> Login:
    """A login of nobody with `config`: what is made for it serves anyone of its kind, and is called ``spare…``."""
    return Login(Attempt(ConnectionId(f"spare{uuid.uuid4().hex[5:]}"), Address("", 0), "", ""), "", config)


def kind_of(config: DockerConfig) -> Hashable | None:
    """What makes two logins' containers alike; None where they cannot be made ahead."""
    execution = config.execution
    if not config.pool.size or execution.unpoolable:
        return None
    what = (
        execution.container,
        execution.host,
        execution.network,
        execution.platform,
        execution.stream,
        *companion_of(execution),
    )
    connection = config.connection
    where = (connection.host, connection.cacert, connection.cert, connection.key.get_secret_value())
    return hashlib.sha256(json.dumps([where, what], sort_keys=True, default=str).encode()).digest()


def fits(login: Login) -> bool:
    """False where a login's variables would have to be there before the container's own program starts."""
    execution = login.config.docker.execution
    return not (companion_of(execution) and environment(execution, login))


class ReadyContainer:
    """A container with a connected agent that has seen no user; what a pool holds."""

    def __init__(self, guest: AgentGuest, launcher: DockerLauncher, clean_ups: CleanUps) -> None:
        self._guest = guest
        self._launcher = launcher
        self._clean_ups = clean_ups

    @property
    def is_alive(self) -> bool:
        """The stream to its agent stands."""
        return self._guest.is_alive

    async def lost(self) -> BaseException | None:
        """Returns when it has ended."""
        return await self._guest.lost()

    async def close(self, reason: str) -> None:
        """Remove it; see `Guest.close`."""
        await self._guest.close(reason)

    async def adopt(self, login: Login, settings: GuestSettings) -> AgentGuest:
        """The guest, now that of `login`.  On failure (`BackendError`) and on cancellation it is removed."""
        config: DockerConfig = login.config.docker
        try:
            await self._guest.adopt(
                replace(settings, environment=environment(config.execution, login)),
                login.metadata.files,
                deadline=config.timeouts.container_start.total_seconds(),
            )
        except BaseException:
            await self._guest.close("it could not be made a login's own")
            raise
        self._clean_ups.begin(self._rename(login), name="docker/rename")
        return self._guest

    async def _rename(self, login: Login) -> None:
        with contextlib.suppress(EngineError, EngineUnreachableError, TimeoutError):  # it may be gone again
            await self._launcher.rename(container_name(login.config.docker.execution, login))
