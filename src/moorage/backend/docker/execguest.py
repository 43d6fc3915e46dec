"""A guest without our agent: the engine starts its programs, by exec or as containers of their own.

The image's own agent, where it has one, tells PIDs, sends signals and writes files; without it there
are no signals.  Nothing can be forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from moorage.backend.argv import program_argv, program_environment
from moorage.backend.contract import CleanUps, lost
from moorage.backend.docker.demux import Demux
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError, EngineUnreachableError, backend_error
from moorage.backend.docker.launch import Container, Site, step
from moorage.backend.docker.process import EngineProcess, console_size, read_pid
from moorage.backend.docker.spec import idle_container
from moorage.backend.terminal import bounded_size
from moorage.codes import Code
from moorage.config.sections.docker import DockerConfig
from moorage.errors import BackendError, Refused
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

_WATCH_SECONDS: Final = 300.0
_KILLED: Final = 137
_MOMENT: Final = 1.0
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
_SIGNALS: Final = frozenset(
    ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
)
_WRITE_FILE: Final = 'umask 077; mkdir -p -- "$(dirname -- "$0")" && cat > "$0"'


async def open_exec_guest(site: Site, login: Login, progress: Progress, *, clean_ups: CleanUps) -> ExecGuest:
    """A container that idles, with the login's files in place.  Cancelling leaves nothing; raises `BackendError`."""
    config: DockerConfig = login.config.docker
    container = Container(site, login, progress)
    guest = ExecGuest(container, login, clean_ups)
    try:
        async with asyncio.timeout(container.start_seconds):
            await container.image()
            identity = await container.create(
                idle_container(config.execution, login, site.lease(container.start_seconds))
            )
            async with step(Code.DOCKER_CONTAINER_START_FAILED, "start the container"):
                await site.engine.start(identity, timeout=container.start_seconds)
            guest.watch()
            for path, file in login.metadata.files.items():
                await guest.write_file(path, file)
    except BaseException as cause:
        await guest.close("the guest could not be opened")
        if isinstance(cause, TimeoutError):
            raise backend_error(Code.DOCKER_CONTAINER_START_FAILED, "launch the container in time", cause) from cause
        raise
    return guest


