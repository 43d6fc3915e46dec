"""The listener: accepts connections and ends them."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncssh
import structlog

from moorage.codes import Code
from moorage.errors import ConfigError
from moorage.gateway.model import Address
from moorage.net.accepting import Acceptor, listening_sockets
from moorage.net.networks import Networks
from moorage.ssh.addresses import address
from moorage.ssh.algorithms import SIGNATURES, chosen
from moorage.ssh.compression import NAMES
from moorage.ssh.connection import LINGER, ServerConnection
from moorage.ssh.entrance import Entrances
from moorage.ssh.hostkeys import HostCertificate, HostKeys
from moorage.ssh.refusal import RefusalTimes

if TYPE_CHECKING:
    from moorage.config.sections.ssh import SSHConfig
    from moorage.gateway.connection import Gateway

CERTIFIED = b"-cert-v01@openssh.com"


class SshServer:
    """Serves SSH on the configured addresses; each connection is the gateway's."""

    def __init__(
        self,
        config: SSHConfig,
        host_keys: HostKeys,
        gateway: Gateway,
        *,
        certificates: Sequence[HostCertificate] = (),
        rekey_bytes: int = 1 << 30,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Check the algorithms and keys; raises `ConfigError`.  Nothing is bound yet.

        Where `sockets` that listen already are given, those are served instead of the configured addresses.
        """
        self._config = config
        self._sockets = sockets
        self._refusals = RefusalTimes(config.refusal_time.total_seconds(), secrets.token_bytes(16))
        self._gateway = gateway
        self._log = structlog.get_logger()
        self._options = _options(config, host_keys, certificates, rekey_bytes)
        trusted = Networks(config.proxy_protocol_allowed_cidrs)
        timeout = config.proxy_protocol_timeout.total_seconds()
        self._entrances = Entrances(trusted, timeout, self._accept) if trusted else None
        self._acceptors: list[Acceptor] = []
        self._connections: set[ServerConnection] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def connections(self) -> Sequence[ServerConnection]:
        """The connections of which something is left."""
        return tuple(self._connections)

    async def start(self) -> Sequence[Address]:
        """Listen; returns the addresses that are bound.  Raises `OSError` if one cannot be."""
        accept = self._entrances or self._accept
        bound = list(self._sockets)
        try:
            for listen in () if self._sockets else (self._config.listen, *self._config.also_listen):
                host, _, port = listen.rpartition(":")
                bound += await listening_sockets(host.strip("[]"), int(port))
        except OSError:
            for listening in bound:
                listening.close()
            raise
        self._acceptors = [Acceptor(listening, accept, self._short_of) for listening in bound]
        return [address(acceptor.name) for acceptor in self._acceptors]

    def close(self) -> None:
        """Accept no more.  Idempotent."""
        for acceptor in self._acceptors:
            acceptor.close()

    async def stop(self) -> None:
        """End all connections; returns when nothing of them is left.  Idempotent."""
        self.close()
        if self._entrances is not None:
            self._entrances.close()
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
            self._options,
            config=self._config,
            gateway=self._gateway,
            refusals=self._refusals,
            came=self._came,
            gone=self._gone,
        )

    def _short_of(self, error: OSError) -> None:
        self._log.error(
            f"Connections have to wait: {error.strerror}; see ssh.maxConnections and the limit of open files",
            code=Code.SSH_ACCEPT_FAILED,
        )

    def _came(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        self._is_idle.clear()

    def _gone(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._is_idle.set()


def _options(
    config: SSHConfig, host_keys: HostKeys, certificates: Sequence[HostCertificate], rekey_bytes: int
) -> asyncssh.SSHServerConnectionOptions:
    algorithms = chosen(config)
    certified = {key.public_data: (key, certificate) for key, certificate in certificates}
    try:
        options = asyncssh.SSHServerConnectionOptions(
            config=[],
            server_host_keys=[certified.get(key.public_data, key) for key in host_keys],
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
        if name.removesuffix(CERTIFIED) not in allowed:
            del options.server_host_keys[name]
        elif name.endswith(CERTIFIED):
            options.server_host_keys.move_to_end(name)  # our first choice is what every client knows
    return options
