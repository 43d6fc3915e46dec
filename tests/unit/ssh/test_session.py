"""Programs on session channels, through real clients."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import RawChannel, Serve, Served
from tests.unit.ssh.fakes import FakeGateway

from moorage.errors import BackendError
from moorage.gateway.contract import Progress


async def test_exec_delivers_output_and_exit_status(served: Served) -> None:
    result = await served.ssh("localhost", "echo hello")
    assert (result.code, result.out, result.err) == (0, b"hello\n", b"")


@pytest.mark.parametrize(("command", "count"), [("echo", 1), ("exit 3", 0), ("both", 1)])
async def test_the_first_byte_of_output_is_told_once(served: Served, command: str, count: int) -> None:
    async with served.client() as client:
        await client.run(command, input="some text\n" * 5000)
        [session] = served.gateway.connections[0].sessions
        assert session.has_output == count


async def test_channel_requests_that_nobody_understands_are_told_of_with_their_payload(served: Served) -> None:
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert not await channel.ask(b"no-such@example.com", b"\1\2")
        assert not await channel.ask(b"pty-req", b"\0\0")
        [connection] = served.gateway.connections
        unknown, (number, name, payload, reason) = connection.misunderstood
        assert unknown == (0, "no-such@example.com", b"\1\2", "")
        assert (number, name, payload) == (0, "pty-req", b"\0\0")
        assert reason


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_status_reaches_the_client(served: Served, code: int) -> None:
    assert (await served.ssh("localhost", f"exit {code}")).code == code


async def test_exit_status_keeps_its_32_bits(served: Served) -> None:
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert await channel.ask(b"exec", String("exit 3000000000"))
        await channel.wait_closed()
        assert channel.status == 3000000000


async def test_exit_signal_carries_name_core_flag_and_message(served: Served) -> None:
    async with served.client() as client:
        result = await client.run("die TERM", encoding=None)
        assert result.exit_signal == ("TERM", True, "died", "")


async def test_a_signal_outside_the_rfc_carries_a_domain(served: Served) -> None:
    async with served.client() as client:
        result = await client.run("die BUS", encoding=None)
        assert result.exit_signal[0] == "BUS@openssh.com"


async def test_input_and_its_end_reach_the_program(served: Served) -> None:
    result = await served.ssh("localhost", "cat", input=b"x" * 100_000)
    assert (result.code, result.out) == (0, b"x" * 100_000)


async def test_output_may_end_before_input(served: Served) -> None:
    result = await served.ssh("localhost", "early-eof", input=b"12345")
    assert (result.code, result.out) == (5, b"answer\n")


async def test_standard_error_is_a_stream_of_its_own(served: Served) -> None:
    result = await served.ssh("localhost", "both")
    assert result.code == 3
    assert result.out == b"".join(b"o%d\n" % i for i in range(100))
    assert result.err == b"".join(b"e%d\n" % i for i in range(100))


async def test_shell_and_subsystem_start_programs(served: Served) -> None:
    assert (await served.ssh("localhost", input=b"typed\n")).out == b"typed\n"
    assert (await served.ssh("-s", "localhost", "sftp")).out == b"subsystem\n"


async def test_commands_need_not_be_text(served: Served) -> None:
    command = b"echo \xff\xfe\x80"
    result = await served.ssh("localhost", os.fsdecode(command))
    assert result.out == command[5:] + b"\n"


async def test_terminal_and_window_changes_reach_the_program_with_pixels(served: Served) -> None:
    async with served.client() as client:
        process = await client.create_process(
            "size", term_type="xterm-256color", term_size=(100, 30, 1000, 600), term_modes={53: 0}, encoding=None
        )
        assert await process.stdout.readline() == b"ready\n"
        pty = served.gateway.connections[0].sessions[0].pty
        assert pty is not None
        assert (pty.term, pty.size.columns, pty.size.height, pty.modes) == (b"xterm-256color", 100, 600, {53: 0})
        process.change_terminal_size(132, 50, 1320, 1000)
        assert await process.stdout.readline() == b"132x50 1320x1000\n"


async def test_signals_reach_the_program_by_name(served: Served) -> None:
    async with served.client() as client:
        process = await client.create_process("signals", encoding=None)
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal("USR1")
        assert await process.stdout.readline() == b"USR1\n"


async def test_environment_is_passed_and_a_refused_variable_is_answered_with_failure(served: Served) -> None:
    async with served.client() as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        assert not await channel._make_request(b"env", String("LD_PRELOAD"), String("x"))
        assert await channel._make_request(b"env", String("LANG"), String(b"\xff"))
        assert served.gateway.connections[0].sessions[0].variables == {b"LANG": b"\xff"}


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        (b"no-such-request", b"anything"),
        (b"\xff\xfe", b""),
        (b"auth-agent-req@openssh.com", b""),
        (b"x11-req", Boolean(False) + String("MIT-MAGIC-COOKIE-1") + String("00") + UInt32(0)),
        (b"break", UInt32(500)),
        (b"env", b"\0\0\0\xffshort"),
        (b"pty-req", String("xterm")),
        (b"pty-req", String("xterm") + UInt32(1) * 4 + String(b"\x01\x00")),
        (b"window-change", b""),
        (b"signal", String(b"\xff")),
        (b"exec", b""),
        (b"exec", String("echo") + b"surplus"),
        (b"shell", b"surplus"),
        (b"exit-status", UInt32(0)),
        (b"keepalive@openssh.com", b""),
        (b"xon-xoff", Boolean(True)),
    ],
)
async def test_a_request_that_cannot_be_met_fails_alone(served: Served, name: bytes, payload: bytes) -> None:
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert await channel.ask(name, payload) is False
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"


async def test_a_second_program_on_a_channel_is_refused(served: Served) -> None:
    async with served.client() as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        assert not await channel._make_request(b"exec", String("echo again"))


async def test_a_refused_program_fails_its_request_and_another_may_follow(served: Served) -> None:
    result = await served.ssh("localhost", "nonesuch")
    assert result.code != 0
    assert result.err.startswith(b"moorage: There is no such program. (reference ")
    async with served.client() as client:
        channel = RawChannel(client)
        await channel.open()
        assert not await channel.ask(b"exec", String("nonesuch"))
        assert await channel.ask(b"exec", String("exit 0"))


async def _unavailable(progress: Progress | None) -> None:
    raise BackendError("the engine is down at /secret/path", user_text="The environment could not be started.")


async def test_a_failed_guest_is_explained_on_standard_error(serve: Serve) -> None:
    served = await serve(FakeGateway(before_start=_unavailable))
    result = await served.ssh("localhost", "echo x")
    assert (result.code, result.out) == (255, b"")
    assert result.err == b"moorage: The environment could not be started. (reference 000000000000)\n"


async def test_a_failed_guest_is_explained_on_the_terminal(serve: Serve) -> None:
    served = await serve(FakeGateway(before_start=_unavailable))
    result = await served.ssh("-tt", "localhost")
    assert result.code == 255
    assert result.out == b"moorage: The environment could not be started. (reference 000000000000)\r\n"


async def test_a_lost_guest_is_explained_after_what_it_had_said(served: Served) -> None:
    result = await served.ssh("localhost", "lost")
    assert (result.code, result.out) == (255, b"partial\n")
    assert result.err.startswith(b"moorage: The environment has ended. (reference ")


async def _slow(progress: Progress | None) -> None:
    if progress is not None:
        progress("pulling\timage")
        progress("starting")
        await asyncio.sleep(0)


async def test_waiting_is_shown_on_a_terminal_in_one_line_and_cleared(serve: Serve) -> None:
    served = await serve(FakeGateway(before_start=_slow))
    result = await served.ssh("-tt", "localhost", "echo done")
    assert result.out == b"\rpulling image\x1b[K\rstarting\x1b[K\r\x1b[Kdone\n"


async def test_waiting_is_silent_without_a_terminal(serve: Serve) -> None:
    served = await serve(FakeGateway(before_start=_slow))
    assert (await served.ssh("localhost", "echo done")).out == b"done\n"


async def test_the_reply_comes_before_output_and_close_comes_last(served: Served) -> None:
    seen: list[str] = []

    class Recorder(asyncssh.SSHClientSession[bytes]):
        def session_started(self) -> None:
            seen.append("reply")

        def data_received(self, data: bytes, datatype: Any) -> None:
            seen.append("data")

        def eof_received(self) -> bool:
            seen.append("eof")
            return True

        def exit_status_received(self, status: int) -> None:
            seen.append("status")

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append("close")

    async with served.client() as client:
        channel, _ = await client.create_session(Recorder, "echo x", encoding=None)
        await channel.wait_closed()
    assert seen == ["reply", "data", "eof", "status", "close"]


async def test_input_sent_before_the_reply_is_not_lost(serve: Serve) -> None:
    may_start = asyncio.Event()

    async def wait(_: Progress | None) -> None:
        await may_start.wait()

    served = await serve(FakeGateway(before_start=wait))
    client = await served.spawn("localhost", "cat")
    assert client.stdin is not None
    client.stdin.write(b"early")
    client.stdin.write_eof()
    may_start.set()
    out, _ = await client.communicate()
    assert out == b"early"


async def test_sessions_share_a_connection(served: Served, tmp_path: Path) -> None:
    control = tmp_path / "c"
    master = await served.spawn("-M", "-S", str(control), "-o", "ControlPersist=no", "localhost", "cat")
    assert master.stdin is not None
    assert master.stdout is not None
    try:
        master.stdin.write(b"up\n")
        assert await master.stdout.readline() == b"up\n"
        results = await asyncio.gather(
            *(served.ssh("-S", str(control), "localhost", f"exit {code}") for code in range(10))
        )
        assert [result.code for result in results] == list(range(10))
        assert len(served.gateway.connections) == 1
    finally:
        master.stdin.close()
        await master.wait()


async def test_a_client_that_closes_after_both_ends_still_gets_the_exit_status(served: Served) -> None:
    async with served.client() as client:  # OpenSSH's multiplexing client does so
        channel = RawChannel(client)
        await channel.open()
        assert await channel.ask(b"exec", String("late"))
        (ours,) = served.server.connections[0]._channels.values()
        channel.write_eof()
        channel.close()
        async with asyncio.timeout(5):
            while not ours._is_close_waiting:  # type: ignore[attr-defined]
                await asyncio.sleep(0.001)
            served.gateway.processes[0].signal("9")
            await channel.wait_closed()
    assert channel.status == 9


async def test_closing_the_channel_hangs_up_and_the_connection_goes_on(served: Served) -> None:
    async with served.client() as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        channel.close()
        await channel.wait_closed()
        async with asyncio.timeout(5):
            await served.gateway.processes[0].closed.wait()
            await served.gateway.connections[0].sessions[0].is_closed.wait()
        assert (await client.run("exit 3", encoding=None)).exit_status == 3


async def test_a_vanished_client_ends_its_programs_and_is_reported_once(served: Served) -> None:
    client = await served.client()
    await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
    client.abort()
    async with asyncio.timeout(5):
        await served.gateway.processes[0].closed.wait()
        await served.gateway.connections[0].end


async def test_input_of_a_closed_channel_still_reaches_the_program(served: Served) -> None:
    async with served.client() as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        channel.write(bytes(900_000))
        channel.close()
        process = served.gateway.processes[0]
        async with asyncio.timeout(5):
            await process.closed.wait()
        assert process.received == 900_000


async def test_no_more_sessions_is_taken_at_its_word(served: Served) -> None:
    async with served.client() as client:
        await client.run("exit 0", encoding=None)
        client._send_global_request(b"no-more-sessions@openssh.com")
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("exit 0", encoding=None)


async def test_too_many_sessions_are_refused_with_the_reason(serve: Serve) -> None:
    served = await serve(FakeGateway(max_sessions=1))
    async with served.client() as client:
        await client.create_session(asyncssh.SSHClientSession, "stuck", encoding=None)
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.run("exit 0", encoding=None)
    assert (caught.value.code, caught.value.reason) == (asyncssh.OPEN_RESOURCE_SHORTAGE, "Too many sessions.")


async def test_a_bug_in_one_connection_ends_only_that_one(served: Served) -> None:
    async with served.client() as other:
        result = await served.ssh("localhost", "broken")
        assert result.code == 255
        assert (await other.run("echo alive", encoding=None)).stdout == b"alive\n"
