"""A server with an in-process guest, and real clients for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.unit.ssh.fakes import FakeGateway, settings

from moorage.ssh.server import SshServer

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


@dataclass
class Served:
    """A running server."""

    server: SshServer
    gateway: FakeGateway
    port: int
    directory: Path
    key: Path

    async def ssh(self, *arguments: str, input: bytes | None = None, deadline: float = 30) -> Finished:  # noqa: A002
        """Run OpenSSH's client to its end."""
        process = await self.spawn(*arguments)
        try:
            async with asyncio.timeout(deadline):
                out, err = await process.communicate(input if input is not None else b"")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Finished(process.returncode, out, err)

    async def spawn(self, *arguments: str, environment: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
        """Start OpenSSH's client, logged in by key."""
        return await asyncio.create_subprocess_exec(
            "ssh",
            *("-F", "none", "-i", str(self.key), "-p", str(self.port), "-l", "alice"),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.directory}/known"),
            *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **(environment or {})},
        )

    def client(self, **options: Any) -> Any:
        """Connect asyncssh's client, by password unless said otherwise."""
        given = {
            "known_hosts": None,
            "username": "alice",
            "password": "secret",
            "client_keys": None,
            "agent_path": None,
            "config": [],
            **options,
        }
        return asyncssh.connect("127.0.0.1", self.port, **given)


@dataclass(frozen=True)
class Finished:
    """How a client ended."""

    code: int
    out: bytes
    err: bytes


class RawChannel(asyncssh.channel.SSHClientChannel[bytes]):
    """A session channel on which a test says each request itself."""

    status: int | None = None

    def __init__(self, client: Any, *, window: int = 65536) -> None:
        super().__init__(client, client._loop, "strict", None, "strict", window, 32768)

    async def open(self) -> None:
        """Open it, or raise `ChannelOpenError`."""
        await self._open(b"session")
        self._session = asyncssh.SSHClientSession()
        self._recv_paused = False

    async def ask(self, request: bytes, payload: bytes = b"") -> bool:
        """Send a request and wait for its answer."""
        return bool(await self._make_request(request, payload))

    def _process_exit_status_request(self, packet: asyncssh.packet.SSHPacket) -> bool:
        self.status = packet.get_uint32()
        return True


Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts servers; keyword arguments go to the ``ssh`` section."""
    servers: list[SshServer] = []
    gateways: list[FakeGateway] = []

    async def start(
        gateway: FakeGateway | None = None,
        *,
        keys: Any = (HOST_KEY,),
        certificates: Any = (),
        rekey_bytes: int = 1 << 30,
        **changes: Any,
    ) -> Served:
        gateway = gateway or FakeGateway()
        key = asyncssh.generate_private_key("ssh-ed25519")
        path = tmp_path / f"id{len(servers)}"
        path.write_bytes(key.export_private_key())
        path.chmod(0o600)
        gateway.keys.add(key.export_public_key().decode().strip())
        more: Any = {"rekey_bytes": rekey_bytes, "certificates": certificates}
        server = SshServer(settings(**changes), list(keys), gateway, **more)  # type: ignore[arg-type]
        servers.append(server)
        gateways.append(gateway)
        (bound,) = await server.start()
        return Served(server, gateway, bound.port, tmp_path, path)

    yield start
    for server in servers:
        async with asyncio.timeout(10):
            await server.stop()
    for gateway in gateways:
        for listener in gateway.listeners:
            await listener.close()
        for process in gateway.processes:
            process.close()
            await asyncio.wait({process.task})
    assert [t for t in asyncio.all_tasks() if t.get_name().startswith("conn/")] == []


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A running server with default settings."""
    return await serve()  # type: ignore[no-any-return]
