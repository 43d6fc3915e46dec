"""Conformance, third part: pseudo-terminals (RFC 4254 §6.2, §6.7, §8)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from moorage.gateway.contract import Guest
from moorage.gateway.model import Program, ProgramKind, Pty, Size
from moorage.testing.suite import Suite, command, ended, needs, start

VINTR, VERASE, ISIG, ICANON, ECHO, OPOST, ONLCR = 1, 3, 50, 51, 53, 70, 72


def terminal(size: Size = Size(), modes: Mapping[int, int] | None = None) -> Pty:  # noqa: B008
    """A terminal as OpenSSH's client asks for it."""
    return Pty(b"xterm-256color", size, modes or {})


class TerminalTests(Suite):
    """Sentences of `Pty`, `Process.resize` and what a terminal changes about `Process`."""

    async def _shown(self, guest: Guest, text: str, pty: Pty) -> str:
        process, recorder = await start(guest, command(text, pty=pty))
        assert (await ended(process)).code == 0
        return recorder.stdout.decode()

    async def test_a_program_has_a_terminal_if_one_was_asked_for(self, guest: Guest) -> None:
        text = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo $TERM"
        assert (await self._shown(guest, text, terminal())) == "xterm-256color\r\n"
        process, recorder = await start(guest, "[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none")
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"none\n"

    async def test_a_shell_on_a_terminal_talks(self, guest: Guest) -> None:
        process, recorder = await start(guest, Program(ProgramKind.SHELL, pty=terminal()))
        process.write(b"echo $((40+2))-answer\n")
        await recorder.until_output(b"42-answer")
        process.write(b"exit 3\n")
        assert (await ended(process)).code == 3
        assert recorder.stderr == b""

    async def test_a_terminal_carries_output_and_error_together(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("echo out; echo err >&2", pty=terminal()))
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"out\r\nerr\r\n"
        assert recorder.stderr == b""

    async def test_a_terminal_has_the_size_that_was_asked_for(self, guest: Guest) -> None:
        assert await self._shown(guest, "stty size", terminal(Size(133, 47))) == "47 133\r\n"

    async def test_a_terminal_is_resized(self, guest: Guest) -> None:
        text = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
        process, recorder = await start(guest, command(text, pty=terminal(Size(80, 24))))
        await recorder.until_output(b"ready")
        process.resize(Size(101, 33))
        await recorder.until_output(b"33 101")
        assert (await ended(process)).code == 0

    @needs("has_perl")
    async def test_a_terminal_knows_its_pixels(self, guest: Guest) -> None:
        show = """perl -e 'ioctl(STDIN, 0x5413, $_ = "\\0" x 8); print join(" ", unpack("S4", $_)), "\\n"'"""
        text = f"{show}; trap '' WINCH; echo ready; read go; {show}"
        process, recorder = await start(guest, command(text, pty=terminal(Size(80, 24, 640, 480), {ECHO: 0})))
        await recorder.until_output(b"ready")
        assert recorder.stdout.startswith(b"24 80 640 480\r\n")
        process.resize(Size(90, 30, 900, 600))
        process.write(b"go\n")
        await recorder.until_output(b"30 90 900 600")
        assert (await ended(process)).code == 0

    async def test_resize_without_a_terminal_is_nothing(self, guest: Guest) -> None:
        process, recorder = await start(guest, "cat")
        process.resize(Size(1, 1))
        process.write(b"on")
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"on"

    @pytest.mark.parametrize("size", [Size(0, 0), Size(1, 1), Size(65535, 65535), Size(2**32 - 1, 2**32 - 1)])
    async def test_an_absurd_size_harms_nobody(self, guest: Guest, size: Size) -> None:
        process, recorder = await start(guest, command("echo ready; read go", pty=terminal(size)))
        await recorder.until_output(b"ready")
        process.resize(size)
        process.write(b"go\n")
        assert (await ended(process)).code == 0

    @needs("has_pty_modes")
    async def test_modes_are_in_force_before_the_program_starts(self, guest: Guest) -> None:
        modes = {VINTR: 2, VERASE: 8, ECHO: 0, ICANON: 1, ISIG: 1, OPOST: 1, ONLCR: 0}
        shown = await self._shown(guest, "stty -a", terminal(modes=modes))
        words = shown.replace(";", " ").split()
        assert {"-echo", "icanon", "isig", "opost", "-onlcr"} <= set(words)
        assert "intr = ^B" in shown
        assert "erase = ^H" in shown
        assert "\r\n" not in shown

    async def test_unknown_modes_are_ignored(self, guest: Guest) -> None:
        shown = await self._shown(guest, "stty size", terminal(modes={0: 7, 99: 1, 159: 5, 255: 2**32 - 1}))
        assert shown == "24 80\r\n"

    async def test_the_interrupt_character_interrupts(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("echo ready; exec sleep 61", pty=terminal()))
        await recorder.until_output(b"ready")
        process.write(b"\x03")
        status = await ended(process)
        assert status.signal == "INT" if self.has_signals else status.code == 130

    @needs("has_agent")
    async def test_the_end_of_input_ends_what_reads_the_terminal(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("cat; echo over", pty=terminal(modes={ECHO: 0})))
        process.write(b"line\n")
        await recorder.until_output(b"line")
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"line\r\nover\r\n"

    async def test_all_output_comes_before_the_exit(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("head -c 3000000 /dev/zero; exit 5", pty=terminal()), keep=False)
        assert (await ended(process)).code == 5
        assert recorder.count == 3_000_000

    async def test_a_background_process_does_not_hold_a_terminal_s_session(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("(trap '' HUP; exec sleep 63) & echo early", pty=terminal()))
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"early\r\n"
        await recorder.until_lost()

    async def test_close_hangs_up_the_terminal(self, guest: Guest) -> None:
        path = self.path("hup")
        text = f"trap 'echo gone > {path}; exit' HUP; exec 2> /dev/null; echo ready; while :; do sleep 0.05; done"
        process, recorder = await start(guest, command(text, pty=terminal()))
        await recorder.until_output(b"ready")
        process.close()
        await recorder.until_lost()
        check, seen = await start(guest, f"while [ ! -s {path} ]; do sleep 0.05; done; cat {path}; rm {path}")
        assert (await ended(check)).code == 0
        assert seen.stdout == b"gone\n"
        await ended(process)

    async def test_a_terminal_that_nobody_reads_stops_its_program(self, guest: Guest) -> None:
        process, recorder = await start(guest, command("head -c 9000000 /dev/zero", pty=terminal()), keep=False)
        process.pause_reading()
        paused_at = recorder.count
        other, _ = await start(guest, "sleep 0.1; echo on")
        assert (await ended(other)).code == 0
        assert recorder.count == paused_at
        process.resume_reading()
        assert (await ended(process)).code == 0
        assert recorder.count == 9_000_000
