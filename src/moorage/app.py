"""The composition root: configuration in, services out.  Read it to know what the product is made of."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from moorage import log
from moorage.audit.recorder import recorder
from moorage.audit.stream.service import EventStream
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
from moorage.gateway.eventtraces import Traces
from moorage.gateway.model import Address
from moorage.metrics import Metrics
from moorage.net.activation import ServiceManager, inherited_sockets
from moorage.net.geoip import Countries, countries
from moorage.reload import reloaded
from moorage.service import Service, Supervisor
from moorage.ssh.hostkeys import host_certificates, host_keys
from moorage.ssh.server import SshServer
from moorage.state import State, default_state_directory
from moorage.web.admin import DIRECTORY, AdminServer, Connections

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
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Put everything together; raises `ConfigError` for what cannot be had.  Nothing is bound yet."""
        self._config = config
        self._country = countries(config.geoip)
        observer = HookMetrics(metrics, config, country=self._country) if metrics else None
        if metrics:
            listeners = (event_metrics(metrics, backend=config.backend, country=self._country), *listeners)
        self._backends = Backends(
            state_directory=state.directory,
            instance=state.instance,
            observer=partial(RequestMetrics, metrics) if metrics else None,
        )
        self._events: EventStream | None = None
        if config.audit.events:
            self._events = EventStream(config.audit.events, country=self._country, metrics=metrics)
            listeners = (self._events.listener, *listeners)
        files_of = self._events.files if self._events is not None else None
        self._recorder = recorder(config.audit, country=self._country, files_of=files_of)
        self._authenticator = AuthChain(config, observer=observer)
        self._source = config_source(config, observer=observer)
        self._gateway = Gateway(
            config,
            authenticator=self._authenticator,
            source=self._source,
            backends=self._backends.get,
            listeners=(log_events, *listeners),
            recorder=self._recorder,
        )
        keys = host_keys(config.ssh.hostkeys, state.directory / "hostkeys")
        certificates = host_certificates(config.ssh.host_certificates, keys)
        self._server = SshServer(config.ssh, keys, self._gateway, certificates=certificates, sockets=sockets)
        self._log = structlog.get_logger()
        self.addresses: Sequence[Address] = ()

    async def start(self) -> None:
        """Listen."""
        if self._events is not None:
            await self._events.start()
        if self._recorder is not None:
            await self._recorder.start()
        await self._backends.start(self._config)
        self.addresses = await self._server.start()
        for address in self.addresses:
            self._log.info("The SSH service is available", code=Code.SSH_AVAILABLE, address=str(address))

    def end(self, identifier: str, text: str) -> bool:
        """End the connection `identifier`, telling its user `text`; False if there is none."""
        for connection in self._gateway.connections:
            if connection.id == identifier:
                self._log.info("An operator ends a connection", code=Code.SSH_DISCONNECTED, connectionId=identifier)
                connection.end(text)
                return True
        return False

    def reload(self, read: Read) -> None:
        """Read the configuration again and take what may change; one that cannot be used changes nothing."""
        try:
            config, fixed = reloaded(self._config, read())
            self._backends.reconfigure(config)
        except ConfigError as error:
            self._log.error(f"The configuration stays as it was: {error}", code=error.code)
            return
        self._config = config
        self._gateway.reconfigure(config)
        log.configure(level=config.log.level, format=config.log.format)
        if isinstance(self._country, Countries):
            self._country.reopen()
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
        if self._recorder is not None:
            await self._recorder.stop()
        if self._events is not None:
            await self._events.stop()
        await self._authenticator.close()
        await self._source.close()
        await self._backends.close()
        if isinstance(self._country, Countries):
            self._country.close()


class TracingService:
    """Traces of all connections; stands first, so that it is stopped when the last connection has ended."""

    name = "tracing"

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def start(self) -> None:
        """Nothing is to be done: the first trace starts it."""

    async def drain(self, timeout: float) -> None:
        """Go on: what drains is traced."""

    async def stop(self) -> None:
        """Send what is to be sent.  Idempotent."""
        await asyncio.to_thread(self._traces.close)


def _services(config: AppConfig, ssh: SshService, metrics: Metrics | None) -> list[Service]:
    """What is started, in this order, and drained and stopped from its end."""
    services: list[Service] = [ssh]
    if metrics is not None:
        from moorage.web.metrics import MetricsServer

        services = [MetricsServer(config.metrics, metrics), *services]
    interactive = config.auth.keyboard_interactive
    if interactive.method == "oauth2" and interactive.oauth2.has_code_flow:
        from moorage.web.oauth2 import RedirectServer

        services = [RedirectServer(interactive.oauth2.redirect), *services]
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
    manager = ServiceManager(os.environ)
    sockets = inherited_sockets(os.environ, pid=os.getpid())
    state = State(Path(config.state.directory) if config.state.directory else default_state_directory())

    async def serve() -> None:
        metrics = Metrics() if config.metrics.enable else None
        traces = Traces(config.tracing) if config.tracing.enable else None
        connections = Connections()
        heard_by = (*listeners, connections.listener, *((traces.listener,) if traces else ()))
        ssh = SshService(config, state, heard_by, metrics, sockets)
        socket_path = state.directory / DIRECTORY / f"{state.instance}.sock"
        services = [AdminServer(socket_path, connections, ssh.end), *_services(config, ssh, metrics)]
        supervisor = Supervisor(
            [TracingService(traces), *services] if traces else services,
            drain_timeout=config.ssh.shutdown_timeout.total_seconds(),
            reload=lambda: ssh.reload(read) if read is not None else None,
            tell=manager.tell,
        )
        await supervisor.run(lambda: ready(ssh.addresses) if ready is not None else None)

    try:
        asyncio.run(serve())
    except OSError as error:
        raise ConfigError(f"the server could not start: {error}", code=Code.SSH_START_FAILED) from error
    finally:
        state.close()
