"""A guest without our agent: the cluster starts its programs, each by an exec.

The image's own agent, where it has one, tells PIDs, sends signals and writes files; without it there are no signals.
Nothing can be forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

from moorage.backend.argv import program_argv, program_environment
from moorage.backend.contract import CleanUps, lost
from moorage.backend.kubernetes.api import Limit, printable
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError, PodError, backend_error, step
from moorage.backend.kubernetes.launch import Site
from moorage.backend.kubernetes.pods import Subscription
from moorage.backend.kubernetes.process import ExecProcess, exit_status
from moorage.backend.kubernetes.spec import environment
from moorage.backend.kubernetes.status import progress
from moorage.backend.kubernetes.websocket import ERROR, STDERR, STDOUT, Streams
from moorage.codes import Code
from moorage.config.sections.kubernetes import KubernetesConfig
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import (
    Accepted,
    Listener,
    Process,
    ProcessReceiver,
    Receiver,
    Transport,
    cannot_jail,
)
from moorage.gateway.contract import Progress as Told
from moorage.gateway.model import FileValue, ListenSpec, Login, Program, Target

_SIGNALS: Final = frozenset(
    ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
)
_WRITE_FILE: Final = 'umask 077; mkdir -p -- "$(dirname -- "$0")" && cat > "$0"'
_MAKE_PARENT: Final = 'umask 077; mkdir -p -- "$(dirname -- "$0")"'
_BECOME: Final = 'exec "$0" "$@"'
_MOMENT: Final = 2.0
_SAID_LIMIT: Final = 1024


class Standing(Protocol):
    """A pod that runs, or will."""

    name: str

    async def run(self, told: Told) -> tuple[str, Subscription]:
        """Have it running: the container for programs, and where its end is heard of.  Raises `BackendError`."""

    async def leave(self) -> None:
        """Remove it, if it was made for us.  Idempotent."""


class ExecGuest:
    """A running container in which programs are started by exec; implements `Guest`."""

    def __init__(self, site: Site, standing: Standing, login: Login, clean_ups: CleanUps, *, limit: Limit) -> None:
        self._site = site
        self._standing = standing
        self._login = login
        self._config: KubernetesConfig = login.config.kubernetes
        self._clean_ups = clean_ups
        self._limit = limit
        self._container = ""
        self._variables = environment(self._config.pod, login)
        self._processes: set[ExecProcess] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    @property
    def _has_agent(self) -> bool:
        return not self._config.pod.disable_agent

    async def open(self, told: Told) -> ExecGuest:
        """Have the pod running, with the login's files in place.  Cancelling leaves nothing; raises `BackendError`."""
        try:
            async with asyncio.timeout(self._config.timeouts.pod_start.total_seconds()):
                self._container, subscription = await self._standing.run(told)
                self._watcher = self._clean_ups.begin(self._watch(subscription), name="kubernetes/watch-guest")
                for path, file in self._login.metadata.files.items():
                    await self._write_file(path, file)
        except BaseException as cause:
            await self.close("the guest could not be opened")
            if isinstance(cause, TimeoutError):
                raise backend_error(Code.KUBERNETES_POD_WAIT_FAILED, "launch the pod in time", cause) from cause
            raise
        return self

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Start `program` by an exec; see `Guest.start`."""
        if program.jail is not None:
            raise cannot_jail()
        config = self._config.pod
        argv = program_argv(
            program,
            shell=config.shell_command,
            subsystems=config.subsystems,
            unknown=Code.KUBERNETES_SUBSYSTEM_NOT_SUPPORTED,
        )
        command = self._command(argv, {**self._variables, **program_environment(program)})
        # Not to be cut off half-way: an exec that has been asked for cannot be taken back, only ended.
        starting = asyncio.ensure_future(self._start(program, command, receiver))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._clean_ups.begin(_hang_up(starting), name="kubernetes/hang-up")
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
        """End the programs and leave the pod; see `Guest.close`."""
        del reason
        if self._closing is None:
            self._closing = self._clean_ups.begin(self._close(), name="kubernetes/close")
        await asyncio.shield(self._closing)

    # Programs.

    def _command(self, argv: Sequence[str], variables: dict[str, str]) -> list[str]:
        """An exec carries no variables: the agent sets them, or a shell does."""
        usable = {name: value for name, value in variables.items() if _is_settable(name, value)}
        if self._has_agent:
            settings = [word for name, value in usable.items() for word in ("--env", f"{name}={value}")]
            return [self._config.pod.agent_path, "console", *settings, "--pid", "--", *argv]
        exports = "".join(f"export {name}={_quoted(value)}; " for name, value in usable.items() if name.isidentifier())
        return ["/bin/sh", "-c", exports + _BECOME, *argv] if exports else list(argv)

    async def _start(self, program: Program, command: Sequence[str], receiver: ProcessReceiver) -> ExecProcess:
        self._check_open()
        tty, seconds = program.pty is not None, self._config.timeouts.command_start.total_seconds()
        with step(Code.KUBERNETES_AGENT_FAILED, "start the program"):
            stream, protocol = await self._exec(command, tty=tty, seconds=seconds)
        process = ExecProcess(
            stream,
            receiver,
            protocol=protocol,
            tty=tty,
            wants_pid=self._has_agent,
            signal=self._signal,
            is_gone=self._is_gone,
        )
        try:
            if program.pty is not None:
                process.resize(program.pty.size)
            async with asyncio.timeout(seconds):
                await asyncio.shield(process.pid)
            self._check_open()
        except EOFError as cause:
            process.abandon()
            if await self._is_gone():
                raise lost(cause) from cause
            raise Refused(
                f"the image's agent at {self._config.pod.agent_path} did not start the program: {cause}",
                user_text="The program could not be started.",
                code=Code.KUBERNETES_AGENT_FAILED,
            ) from cause
        except TimeoutError as cause:
            process.abandon()
            raise backend_error(Code.KUBERNETES_AGENT_FAILED, "read the program's PID", cause) from cause
        except BaseException:
            process.abandon()
            raise
        self._processes.add(process)
        process.begin()
        self._clean_ups.begin(self._forget(process), name="kubernetes/forget")
        return process

    async def _exec(self, command: Sequence[str], *, tty: bool, seconds: float) -> tuple[Any, str]:
        query = [("container", self._container), ("stdin", "true"), ("stdout", "true")]
        query += [("tty", "true")] if tty else [("stderr", "true")]
        query += [("command", word) for word in command]
        await self._limit.turn()
        return await self._site.api.stream(f"{self._site.path(self._standing.name)}/exec", query, timeout=seconds)

    async def _forget(self, process: ExecProcess) -> None:
        with contextlib.suppress(BackendError):
            await process.wait()
        await process.settle()
        self._processes.discard(process)

    async def _signal(self, pid: int, name: str) -> None:
        if name in _SIGNALS:
            argv = [self._config.pod.agent_path, "signal", "--pid", str(pid), "--signal", name]
            await self._run(argv, b"", self._config.timeouts.signal.total_seconds())

    async def _write_file(self, path: str, file: FileValue) -> None:
        """Put a file in place, readable by its owner only."""
        argv = ["/bin/sh", "-c", _WRITE_FILE, path]
        seconds = self._config.timeouts.command_start.total_seconds()
        with step(Code.KUBERNETES_FILE_WRITE_FAILED, "write a file of the login"):
            if self._has_agent:
                # It makes no directories, and a program that ends without reading its input may block the server's
                # streams for ever: so a shell, if there is one, makes them first.
                await self._run(["/bin/sh", "-c", _MAKE_PARENT, path], b"", seconds)
                argv = [self._config.pod.agent_path, "write-file", path]
            code, said = await self._run(argv, file.value, seconds)
            if code != 0:
                raise PodError(f"writing {path[:200]!r} ended with {code}: {said}")

    async def _run(self, argv: Sequence[str], data: bytes, seconds: float) -> tuple[int, str]:
        """Run a helper to its end; its exit code and the beginning of what it said."""
        async with asyncio.timeout(seconds):
            stream, protocol = await self._exec(argv, tty=False, seconds=seconds)
            helper = _Helper(stream, protocol=protocol)
            try:
                helper.streams.write(data)
                helper.streams.write_eof()
                await helper.over
            finally:
                helper.streams.abort()
        status, said = exit_status(bytes(helper.status))
        code = status.code if status is not None and status.code is not None else -1
        return code, said or printable(helper.said.decode("utf-8", "replace"), 200)

    # The guest's own life.

    def _check_open(self) -> None:
        if self._closing is not None or self._lost.done():
            raise lost(self._lost.result() if self._lost.done() else None)

    async def _watch(self, subscription: Subscription) -> None:
        while self._closing is None:
            try:
                if subscription.is_gone:
                    raise PodError("the pod was deleted")
                if subscription.pod is not None and not progress(subscription.pod, self._container).runs:
                    raise PodError("the container has ended")
            except PodError as cause:
                if not self._lost.done():
                    self._lost.set_result(lost(cause))
                return
            await subscription.change()

    async def _is_gone(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lost(), _MOMENT)
            return True
        return False

    async def _close(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        for process in tuple(self._processes):
            await self._end(process)
        await self._standing.leave()
        if self._watcher is not None:
            self._watcher.cancel()

    async def _end(self, process: ExecProcess) -> None:
        """A pod may outlive us; with an agent in it our programs do not."""
        process.abandon()
        pid = process.pid
        if pid.done() and not pid.cancelled() and pid.exception() is None and pid.result():
            with contextlib.suppress(ApiError, ApiUnreachableError, OSError):
                await self._signal(pid.result(), "KILL")


class _Helper:
    """A program that we start for ourselves."""

    def __init__(self, stream: Any, *, protocol: str) -> None:
        self.status = bytearray()
        self.said = bytearray()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.streams = Streams(stream, self, protocol=protocol)
        self.streams.begin()

    def stream_received(self, stream: int, data: bytes) -> None:
        if stream == ERROR:
            self.status += data[: 16 * _SAID_LIMIT - len(self.status)]
            if exit_status(bytes(self.status)) != (None, ""):  # it is over, though the server may still take input
                self.ended(None)
        elif stream in (STDOUT, STDERR):
            self.said += data[: _SAID_LIMIT - len(self.said)]

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def ended(self, cause: Exception | None) -> None:
        del cause
        if not self.over.done():
            self.over.set_result(None)


async def _hang_up(starting: asyncio.Future[ExecProcess]) -> None:
    with contextlib.suppress(BackendError, Refused):
        (await starting).close()


def _is_settable(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and not name.startswith("--") and "\0" not in name + value


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"


def _no_forwarding() -> Refused:
    return Refused(
        "forwarding needs our agent in the guest (kubernetes.pod.agent: moorage)",
        user_text="Forwarding is not available in this environment.",
        code=Code.KUBERNETES_FORWARDING_FAILED,
    )
