"""The composition root: configuration in, services out.  Read it to know what the product is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from moorage.auth.chain import AuthChain
from moorage.auth.configserver import config_source
from moorage.backend.registry import Backends
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import ConfigError
from moorage.gateway import events
from moorage.gateway.connection import Gateway
from moorage.gateway.eventlog import log_events
from moorage.gateway.model import Address
from moorage.service import Supervisor
from moorage.ssh.hostkeys import host_keys
from moorage.ssh.server import SshServer
from moorage.state import State, default_state_directory

Ready = Callable[[Sequence[Address]], None]
"""Called with the addresses that are listened on."""


class SshService:
    """The SSH server, the gateway behind it and the guests of its logins, as one service."""

    name = "SSH server"

    def __init__(self, config: AppConfig, state: State, listeners: Sequence[events.ListenerFactory]) -> None:
        self._config = config
        self._backends = Backends(state_directory=state.directory, instance=state.instance)
        self._authenticator = AuthChain(config)
        self._source = config_source(config)
        self._gateway = Gateway(
            config,
            authenticator=self._authenticator,
            source=self._source,
            backends=self._backends.get,
            listeners=(log_events, *listeners),
        )
        keys = host_keys(config.ssh.hostkeys, state.directory / "hostkeys")
        self._server = SshServer(config.ssh, keys, self._gateway)
        self._log = structlog.get_logger()
        self.addresses: Sequence[Address] = ()

    async def start(self) -> None:
        """Listen."""
        await self._backends.start(self._config)
        self.addresses = await self._server.start()
        for address in self.addresses:
            self._log.info("The SSH service is available", code=Code.SSH_AVAILABLE, address=str(address))

    async def drain(self, timeout: float) -> None:
        """Close the listeners, let sessions end, then end them."""
        self._server.close()
        await self._gateway.drain(timeout)

    async def stop(self) -> None:
        """End every connection and guest."""
        self._server.close()
        await self._gateway.drain(0)
        await self._server.stop()
        await self._authenticator.close()
        await self._source.close()
        await self._backends.close()


def run(
    config: AppConfig,
    *,
    ready: Ready | None = None,
    reload: Callable[[], None] | None = None,
    listeners: Sequence[events.ListenerFactory] = (),
) -> None:
    """Serve until a signal ends it.  Raises `ConfigError` if the configuration cannot be put to work."""
    state = State(Path(config.state.directory) if config.state.directory else default_state_directory())

    async def serve() -> None:
        ssh = SshService(config, state, listeners)
        supervisor = Supervisor([ssh], drain_timeout=config.ssh.shutdown_timeout.total_seconds(), reload=reload)
        await supervisor.run(lambda: ready(ssh.addresses) if ready is not None else None)

    try:
        asyncio.run(serve())
    except OSError as error:
        raise ConfigError(f"the server could not start: {error}", code=Code.SSH_START_FAILED) from error
    finally:
        state.close()
