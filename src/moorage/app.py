"""The composition root: configuration in, services out.  Read it to know what the product is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from moorage import log
from moorage.auth.chain import AuthChain
from moorage.auth.configserver import config_source
from moorage.auth.observer import HookMetrics
from moorage.backend.observer import RequestMetrics
from moorage.backend.registry import Backends
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import ConfigError
from moorage.gateway import events
from moorage.gateway.connection import Gateway
from moorage.gateway.eventlog import log_events
from moorage.gateway.eventmetrics import event_metrics
from moorage.gateway.model import Address
from moorage.metrics import Metrics
from moorage.reload import reloaded
from moorage.service import Service, Supervisor
from moorage.ssh.hostkeys import host_keys
from moorage.ssh.server import SshServer
from moorage.state import State, default_state_directory

Ready = Callable[[Sequence[Address]], None]
"""Called with the addresses that are listened on."""

Read = Callable[[], AppConfig]
"""Reads the configuration again; raises `ConfigError`."""


class SshService:
    """The SSH server, the gateway behind it and the guests of its logins, as one service."""

    name = "SSH server"

    def __init__(
        self,
        config: AppConfig,
        state: State,
        listeners: Sequence[events.ListenerFactory] = (),
        metrics: Metrics | None = None,
    ) -> None:
        """Put everything together; raises `ConfigError` for what cannot be had.  Nothing is bound yet."""
        self._config = config
        observer = HookMetrics(metrics, config) if metrics else None
        if metrics:
            listeners = (event_metrics(metrics, backend=config.backend), *listeners)
        self._backends = Backends(
            state_directory=state.directory,
            instance=state.instance,
            observer=partial(RequestMetrics, metrics) if metrics else None,
        )
        self._authenticator = AuthChain(config, observer=observer)
        self._source = config_source(config, observer=observer)
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

    def reload(self, read: Read) -> None:
        """Read the configuration again and take what may change; one that cannot be used changes nothing."""
        try:
            config, fixed = reloaded(self._config, read())
        except ConfigError as error:
            self._log.error(f"The configuration stays as it was: {error}", code=error.code)
            return
        self._config = config
        self._gateway.reconfigure(config)
        log.configure(level=config.log.level, format=config.log.format)
        self._log.info("The configuration was read again", code=Code.CONFIG_RELOADED)
        if fixed:
            self._log.warning("These keys need a restart to change", code=Code.CONFIG_RELOADED, keys=", ".join(fixed))

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


def _services(config: AppConfig, ssh: SshService, metrics: Metrics | None) -> list[Service]:
    """What is started, in this order, and drained and stopped from its end."""
    services: list[Service] = [ssh]
    if metrics is not None:
        from moorage.web.metrics import MetricsServer

        services = [MetricsServer(config.metrics, metrics), *services]
    if config.health.enable:
        from moorage.web.health import Health, HealthServer

        health = Health()
        services = [HealthServer(config.health, health), *services, health]
    return services


def run(
    config: AppConfig,
    *,
    ready: Ready | None = None,
    read: Read | None = None,
    listeners: Sequence[events.ListenerFactory] = (),
) -> None:
    """Serve until a signal ends it; HUP makes it `read` the configuration again.

    Raises `ConfigError` if the configuration cannot be put to work.
    """
    state = State(Path(config.state.directory) if config.state.directory else default_state_directory())

    async def serve() -> None:
        metrics = Metrics() if config.metrics.enable else None
        ssh = SshService(config, state, listeners, metrics)
        supervisor = Supervisor(
            _services(config, ssh, metrics),
            drain_timeout=config.ssh.shutdown_timeout.total_seconds(),
            reload=lambda: ssh.reload(read) if read is not None else None,
        )
        await supervisor.run(lambda: ready(ssh.addresses) if ready is not None else None)

    try:
        asyncio.run(serve())
    except OSError as error:
        raise ConfigError(f"the server could not start: {error}", code=Code.SSH_START_FAILED) from error
    finally:
        state.close()
