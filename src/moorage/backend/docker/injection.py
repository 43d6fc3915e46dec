"""How the agent gets into a container and its stream out of it: by a mounted directory, or by a volume and attach.

A shared file system allows the fast way, a `Door`: one directory, mounted read-only, holds the agent and a
socket that it dials.  Every other engine gets an `AgentVolume`, filled once over the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
import shutil
import socket
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from moorage.agent.install import agent_binary
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError
from moorage.backend.docker.spec import Injection
from moorage.net.unixsocket import short_address

TARGET: Final = "/.moorage"
"""Where the agent stands in a container."""

_AGENT: Final = "agent"
_SOCKET: Final = "socket"
_COMPLETE: Final = "complete"
_TAR_END: Final = 1024


class Doors:
    """Makes the doors of all guests of this process, below one private directory."""

    def __init__(self, directory: Path) -> None:
        """`directory` must be ours alone: whoever can reach a door from outside could play the agent."""
        self._directory = directory
        self._agents: dict[str, Path] = {}
        self._count = 0

    def open(self, architecture: str) -> Door:
        """A fresh door with the agent for `architecture`; raises `OSError` and `BackendError`."""
        self._count += 1
        return Door(self._directory / str(self._count), self._agent(architecture))

    def _agent(self, architecture: str) -> Path:
        # A copy on the same file system can be hard-linked into every door, and shares its pages.
        if architecture not in self._agents:
            path = self._directory / f"{_AGENT}-{architecture}"
            shutil.copyfile(agent_binary(architecture), path)
            path.chmod(0o555)
            self._agents[architecture] = path
        return self._agents[architecture]


class Door:
    """One guest's directory.  Its socket accepts one connection and is then unlinked."""

    def __init__(self, directory: Path, agent: Path) -> None:
        self._directory = directory
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            directory.mkdir()
            directory.chmod(0o755)  # any user of the guest may pass; on the host the parent stops them
            (directory / _AGENT).hardlink_to(agent)
            self._bind()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        with short_address(self._directory / _SOCKET) as address:
            self._listener.bind(address)
        (self._directory / _SOCKET).chmod(0o666)
        self._listener.listen(1)

    @property
    def injection(self) -> Injection:
        """What the container needs."""
        return Injection(
            mount={"Type": "bind", "Source": str(self._directory), "Target": TARGET, "ReadOnly": True},
            command=(f"{TARGET}/{_AGENT}", "serve", "--dial", f"{TARGET}/{_SOCKET}"),
            is_attached=False,
        )

    async def accept(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Connect `protocol` to the agent that dials; nobody else can from then on."""
        connection = await self._accepted()
        try:
            self._listener.close()
            (self._directory / _SOCKET).unlink(missing_ok=True)
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        except BaseException:
            connection.close()
            raise

    async def _accepted(self) -> socket.socket:
        """The connection.  The loop's own `sock_accept` loses one that comes in the moment in which it is cancelled."""
        loop, waiting = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._listener, waiting.set)
        try:
            while True:
                await waiting.wait()
                waiting.clear()
                with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                    return self._listener.accept()[0]
        finally:
            loop.remove_reader(self._listener)

    def close(self) -> None:
        """Remove the directory.  Idempotent."""
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class AgentVolumes:
    """Keeps one volume with the agent on an engine, for each architecture, filled on first use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._filled: dict[str, str] = {}
        self._filling = asyncio.Lock()

    async def injection(
        self, architecture: str, *, image: str, platform: str, labels: Mapping[str, str], timeout: float
    ) -> Injection:
        """What a container needs; `image` is any image of that architecture that the engine has."""
        async with self._filling:
            if architecture not in self._filled:
                self._filled[architecture] = await self._fill(architecture, image, platform, labels, timeout)
        return Injection(
            mount=_volume_mount(self._filled[architecture], read_only=True),
            command=(f"{TARGET}/{_AGENT}", "serve"),
            is_attached=True,
        )

    def forget(self) -> None:
        """Look again at the next use: somebody may have removed a volume."""
        self._filled.clear()

    async def _fill(
        self, architecture: str, image: str, platform: str, labels: Mapping[str, str], timeout: float
    ) -> str:
        agent = agent_binary(architecture).read_bytes()
        volume = f"moorage-agent-{architecture}-{hashlib.sha256(agent).hexdigest()[:16]}"
        await self._engine.ensure_volume(volume, {"moorage_agent": architecture}, timeout=timeout)
        # A container is the only door to a volume; this one is never started.
        name = f"moorage-fill-{secrets.token_hex(6)}"
        body = {
            "Image": image,
            "Entrypoint": [f"{TARGET}/{_AGENT}"],
            "Cmd": [],
            "Labels": dict(labels),
            "HostConfig": {"Mounts": [_volume_mount(volume, read_only=False)], "NetworkMode": "none"},
        }
        creating = asyncio.ensure_future(self._engine.create(name, body, platform=platform, timeout=timeout))
        try:
            await asyncio.shield(creating)
            if not await self._is_complete(name, timeout):
                try:
                    await self._engine.put_archive(name, TARGET, _archive(agent), timeout=timeout)
                except EngineError:
                    # Podman may complain about an archive that it has unpacked to its end.
                    if not await self._is_complete(name, timeout):
                        raise
        finally:
            await asyncio.shield(asyncio.ensure_future(self._discard(creating, name, timeout)))
        return volume

    async def _is_complete(self, container: str, timeout: float) -> bool:
        return await self._engine.has_path(container, f"{TARGET}/{_COMPLETE}", timeout=timeout)

    async def _discard(self, creating: asyncio.Future[str], name: str, timeout: float) -> None:
        await asyncio.wait([creating])
        if not creating.cancelled() and creating.exception() is None:
            await self._engine.remove(name, timeout=timeout)


def _volume_mount(name: str, *, read_only: bool) -> dict[str, object]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": TARGET,
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},
    }


def _archive(agent: bytes) -> bytes:
    """The agent and, after it, the mark that says that all of it is there."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, mode in ((_AGENT, agent, 0o555), (_COMPLETE, b"", 0o444)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
        end = archive.offset + _TAR_END
    # Without tar's padding: a reader that stops at the end mark breaks the pipe for an engine that still writes.
    return buffer.getvalue()[:end]
