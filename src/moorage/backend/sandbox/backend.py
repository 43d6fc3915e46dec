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

from moorage.agent.guest import open_guest
from moorage.agent.install import agent_binary
from moorage.agent.link import AgentLink
from moorage.agent.messages import GuestSettings
from moorage.backend.observer import RequestObserver, Unobserved, counted
from moorage.backend.sandbox.bubblewrap import GuestSystem, command
from moorage.backend.sandbox.child import Child
from moorage.backend.sandbox.limits import ControlGroup, UserIds, confined, is_root, sweep
from moorage.codes import Code
from moorage.config.sections.sandbox import SandboxConfig
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
        self.observer: RequestObserver = Unobserved()
        sweep(instance)

    def observe(self, observer: RequestObserver) -> None:
        """Tell `observer` of each sandbox that is asked for."""
        self.observer = observer

    @counted
    async def open(self, login: Login, progress: Progress) -> Guest:
        """A fresh sandbox for `login`; see `moorage.gateway.contract.Backend.open`."""
        program = shutil.which("bwrap")
        if program is None:
            raise _failure("bubblewrap is not installed; install it (apt-get install bubblewrap)")
        self._count += 1
        sandbox = Sandbox(self._uids, f"{self._instance}-{self._count}", program, login)
        config = login.config.sandbox
        try:
            return await open_guest(
                lambda link: sandbox.launch(link, progress),
                destroy=sandbox.destroy,
                settings=_settings(config),
                files=login.metadata.files,
                deadline=config.timeouts.start.total_seconds(),
            )
        except BackendError as error:
            raise _failure(f"{error}{sandbox.complaint()}") from error

    async def close(self) -> None:
        """There is nothing shared to let go of."""


class Sandbox:
    """One sandbox, its process, control group and user id; implements `Launcher`."""

    def __init__(self, uids: UserIds, name: str, program: str, login: Login) -> None:
        self._program = program
        self._login = login
        self._uids = uids
        self._name = name
        self._uid: int | None = None
        self._group = ControlGroup(())
        self._child: Child | None = None
        self._said = ""

    async def launch(self, link: AgentLink, progress: Progress) -> None:
        """Start it with `link` on the stream to its agent.  Raises `OSError`; `destroy` cleans up in any case."""
        del progress  # there is nothing to wait for
        limits = self._login.config.sandbox.limits
        chosen = self._login.config.sandbox.user
        if is_root() and not chosen:
            self._uid = self._uids.take()
        self._group = ControlGroup.make(self._name, processes=limits.processes, memory_bytes=limits.memory)
        ours, theirs = socket.socketpair()
        with (
            theirs,
            contextlib.closing(command(self._program, self._system(), agent_binary(os.uname().machine))) as cmd,
        ):
            try:
                arguments = confined(cmd.arguments, uid=chosen or self._uid if is_root() else None, group=self._group)
                self._child = Child(arguments, stdin=theirs.fileno(), pass_fds=cmd.descriptors)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)

    def _system(self) -> GuestSystem:
        login = self._login
        config = login.config.sandbox
        limits = config.limits
        rlimits = {"nofile": limits.open_files}
        if not self._group.entries:  # the next best: processes are counted inside, memory per process
            rlimits |= {"nproc": limits.processes, "data": limits.memory}
        metadata = {name: value.value for name, value in login.metadata.environment.items()}
        return GuestSystem(
            username=login.username,
            hostname=config.hostname,
            rootfs=Path(config.rootfs) if config.rootfs else None,
            mounts=[(mount.source, mount.target, mount.writable) for mount in config.mounts],
            share_network=config.network == "host",
            home_bytes=limits.home_size,
            tmp_bytes=limits.tmp_size,
            shell=config.shell[0] if config.shell else "",
            environment={**config.environment, **metadata},
            rlimits=rlimits,
        )

    async def destroy(self, reason: str) -> None:
        """Wait until nothing of the sandbox is left, ending it by force if need be.  Idempotent."""
        del reason
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


def _settings(config: SandboxConfig) -> GuestSettings:
    return GuestSettings(shell_command=tuple(config.shell) if config.shell else None)


def _failure(explanation: str) -> BackendError:
    return BackendError(explanation, user_text="The environment could not be started.", code=Code.SANDBOX_START_FAILED)
