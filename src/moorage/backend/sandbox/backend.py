"""Guests by bubblewrap: a namespace of one's own on the host's system, in ten milliseconds and without a daemon.

For demonstrations, tests and trusted teaching.  The kernel is shared and there is no image:
it keeps users apart who mean no harm; it is no wall against an attacker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path

import structlog

from moorage.agent.guest import AgentGuest, GuestSettings
from moorage.agent.install import agent_binary, machine_architecture
from moorage.agent.link import AgentLink
from moorage.backend.sandbox.bubblewrap import Command, GuestSystem, command
from moorage.backend.sandbox.child import Child
from moorage.backend.sandbox.limits import ControlGroup, UserIds, confined, is_root, sweep
from moorage.codes import Code
from moorage.config import SandboxConfig
from moorage.errors import BackendError
from moorage.gateway.contract import Guest, Progress
from moorage.gateway.model import Login

_LAST_GASP = 2.0
"""Seconds that a guest has to end by itself once its stream is closed."""


class SandboxBackend:
    """Opens sandboxes.  Needs the program ``bwrap`` (bubblewrap)."""

    def __init__(self, *, state_directory: Path, instance: str) -> None:
        del state_directory  # a sandbox leaves nothing on disk
        self._instance = instance
        self._uids = UserIds()
        self._count = 0
        self._log = structlog.get_logger()
        sweep()

    async def open(self, login: Login, progress: Progress) -> Guest:
        """A fresh sandbox for `login`; see `moorage.gateway.contract.Backend.open`."""
        del progress  # there is nothing to wait for
        config = login.config.sandbox
        program = shutil.which("bwrap")
        if program is None:
            raise _failure("bubblewrap is not installed; install it (apt-get install bubblewrap)")
        self._count += 1
        sandbox = Sandbox(self._uids, f"{self._instance}-{self._count}")
        try:
            async with asyncio.timeout(config.timeouts.start.total_seconds()):
                return await sandbox.open(program, login)
        except TimeoutError as error:
            raise _failure(f"the sandbox was not ready in time{sandbox.complaint()}") from error
        except OSError as error:
            raise _failure(f"the sandbox could not be started: {error}{sandbox.complaint()}") from error

    async def close(self) -> None:
        """There is nothing shared to let go of."""


class Sandbox:
    """One sandbox: its process, its control group, its user id."""

    def __init__(self, uids: UserIds, name: str) -> None:
        self._uids = uids
        self._name = name
        self._uid: int | None = None
        self._group = ControlGroup(())
        self._child: Child | None = None
        self._link: AgentLink | None = None
        self._said = ""

    async def open(self, program: str, login: Login) -> Guest:
        """Start it and greet its agent.  On any failure, cancellation included, nothing is left."""
        config = login.config.sandbox
        try:
            ours = self._start(program, login)
            loop = asyncio.get_running_loop()
            self._link = AgentLink()
            await loop.create_connection(lambda: self._link, sock=ours)
            await self._link.greet()
            guest = AgentGuest(self._link, destroy=self.destroy, settings=_settings(config))
            await guest.write_files(login.metadata.files)
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self.destroy("the sandbox could not be opened")))
            if isinstance(error, BackendError):
                raise _failure(f"{error}{self.complaint()}") from error
            raise
        return guest

    def _start(self, program: str, login: Login) -> socket.socket:
        config = login.config.sandbox
        limits = config.limits
        if is_root():
            self._uid = self._uids.take()
        self._group = ControlGroup.make(self._name, processes=limits.processes, memory_bytes=limits.memory)
        cmd: Command = command(program, _system(login), agent_binary(machine_architecture()))
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            arguments = confined(cmd.arguments, uid=self._uid, group=self._group)
            self._child = Child(arguments, stdin=theirs.fileno(), pass_fds=cmd.descriptors)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            cmd.close()
        return ours

    async def destroy(self, reason: str) -> None:
        """End the sandbox and wait until nothing of it is left.  Idempotent."""
        if self._link is not None:
            self._link.close(reason)
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_GASP):
                    await self._child.wait()
            self._child.kill()
            await self._child.wait()
            self._said = self._said or self._child.complaint()
            self._child.close()
        await self._group.remove()
        if self._uid is not None:
            self._uids.give_back(self._uid)
            self._uid = None

    def complaint(self) -> str:
        """What the sandbox's programs said when they failed, as the end of a sentence."""
        return f": {self._said}" if self._said else ""


def _system(login: Login) -> GuestSystem:
    config = login.config.sandbox
    metadata = {name: value.value for name, value in login.metadata.environment.items()}
    return GuestSystem(
        username=login.username,
        hostname=config.hostname,
        rootfs=Path(config.rootfs) if config.rootfs else None,
        share_network=config.network == "host",
        home_bytes=config.limits.home_size,
        tmp_bytes=config.limits.tmp_size,
        shell=config.shell[0] if config.shell else "",
        environment={**config.environment, **metadata},
    )


def _settings(config: SandboxConfig) -> GuestSettings:
    return GuestSettings(
        shell_command=tuple(config.shell) if config.shell else None,
        subsystems={"sftp": None},
        limits={"nofile": config.limits.open_files},
    )


def _failure(explanation: str) -> BackendError:
    return BackendError(
        explanation, user_text="The environment could not be started.", code=Code.SANDBOX_START_FAILED
    )
