"""The backend contract on a Docker engine: both streams of our agent, the image's own agent, and none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from tests.conformance.engines import OnEngine
from tests.parts.engine import RealEngine

from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Backend, Guest
from moorage.gateway.model import Program, Size
from moorage.testing.backend import BackendConformance
from moorage.testing.streams import Recorder
from moorage.testing.suite import command, ended, run, start
from moorage.testing.suite_life import LifeTests
from moorage.testing.suite_programs import ProgramTests
from moorage.testing.suite_terminal import TerminalTests, terminal

pytestmark = pytest.mark.docker


TRAP = "trap 'echo caught; exit 4' USR1; echo ready; while :; do sleep 0.05; done"


class OnDocker(OnEngine):
    """Docker with the busybox image."""

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, busybox_image: str) -> None:
        self.real, self.image = docker_engine, busybox_image


class TestSocket(OnDocker, BackendConformance):
    """Our agent, over a socket in a mounted directory."""

    execution: ClassVar[Mapping[str, Any]] = {"stream": "socket"}


class TestAttach(OnDocker, BackendConformance):
    """Our agent, over the engine's attach."""

    execution: ClassVar[Mapping[str, Any]] = {"stream": "attach"}


class SessionTests(ProgramTests, LifeTests):
    """A fresh container for each program: how bytes flow is the same as elsewhere, who shares what is not."""

    has_forwarding = False

    async def test_every_exit_code_comes_back(self, guest: Guest) -> None:
        """Some of them: each takes a container."""
        results = await asyncio.gather(*(run(guest, f"exit {code}") for code in (0, 1, 77, 255)))
        assert [result.status.code for result in results] == [0, 1, 77, 255]

    async def test_a_lost_guest_says_so_everywhere(self, backend: Backend) -> None:
        """What is lost is one program; the next one gets a container of its own."""
        async with self.opened(backend) as guest:
            process, recorder = await start(guest, "echo ready; cat")
            await recorder.until_output(b"ready")
            await self.lose(backend, guest)
            with contextlib.suppress(BackendError):
                assert (await ended(process)).code == 137
            assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_a_process_that_had_ended_keeps_its_status_when_the_guest_is_lost(self, backend: Backend) -> None:
        async with self.opened(backend) as guest:
            process, recorder = await start(guest, "exit 3")
            await recorder.until_lost()
            assert (await ended(process)).code == 3

    async def test_a_signal_says_whether_there_is_a_core(self, guest: Guest) -> None:
        """The core itself is gone with its container, so that only its signal can be compared."""
        status = (await run(guest, "kill -SEGV $$; sleep 60")).status
        assert status.signal == "SEGV" if self.has_signals else status.code == 139

    async def test_programs_share_nothing(self, guest: Guest) -> None:
        path = self.path("file")
        assert (await run(guest, f"echo x > {path}")).status.code == 0
        assert (await run(guest, f"cat {path}")).status.code == 1


class TestSession(OnDocker, SessionTests):
    """Our agent, a fresh container for each program."""

    execution: ClassVar[Mapping[str, Any]] = {"mode": "session"}


class EngineStarts(OnEngine):
    """The engine starts the programs: what that cannot do is told here, test by test."""

    has_sftp = False
    has_jail = False
    has_pty_modes = False
    has_signals = False
    has_forwarding = False
    cancel_points = 5

    async def test_every_exit_code_comes_back(self, guest: Guest) -> None:
        """Some of them: each takes an exec of the engine."""
        codes = [0, 1, 2, 42, 126, 127, 128, 130, 137, 254, 255]
        results = await asyncio.gather(*(run(guest, f"exit {code}") for code in codes))
        assert [result.status.code for result in results] == codes

    async def test_a_command_may_hold_any_byte_but_nul(self, guest: Guest) -> None:
        """The engine's JSON carries UTF-8 only; the rest is refused, never changed."""
        assert (await run(guest, "printf %s 'ä\n€'")).stdout == "ä\n€".encode()
        with pytest.raises(Refused) as caught:
            await start(guest, command(b"printf \xff"))
        assert "UTF-8" in caught.value.user_text

    async def test_a_program_s_own_variables_win(self, backend: Backend) -> None:
        async with self.opened(backend, self.login(environment={"GIVEN": "login", "KEPT": "kept"})) as guest:
            program = command('printf "%s %s" "$GIVEN" "$KEPT"', environment={b"GIVEN": b"line\n!"})
            assert (await run(guest, program)).stdout == b"line\n! kept"
            assert (await run(guest, 'printf %s "$GIVEN"')).stdout == b"login"

    async def test_a_terminal_has_the_size_that_was_asked_for(self, guest: Guest) -> None:
        """It gets its size right after its start, not before."""
        program = command("until stty size | grep '47 133'; do sleep 0.05; done", pty=terminal(Size(133, 47)))
        assert (await run_until_exit(guest, program)).endswith(b"47 133\r\n")

    async def test_unknown_modes_are_ignored(self, guest: Guest) -> None:
        assert await run_until_exit(guest, command("echo on", pty=terminal(modes={0: 7, 255: 1}))) == b"on\r\n"

    async def test_the_end_of_input_ends_what_reads_the_terminal(self, guest: Guest) -> None:
        """Modes cannot be set, so the terminal echoes."""
        process, recorder = await start(guest, command("cat; echo over", pty=terminal()))
        process.write(b"line\n")
        await recorder.until_output(b"line\r\nline\r\n")
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout.endswith(b"over\r\n")

    async def test_input_goes_on_after_the_end_of_output(self, guest: Guest) -> None:
        """The engine ends both directions when the output ends; the exit status still is the program's."""
        process, recorder = await start(guest, "exec >&- 2>&-; sleep 0.3; exit 8")
        assert (await ended(process)).code == 8
        assert recorder.calls[-2:] == ["eof_received", "connection_lost"]