class ExecGuest:
    """A running container in which programs are started by exec; implements `Guest`."""

    def __init__(self, container: Container, login: Login, clean_ups: CleanUps) -> None:
        self._container = container
        self._engine: Engine = container.site.engine
        self._config: DockerConfig = login.config.docker
        self._clean_ups = clean_ups
        self._processes: set[EngineProcess] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    @property
    def _has_agent(self) -> bool:
        return not self._config.execution.disable_agent

    def watch(self) -> None:
        """Notice when the container ends by itself."""
        self._watcher = self._clean_ups.begin(self._watch(), name="docker/watch")

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Start `program` by an exec; see `Guest.start`."""
        if program.jail is not None:
            raise cannot_jail()
        execution = self._config.execution
        argv = program_argv(program, shell=execution.shell_command, subsystems=execution.subsystems)
        # Not to be cut off half-way: an exec that has been asked for cannot be taken back, only ended.
        starting = asyncio.ensure_future(self._start(program, argv, receiver))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._clean_ups.begin(_hang_up(starting), name="docker/hang-up")
            raise

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """Refused: see the module."""
        self._check_open()
        raise _no_forwarding()

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Refused: see the module."""
        self._check_open()
        raise _no_forwarding()

    async def lost(self) -> BaseException | None:
        """Returns when the container has ended; see `Guest.lost`."""
        return await asyncio.shield(self._lost)

    async def close(self, reason: str) -> None:
        """Remove the container; see `Guest.close`."""
        del reason
        if self._closing is None:
            self._closing = self._clean_ups.begin(self._close(), name="docker/close")
        await asyncio.shield(self._closing)

    async def write_file(self, path: str, file: FileValue) -> None:
        """Put a file in place, readable by its owner only; raises `BackendError`."""
        by_shell = ["/bin/sh", "-c", _WRITE_FILE, path]
        by_agent = [self._config.execution.agent_path, "write-file", path]
        async with step(Code.DOCKER_FILE_WRITE_FAILED, "write a file of the login"):
            code, said = await self._run(by_agent if self._has_agent else by_shell, file.value)
            if code != 0 and self._has_agent:  # it makes no directories; a shell, if there is one, does
                code, said = await self._run(by_shell, file.value)
            if code != 0:
                raise EngineError(500, f"writing {path[:200]!r} ended with {code}: {said}")

    async def signal(self, pid: int, name: str) -> None:
        """Send a signal by the image's agent."""
        if name in _SIGNALS:
            await self._run([self._config.execution.agent_path, "signal", "--pid", str(pid), "--signal", name], b"")

    async def _start(self, program: Program, argv: Sequence[str], receiver: ProcessReceiver) -> EngineProcess:
        self._check_open()
        execution, seconds = self._config.execution, self._config.timeouts.command_start.total_seconds()
        tty = program.pty is not None
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Env": [f"{name}={value}" for name, value in program_environment(program).items()],
            **console_size(program),
            "Cmd": [execution.agent_path, "console", "--pid", "--", *argv] if self._has_agent else list(argv),
        }
        async with step(Code.DOCKER_EXEC_CREATE_FAILED, "prepare the program"):
            identity = await self._engine.exec_create(self._container.id, body, timeout=seconds)
        async with step(Code.DOCKER_EXEC_ATTACH_FAILED, "start the program"):
            stream = await self._engine.exec_start(identity, tty=tty, timeout=seconds)
        controls = _ExecControls(self, self._engine, identity, self._config)
        try:
            demux: Demux | None = None
            early: list[tuple[int, bytes]] = []
            if self._has_agent:
                async with asyncio.timeout(seconds):
                    controls.pid, demux, early = await read_pid(stream, tty=tty)
            if program.pty is not None:
                with contextlib.suppress(EngineError, EngineUnreachableError, OSError):
                    await controls.resize(program.pty.size)
            process = EngineProcess(stream, receiver, controls, tty=tty, demux=demux, early=early)
        except EOFError as cause:
            stream.abort()
            raise await self._no_pid(str(cause)) from cause
        except (OSError, ValueError) as cause:
            stream.abort()
            raise backend_error(Code.DOCKER_EXEC_PID_READ_FAILED, "read the program's PID", cause) from cause
        except BaseException:
            stream.abort()
            raise
        self._processes.add(process)
        process.begin()
        self._clean_ups.begin(self._forget(process), name="docker/forget")
        return process

    def _check_open(self) -> None:
        if self._closing is not None or self._lost.done():
            raise lost(self._lost.result() if self._lost.done() else None)

    async def _no_pid(self, said: str) -> Exception:
        if await self._is_gone():
            return lost(None)
        return Refused(
            f"the image's agent at {self._config.execution.agent_path} did not start the program: {said}",
            user_text="The program could not be started.",
            code=Code.DOCKER_EXEC_PID_READ_FAILED,
        )

    async def _forget(self, process: EngineProcess) -> None:
        with contextlib.suppress(BackendError):
            await process.wait()
        await process.settle()
        self._processes.discard(process)

    async def _run(self, argv: Sequence[str], data: bytes) -> tuple[int, str]:
        """Run a helper to its end; its exit code and the beginning of what it said."""
        seconds = self._config.timeouts.signal.total_seconds()
        body = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)}
        identity = await self._engine.exec_create(self._container.id, body, timeout=seconds)
        async with asyncio.timeout(seconds):
            stream = await self._engine.exec_start(identity, tty=False, timeout=seconds)
            try:
                stream.write(data)
                stream.write_eof()
                said = b""
                while chunk := await stream.read(65536):
                    said += chunk[: 1024 - len(said)]
            finally:
                stream.abort()
            code = await exec_status(self._engine, identity)
        text = said[8:].decode("utf-8", "replace")
        return code, "".join(c if c.isprintable() else " " for c in text)[:200]

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while self._closing is None:
            try:
                await self._engine.wait(self._container.id, timeout=_WATCH_SECONDS)
                break
            except TimeoutError:
                pause = _FIRST_PAUSE
            except EngineError as error:
                if error.status == 404:
                    break
                await asyncio.sleep(pause)
            except EngineUnreachableError:
                await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        if not self._lost.done() and self._closing is None:
            self._lost.set_result(lost(EOFError("the container has ended")))

    async def _is_gone(self) -> bool:
        with contextlib.suppress(EngineError, EngineUnreachableError, TimeoutError):
            found = await self._engine.inspect(self._container.id, timeout=self._container.http_seconds)
            return found is None or not (found.get("State") or {}).get("Running")
        return True

    async def _close(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        for process in tuple(self._processes):
            process.abandon()
        await self._container.remove()
        if self._watcher is not None:
            self._watcher.cancel()


class _ExecControls:
    """What can be done with one exec; implements `Controls`."""

    def __init__(self, guest: ExecGuest, engine: Engine, identity: str, config: DockerConfig) -> None:
        self.pid = 0
        """The PID inside the container; 0 without an agent."""

        self._guest = guest
        self._engine = engine
        self._identity = identity
        self._config = config

    async def status(self) -> ExitStatus:
        code = await exec_status(self._engine, self._identity)
        if code == _KILLED:
            # That is also how a program ends with its container; which one it was shows in a moment.
            with contextlib.suppress(TimeoutError):
                raise EngineUnreachableError(str(await asyncio.wait_for(self._guest.lost(), _MOMENT)))
        return ExitStatus(code=code)

    async def resize(self, size: Size) -> None:
        seconds = self._config.timeouts.window.total_seconds()
        columns, rows = bounded_size(size)
        await self._engine.exec_resize(self._identity, columns=columns, rows=rows, timeout=seconds)

    async def signal(self, name: str) -> None:
        if not self.pid:
            structlog.get_logger().debug(
                "Without an agent no signal can be sent", code=Code.DOCKER_EXEC_SIGNAL_FAILED_NO_AGENT, signal=name[:32]
            )
            return
        await self._guest.signal(self.pid, name)


async def exec_status(engine: Engine, identity: str) -> int:
    """An exec's exit code once it has ended: its output may end before it does."""
    pause = _FIRST_PAUSE
    while True:
        state = await engine.exec_inspect(identity, timeout=_WATCH_SECONDS)
        if not state.running and state.exit_code is not None:
            return state.exit_code & 0xFF
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _hang_up(starting: asyncio.Future[EngineProcess]) -> None:
    with contextlib.suppress(BackendError, Refused):
        (await starting).close()


def _no_forwarding() -> Refused:
    return Refused(
        "forwarding needs our agent in the guest (docker.execution.agent: moorage)",
        user_text="Forwarding is not available in this environment.",
        code=Code.DOCKER_FORWARDING_FAILED,
    )
