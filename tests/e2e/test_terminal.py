"""A person at a terminal: shell, sizes, keys and full-screen programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.places import Place
from tests.e2e.terminal import Terminal, terminal
from tests.e2e.waiting import until
from tests.parts import need


@pytest.fixture
def window(place: Place) -> Iterator[Terminal]:
    """A terminal with a shell in a guest."""
    need.program("tmux", "tmux")
    command = [str(word) for word in place.user.command(flags=["-tt"])]
    with terminal(command, place.user.environment) as window:
        window.enter("PS1='ready''> '")
        window.shows("ready> ")
        yield window


def test_a_shell_answers_and_its_status_comes_back(window: Terminal) -> None:
    window.enter("echo $((40 + 2)) answers")
    window.shows("42 answers")
    window.enter("exit 3")
    window.shows("left with 3")


def test_the_terminal_has_the_window_s_size_and_follows_it(window: Terminal) -> None:
    window.enter("stty size")
    window.shows("24 80")
    window.resize(101, 37)
    window.enter("stty size")
    window.shows("37 101")


def test_the_terminal_s_name_reaches_the_guest(window: Terminal) -> None:
    window.enter('echo "[$TERM]"; tty')
    window.shows("[screen]")
    window.shows("/dev/pts/")


def test_control_c_interrupts_the_program_and_not_the_session(window: Terminal) -> None:
    # One program that says that it runs: between two of a shell's, an interrupt may reach the shell alone.
    window.enter("sh -c \"echo be''gin; exec sleep 1000\"; echo not''reached")
    window.shows("begin")
    window.press("C-c")
    window.enter("echo status $?")
    window.shows("status 130")
    assert "notreached" not in window.screen()


def test_job_control_works(window: Terminal) -> None:
    window.enter("echo be''gin; cat")
    window.shows("begin")
    window.press("C-z")
    window.shows("topped")  # Stopped, stopped
    ready = "ready>"
    until(lambda: window.screen().rstrip().endswith(ready), "the shell asks again")
    window.enter("jobs")
    until(lambda: window.screen().count("topped") == 2 and window.screen().rstrip().endswith(ready), "it is listed")
    window.enter("fg")
    window.shows("fg\ncat")
    window.enter("echoed once by the terminal and once by cat")
    until(lambda: window.screen().count("echoed once") == 2, "it goes on")
    window.press("C-d")
    until(lambda: window.screen().rstrip().endswith(ready), "the shell asks once more")
    window.enter("echo st''ill there")
    window.shows("still there")


def test_control_d_ends_the_shell(window: Terminal) -> None:
    window.press("C-d")
    window.shows("left with 0")


def test_a_full_screen_program_draws_and_redraws(window: Terminal, place: Place) -> None:
    # What a wide window shows more of says that the program has redrawn: top throws away what is typed before.
    program, sign, wide, bye = {
        "sandbox": ("busybox vi notes", "- notes", "first line", ":q!"),
        "docker": ("sleep $((10**18)) & top -c", "PID USER", "sleep 1000000000000000000", "q"),
    }[place.backend]
    window.enter(program)
    window.shows(sign)
    window.resize(110, 30)
    if place.backend == "sandbox":
        window.type("ifirst line\r")
        window.press("Escape")
    window.shows(wide)
    window.shows(sign)
    window.enter(bye) if bye.startswith(":") else window.type(bye)
    window.enter("clear; stty size")
    window.shows("30 110")


def test_utf_8_survives_the_terminal(window: Terminal) -> None:
    window.enter("printf 'h\\303\\244fen\\n'")
    window.shows("häfen")