async def run_until_exit(guest: Guest, program: Program) -> bytes:
    """The output of a program on a terminal whose input stays open."""
    process, recorder = await start(guest, program)
    assert (await ended(process)).code == 0
    return bytes(recorder.stdout)


class TestContainersshAgent(EngineStarts, ProgramTests, TerminalTests, LifeTests):
    """The image's own agent: PIDs, signals and files come from it.  Bytes flow as without it."""

    execution: ClassVar[Mapping[str, Any]] = {"agent": "containerssh", "shellCommand": ["/bin/sh"]}

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, containerssh_image: str) -> None:
        self.real, self.image = docker_engine, containerssh_image

    async def test_signal_reaches_the_process(self, guest: Guest) -> None:
        process, recorder = await start(guest, TRAP)
        await recorder.until_output(b"ready")
        process.signal("USR1")
        assert (await ended(process)).code == 4
        assert b"caught" in recorder.stdout


class WithoutAgent(EngineStarts):
    """No agent at all."""

    async def test_an_unknown_program_is_told_to_the_user(self, guest: Guest) -> None:
        """In the engine's words, where its output goes."""
        process, recorder = await start(guest, "/no/such/program")
        assert (await ended(process)).code in (126, 127)
        assert b"no such file" in recorder.stdout


class TestNoAgent(WithoutAgent, BackendConformance):
    """By exec: a program that was started cannot be signalled, so it ends with its guest at the latest."""

    execution: ClassVar[Mapping[str, Any]] = {
        "disableAgent": True,
        "idleCommand": ["/bin/sleep", "100000"],
        "shellCommand": ["/bin/sh"],
    }

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, busybox_image: str) -> None:
        self.real, self.image = docker_engine, busybox_image

    @pytest.mark.parametrize("steps", [0, 2, 40])
    async def test_a_cancelled_start_leaves_no_program(self, guest: Guest, steps: int) -> None:
        starting = asyncio.create_task(guest.start(command("sleep 62"), Recorder()))
        for _ in range(steps):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_close_hangs_up_a_process_whose_input_is_full(self, guest: Guest) -> None:
        await self._close_ends_the_session(guest, command("sleep 62"))

    async def test_close_hangs_up_the_terminal(self, guest: Guest) -> None:
        await self._close_ends_the_session(guest, command("sleep 62", pty=terminal()))

    async def _close_ends_the_session(self, guest: Guest, program: Program) -> None:
        process, recorder = await start(guest, program)
        process.write(bytes(1_000_000))
        process.close()
        await recorder.until_lost()
        assert recorder.cause is None
        await ended(process)


class TestNoAgentSession(WithoutAgent, SessionTests):
    """The program is the container: signals reach it, and nothing else."""

    execution: ClassVar[Mapping[str, Any]] = {
        "disableAgent": True,
        "mode": "session",
        "shellCommand": ["/bin/sh"],
        "host": {"Init": True},  # a first process has no default actions for signals
    }

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, busybox_image: str) -> None:
        self.real, self.image = docker_engine, busybox_image

    async def test_signal_reaches_the_process(self, guest: Guest) -> None:
        process, recorder = await start(guest, TRAP)
        await recorder.until_output(b"ready")
        process.signal("USR1")
        assert (await ended(process)).code == 4

    async def test_an_unknown_program_is_told_to_the_user(self, guest: Guest) -> None:
        """By the engine's init, as it would be by a shell."""
        result = await run(guest, "/no/such/program")
        assert result.status.code == 127
        assert result.stderr
