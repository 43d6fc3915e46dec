"""A container that *is* the program: session mode without our agent.

The engine attaches to the program, kills it and tells how it ended.  The files of the login are put in
place before it starts, by an archive, since there is nobody inside to write them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import Mapping
from typing import Final

from moorage.backend.argv import program_argv, program_environment
from moorage.backend.contract import CleanUps, lost
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError, EngineUnreachableError, backend_error
from moorage.backend.docker.launch import Container, Site, step
from moorage.backend.docker.process import EngineProcess, console_size
from moorage.backend.docker.spec import ContainerSpec, program_container
from moorage.backend.terminal import bounded_size
from moorage.codes import Code
from moorage.config.sections.docker import DockerConfig
from moorage.errors import Refused
from moorage.gateway.contract import (
    Accepted,
    Listener,
    Process,
    ProcessReceiver,
    Progress,
    Receiver,
    Transport,
    cannot_jail,
)
from moorage.gateway.model import ExitStatus, FileValue, ListenSpec, Login, Program, Size, Target

_WAIT_SECONDS: Final = 366 * 86400.0


class ProgramGuest:
    """Starts one program, as the first process of a fresh container; implements `Guest`."""

    def __init__(self, site: Site, login: Login, progress: Progress, clean_ups: CleanUps) -> None:
        self._site = site
        self._login = login
        self._config: DockerConfig = login.config.docker
        self._clean_ups = clean_ups
        self._container = Container(site, login, progress)
        self._starting: asyncio.Future[Process] | None = None
        self._process: EngineProcess | None = None
        self._exit: asyncio.Task[int] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Make the container of `program`; see `Guest.start`.  Called once."""
        if program.jail is not None:
            raise cannot_jail()
        if self._closing is not None:
            raise lost(None)
        self._starting = asyncio.ensure_future(self._start(program, receiver))
        try:
            return await self._starting
        except asyncio.CancelledError as cause:
            current = asyncio.current_task()
            if self._closing is not None and current is not None and not current.cancelling():
                raise lost(None) from cause
            raise

    async def _start(self, program: Program, receiver: ProcessReceiver) -> Process:
        execution, container = self._config.execution, self._container
        argv = program_argv(program, shell=execution.shell_command, subsystems=execution.subsystems)
        spec = program_container(
            execution,
            self._login,
            self._site.lease(container.start_seconds),
            argv=argv,
            environment=program_environment(program),
            tty=program.pty is not None,
        )
        spec.body["HostConfig"] |= console_size(program)
        try:
            async with asyncio.timeout(container.start_seconds):
                await container.image()
                return await self._launch(spec, program, receiver)
        except TimeoutError as cause:
            raise backend_error(Code.DOCKER_CONTAINER_START_FAILED, "launch the container in time", cause) from cause

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """Refused: there is one program here and nothing else."""
        raise Refused("there is no agent in the guest", user_text="Forwarding is not available in this environment.")

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Refused: there is one program here and nothing else."""
        raise Refused("there is no agent in the guest", user_text="Forwarding is not available in this environment.")

    async def lost(self) -> BaseException | None:
        """Returns after `close`: the end of the container is the end of the program."""
        await asyncio.shield(self._closed)
        return None

    async def close(self, reason: str) -> None:
        """Remove the container; see `Guest.close`."""
        del reason
        if self._closing is None:
            self._closing = self._clean_ups.begin(self._close(), name="docker/close")
        await asyncio.shield(self._closing)

    async def _launch(self, spec: ContainerSpec, program: Program, receiver: ProcessReceiver) -> Process:
        engine, seconds = self._site.engine, self._container.start_seconds
        identity = await self._container.create(spec)
        await self._put_files(identity)
        # Asked before it starts: it removes itself, and how it ended with it.
        self._exit = asyncio.get_running_loop().create_task(
            engine.wait(identity, condition="removed", timeout=_WAIT_SECONDS), name="docker/wait"
        )
        self._exit.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard even if nobody waits
        async with step(Code.DOCKER_CONTAINER_ATTACH_FAILED, "attach to the container"):
            stream = await engine.attach(identity, timeout=seconds)
        try:
            async with step(Code.DOCKER_CONTAINER_START_FAILED, "start the container"):
                await _started(engine, identity, seconds)
            controls = _ProgramControls(engine, identity, self._config, self._exit)
            if program.pty is not None:
                with contextlib.suppress(EngineError, EngineUnreachableError, OSError):
                    await controls.resize(program.pty.size)
        except BaseException:
            stream.abort()
            raise
        self._process = process = EngineProcess(stream, receiver, controls, tty=program.pty is not None)
        process.begin()
        return process

    async def _put_files(self, identity: str) -> None:
        files = self._login.metadata.files
        if files:
            async with step(Code.DOCKER_FILE_WRITE_FAILED, "write the files of the login"):
                owner = _owner(str(self._config.execution.container.get("User") or ""))
                archive = _archive(files, owner)
                await self._site.engine.put_archive(identity, "/", archive, timeout=self._container.start_seconds)

    async def _close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        if self._process is not None:
            self._process.abandon()
        await self._container.remove()
        if self._process is not None:
            await self._process.settle()
        if self._exit is not None:
            self._exit.cancel()


class _ProgramControls:
    """What can be done with the first process of a container; implements `Controls`."""

    def __init__(self, engine: Engine, identity: str, config: DockerConfig, ended: asyncio.Task[int]) -> None:
        self._engine = engine
        self._identity = identity
        self._config = config
        self._ended = ended

    async def status(self) -> ExitStatus:
        return ExitStatus(code=await asyncio.shield(self._ended) & 0xFF)

    async def resize(self, size: Size) -> None:
        seconds = self._config.timeouts.window.total_seconds()
        columns, rows = bounded_size(size)
        await self._engine.resize(self._identity, columns=columns, rows=rows, timeout=seconds)

    async def signal(self, name: str) -> None:
        if name.isalnum() and len(name) <= 16:
            await self._engine.kill(self._identity, f"SIG{name}", timeout=self._config.timeouts.signal.total_seconds())


async def _started(engine: Engine, identity: str, seconds: float) -> None:
    try:
        await engine.start(identity, timeout=seconds)
    except EngineError as error:
        text = error.message.lower()
        if "executable file not found" in text or "no such file" in text or "exec format" in text:
            raise Refused(str(error), user_text="The program was not found.") from error
        if "permission denied" in text:
            raise Refused(str(error), user_text="The program may not be started.") from error
        raise


def _owner(user: str) -> tuple[int, int]:
    """The numeric owner of the files; raises `EngineError` for a name, which only the image could resolve."""
    name, _, group = user.partition(":")
    if name in ("", "root") and group in ("", "root"):
        return 0, 0
    if name.isdecimal() and (not group or group.isdecimal()):
        return int(name), int(group or 0)
    raise EngineError(400, "files without an agent in session mode need a numeric user (container.user)")


def _archive(files: Mapping[str, FileValue], owner: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, file in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode, (info.uid, info.gid) = len(file.value), 0o600, owner
            archive.addfile(info, io.BytesIO(file.value))
    return buffer.getvalue()
