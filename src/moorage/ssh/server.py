"""The listener: accepts connections and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncssh

from moorage.errors import ConfigError
from moorage.gateway.model import Address
from moorage.ssh.addresses import address
from moorage.ssh.algorithms import SIGNATURES, chosen
from moorage.ssh.compression import NAMES
from moorage.ssh.connection import LINGER, ServerConnection
from moorage.ssh.hostkeys import HostKeys

if TYPE_CHECKING:
    from moorage.config.sections.ssh import SSHConfig
    from moorage.gateway.connection import Gateway

BACKLOG = 512
"""Connections that the kernel keeps for us between accepts."""


class SshServer:
    """Serves SSH on the configured addresses; each connection is the gateway's."""

    def __init__(
        self,
        config: SSHConfig,
        host_keys: HostKeys,
        gateway: Gateway,
        *,
        rekey_bytes: int = 1 << 30,
    ) -> None:
        """Check the algorithms and keys; raises `ConfigError`.  Nothing is bound yet."""
        self._config = config
        self._gateway = gateway
        self._options = _options(config, host_keys, rekey_bytes)
        self._listeners: list[asyncio.Server] = []
        self._connections: set[ServerConnection] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def connections(self) -> Sequence[ServerConnection]:
        """The connections of which something is left."""
        return tuple(self._connections)

    async def start(self) -> Sequence[Address]:
        """Listen; returns the addresses that are bound.  Raises `OSError` if one cannot be."""
        loop = asyncio.get_running_loop()
        host, _, port = self._config.listen.rpartition(":")
        listener = await loop.create_server(self._accept, host.strip("[]") or None, int(port), backlog=BACKLOG)
        self._listeners.append(listener)
        return [address(socket.getsockname()) for socket in listener.sockets]

    def close(self) -> None:
        """Accept no more.  Idempotent."""
        for listener in self._listeners:
            listener.close()

    async def stop(self) -> None:
        """End all connections; returns when nothing of them is left.  Idempotent."""
        self.close()
        for connection in self.connections:
            connection.say_goodbye("The server is shutting down.")
        try:
            async with asyncio.timeout(LINGER):
                await self._is_idle.wait()
        except TimeoutError:
            for connection in self.connections:
                connection.abort_now()
            await self._is_idle.wait()

    def _accept(self) -> ServerConnection:
        # Not counted yet: the loop may drop what it has accepted before it makes the connection.
        return ServerConnection(
            self._options, config=self._config, gateway=self._gateway, came=self._came, gone=self._gone
        )

    def _came(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        self._is_idle.clear()

    def _gone(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._is_idle.set()


def _options(config: SSHConfig, host_keys: HostKeys, rekey_bytes: int) -> asyncssh.SSHServerConnectionOptions:
    algorithms = chosen(config)
    try:
        options = asyncssh.SSHServerConnectionOptions(
            config=[],
            server_host_keys=list(host_keys),
            server_version=config.server_version.removeprefix("SSH-2.0-"),
            kex_algs=list(algorithms.kex),
            encryption_algs=list(algorithms.ciphers),
            mac_algs=list(algorithms.macs),
            compression_algs=list(NAMES) if config.compression else ["none"],
            signature_algs=list(SIGNATURES),
            login_timeout=config.login_grace_time.total_seconds(),
            rekey_bytes=rekey_bytes,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            gss_host=None,
            x509_trusted_certs=None,
            host_based_auth=False,
            kbdint_auth=False,
        )
    except ValueError as error:
        raise ConfigError(f"ssh: {error}") from error
    allowed = {name.encode() for name in SIGNATURES}
    for name in list(options.server_host_keys):
        if name not in allowed:
            del options.server_host_keys[name]
    return options
