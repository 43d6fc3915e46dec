"""Conformance, first part: what a program is given and what comes of it."""

from __future__ import annotations

import asyncio

import pytest

from moorage.errors import Refused
from moorage.gateway.contract import Backend, Guest
from moorage.gateway.model import ExitStatus, Jail, Program, ProgramKind
from moorage.testing.streams import DEADLINE, Recorder
from moorage.testing.suite import Suite, command, ended, given_up, needs, run, start


class ProgramTests(Suite):
    """Sentences of `Guest.start`, `Process.wait`, `Process.signal` and `Backend.open`."""

    async def test_an_exec_runs_its_text_in_a_shell(self, guest: Guest) -> None:
        result = await run(guest, "echo $((6*7)) | cat")
        assert result.stdout == b"42\n"
        assert result.status == ExitStatus(code=0)

    async def test_a_shell_reads_its_commands(self, guest: Guest) -> None:
        result = await run(guest, Program(ProgramKind.SHELL), b"echo one; echo two\nexit 5\n")
        assert result.stdout == b"one\ntwo\n"
        assert result.status.code == 5

    async def test_a_command_may_hold_any_byte_but_nul(self, guest: Guest) -> None:
        result = await run(guest, command(b"printf '%s' '\xff\xfe\xe4\n\t\x01'"))
        assert result.stdout == b"\xff\xfe\xe4\n\t\x01"

    @needs("has_sftp")
    async def test_the_subsystem_sftp_speaks_sftp(self, guest: Guest) -> None:
        process, recorder = await start(guest, Program(ProgramKind.SUBSYSTEM, b"sftp"))
        process.write(b"\0\0\0\5\1\0\0\0\3")
        await recorder.until(lambda: len(recorder.stdout) >= 9)
        assert recorder.stdout[4] == 2, "the answer to INIT is VERSION"
        assert recorder.stdout[5:9] == b"\0\0\0\3"
        process.write_eof()
        assert (await ended(process)).code == 0

    async def test_an_sftp_client_is_held_to_its_jail_or_refused(self, guest: Guest) -> None:
        program = Program(ProgramKind.SUBSYSTEM, b"sftp", jail=Jail(root=self.scratch, read_only=True))
        if not self.has_jail:
            with pytest.raises(Refused) as caught:
                await guest.start(program, Recorder())
            assert caught.value.user_text
            return
        process, recorder = await start(guest, program)
        process.write(b"\0\0\0\5\1\0\0\0\3")
        process.write(b"\0\0\0\x0b\x10\0\0\0\7\0\0\0\2..")  # where is ..?
        process.write(b"\0\0\0\x0f\x0e\0\0\0\x08\0\0\0\2/d\0\0\0\0")  # make a directory
        process.write_eof()
        assert (await ended(process)).code == 0
        said = bytes(recorder.stdout)
        assert b"\x68\0\0\0\7\0\0\0\1\0\0\0\1/" in said, "the parent of / is /"
        assert b"\x65\0\0\0\x08\0\0\0\0" not in said, "nothing is made"
        assert b"\x65\0\0\0\x08" in said

    async def test_an_unknown_subsystem_is_refused_with_a_text_for_the_user(self, guest: Guest) -> None:
        with pytest.raises(Refused) as caught:
            await guest.start(Program(ProgramKind.SUBSYSTEM, b"no-such-thing"), Recorder())
        assert caught.value.user_text
        assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_an_unknown_program_is_told_to_the_user(self, guest: Guest) -> None:
        try:
            result = await run(guest, "/no/such/program")
        except Refused as refused:
            assert refused.user_text
        else:
            assert result.status.code == 127
            assert result.stderr

    async def test_a_login_s_variables_reach_every_program(self, backend: Backend) -> None:
        login = self.login(environment={"GIVEN": "a value=with 'signs' ä"})
        async with self.opened(backend, login) as guest:
            for _ in range(2):
                assert (await run(guest, 'printf %s "$GIVEN"')).stdout == "a value=with 'signs' ä".encode()

    async def test_a_program_s_own_variables_win(self, backend: Backend) -> None:
        async with self.opened(backend, self.login(environment={"GIVEN": "login", "KEPT": "kept"})) as guest:
            program = command('printf "%s %s" "$GIVEN" "$KEPT"', environment={b"GIVEN": b"line\n\xff"})
            assert (await run(guest, program)).stdout == b"line\n\xff kept"
            assert (await run(guest, 'printf %s "$GIVEN"')).stdout == b"login"

    @pytest.mark.parametrize(
        "environment",
        [{b"": b"x"}, {b"A=B": b"x"}, {b"A\0B": b"x"}, {b"A": b"x\0y"}],
        ids=["empty name", "= in name", "NUL in name", "NUL in value"],
    )
    async def test_variables_that_no_process_can_have_are_refused(
        self, guest: Guest, environment: dict[bytes, bytes]
    ) -> None:
        with pytest.raises(Refused):
            await guest.start(command("true", environment=environment), Recorder())
        assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_a_command_with_a_nul_byte_is_refused(self, guest: Guest) -> None:
        with pytest.raises(Refused):
            await guest.start(command(b"echo a\0b"), Recorder())

    async def test_a_command_that_no_guest_can_take_is_refused(self, guest: Guest) -> None:
        with pytest.raises(Refused) as caught:
            await guest.start(command(b"true " + b"x" * 2_000_000), Recorder())
        assert caught.value.user_text
        assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_files_of_a_login_are_in_place_and_private_before_the_first_program(self, backend: Backend) -> None:
        files = {self.path("dir") + "/secret": bytes(range(256)) * 5000, self.path("empty"): b""}
        login = self.login(files=files)
        async with self.opened(backend, login) as guest:
            try:
                for path, content in files.items():
                    result = await run(guest, f"stat -c %a {path}; cat {path}")
                    assert result.stdout == b"600\n" + content
            finally:
                await run(guest, "rm -rf " + " ".join(path.removesuffix("/secret") for path in files))

    async def test_every_exit_code_comes_back(self, guest: Guest) -> None:
        turns = asyncio.Semaphore(8)

        async def code(number: int) -> int | None:
            async with turns:
                return (await run(guest, f"exit {number}")).status.code

        assert await asyncio.gather(*map(code, range(256))) == list(range(256))

    @pytest.mark.parametrize("name", ["TERM", "KILL", "HUP", "INT", "USR1", "PIPE", "ALRM"])
    async def test_the_signal_that_ended_a_process_is_named(self, guest: Guest, name: str) -> None:
        status = (await run(guest, f"kill -{name} $$; sleep 60")).status
        if not self.has_signals:
            assert status.code is not None
            assert status.code > 128
            return
        assert (status.code, status.signal, status.core_dumped) == (None, name, False)

    @needs("has_signals")
    async def test_a_signal_without_a_core_says_so(self, guest: Guest) -> None:
        status = (await run(guest, "ulimit -c 0; kill -SEGV $$; sleep 60")).status
        assert (status.signal, status.core_dumped) == ("SEGV", False)

    @needs("has_signals")
    async def test_a_signal_says_whether_there_is_a_core(self, guest: Guest) -> None:
        directory = self.path("core")
        crash = f"mkdir {directory} && cd {directory} && ulimit -c 100000; kill -SEGV $$; sleep 60"
        status = (await run(guest, crash)).status
        look = f"ls {directory}; grep '^|' /proc/sys/kernel/core_pattern; rm -r {directory}"
        assert (status.signal, status.core_dumped) == ("SEGV", bool((await run(guest, look)).stdout))

    @needs("has_signals")
    async def test_signal_reaches_the_process(self, guest: Guest) -> None:
        process, recorder = await start(guest, "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done")
        await recorder.until_output(b"ready")
        process.signal("USR1")
        assert (await ended(process)).code == 7

    @needs("has_signals")
    async def test_signal_reaches_the_whole_group(self, guest: Guest) -> None:
        child = "(trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.05; done)"
        process, recorder = await start(guest, f"trap : USR1; {child} & wait $!; wait $!; exit 3")
        await recorder.until_output(b"ready")
        process.signal("USR1")
        await recorder.until_output(b"child")
        assert (await ended(process)).code == 3

    @pytest.mark.parametrize("name", ["", "NOPE", "../../x", "\0", "TERM\n", "X" * 5000])
    async def test_an_unknown_signal_is_ignored(self, guest: Guest, name: str) -> None:
        process, recorder = await start(guest, "echo ready; cat")
        await recorder.until_output(b"ready")
        process.signal(name)
        process.write(b"still here\n")
        await recorder.until_output(b"still here")
        process.write_eof()
        assert (await ended(process)).code == 0

    async def test_wait_may_be_awaited_any_number_of_times(self, guest: Guest) -> None:
        process, _ = await start(guest, "cat; exit 9")
        waiters = [asyncio.create_task(process.wait()) for _ in range(3)]
        waiters[0].cancel()
        process.write_eof()
        assert [(await asyncio.wait_for(waiter, DEADLINE)).code for waiter in waiters[1:]] == [9, 9]
        assert (await ended(process)).code == 9

    async def test_after_its_exit_a_process_ignores_everything(self, guest: Guest) -> None:
        process, recorder = await start(guest, "exit 4")
        assert (await ended(process)).code == 4
        await recorder.until_lost()
        process.write(b"x")
        process.write_eof()
        process.signal("TERM")
        process.pause_reading()
        process.resume_reading()
        process.close()
        process.close()
        assert (await ended(process)).code == 4
        assert recorder.calls.count("connection_lost") == 1
        assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_many_programs_run_at_once(self, guest: Guest) -> None:
        pairs = await asyncio.gather(*(start(guest, f"read line; echo {i} $line; exit {i}") for i in range(50)))
        for i, (process, _) in reversed(list(enumerate(pairs))):
            process.write(b"hello %d\n" % i)
        statuses = await asyncio.gather(*(ended(process) for process, _ in pairs))
        assert [status.code for status in statuses] == list(range(50))
        assert [bytes(recorder.stdout) for _, recorder in pairs] == [b"%d hello %d\n" % (i, i) for i in range(50)]

    async def test_a_program_that_ends_leaves_the_others_alone(self, guest: Guest) -> None:
        first, recorder = await start(guest, "cat")
        assert (await run(guest, "exit 1")).status.code == 1
        first.write(b"on\n")
        await recorder.until_output(b"on\n")
        first.write_eof()
        assert (await ended(first)).code == 0

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 40])
    async def test_a_cancelled_start_leaves_no_program(self, guest: Guest, steps: int) -> None:
        recorder = Recorder()
        nap = f"9{steps:03d}.{id(recorder) % 1_000_000}"
        process = await given_up(guest.start(command(f"exec sleep {nap}"), recorder), steps)
        if process is None:
            assert recorder.calls == []
        else:
            process.close()
            await ended(process)
        gone = f"while grep -qs {nap[:4]}[.]{nap[5:]} /proc/[0-9]*/cmdline; do sleep 0.05; done; echo gone"
        assert (await run(guest, gone)).stdout == b"gone\n"
