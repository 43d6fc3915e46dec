"""`moorage demo`, typed as a newcomer types it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.places import of_user
from tests.e2e.processes import tree
from tests.e2e.serving import CANARY, MOORAGE, free_port
from tests.e2e.terminal import terminal
from tests.e2e.test_lifecycle import is_alive
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.engine import RealEngine


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def said(self) -> str:
        """All that it has printed."""
        return self._output.read_text(errors="replace")

    def line(self) -> list[str]:
        """The ``ssh`` line to paste, as words; ``-F none`` keeps this machine's own settings out of it."""
        found = until(lambda: re.search(r"^\s*(ssh .*127\.0\.0\.1)$", self.said(), re.MULTILINE), "an ssh line")
        assert found
        return ["ssh", "-F", "none", *shlex.split(found[1])[1:]]

    def password(self) -> str:
        """The password that it shows."""
        found = until(lambda: re.search(r"password: (\S+)", self.said()), "a password")
        assert found
        return found[1]

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start the printed line with a command behind it, and give the password."""
        return subprocess.Popen(
            ["sshpass", "-e", *self.line(), command],
            env={"PATH": os.environ["PATH"], "SSHPASS": self.password()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, command: str) -> bytes:
        """What the printed line with a command behind it gives."""
        out, err = self.start(command).communicate(timeout=15)
        return out or err


@contextmanager
def demo(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Demo]:
    """`moorage demo` as a newcomer has it: a home, a PATH and nothing else."""
    home = directory / "home"
    home.mkdir(parents=True)
    output = directory / "output"
    plain = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm", **(environment or {})}
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [str(MOORAGE), "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=plain,
            cwd=home,
            start_new_session=True,
        )
    try:
        yield Demo(process, output)
    finally:
        process.kill()
        process.wait()


def demo_arguments(tmp_path: Path) -> list[str]:
    """A port of our own; the rest is the demo's choice."""
    return ["--listen", f"127.0.0.1:{free_port()}", "--state-dir", str(tmp_path / "state")]


@pytest.mark.usefixtures("bubblewrap")
def test_the_printed_line_and_password_give_a_shell(tmp_path: Path) -> None:
    need.program("tmux", "tmux")
    with (
        demo(tmp_path, *demo_arguments(tmp_path)) as running,
        terminal(running.line(), {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}) as window,
    ):
        window.shows("assword:", seconds=15)
        window.enter(running.password())
        window.enter("echo $((40 + 2)) answers; exit 5")
        window.shows("42 answers", seconds=15)
        window.shows("left with 5")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
@pytest.mark.usefixtures("bubblewrap")
def test_ending_the_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, *demo_arguments(tmp_path)) as running:
        client = running.start("echo ready; sleep 1000")
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n", running.said()
        noted = tree([running.process.pid])
        os.killpg(running.process.pid, number)
        client.communicate(timeout=15)
        assert running.process.wait(15) == 0, running.said()
        until(lambda: not [pid for pid in noted if is_alive(pid)], "no process is left")
        assert "Traceback" not in running.said()


@pytest.mark.usefixtures("bubblewrap")
def test_user_and_password_may_be_chosen_and_each_connection_is_told_of(tmp_path: Path) -> None:
    chosen = ["--user", "ida", "--password", f"pass-{CANARY}"]
    with demo(tmp_path, *demo_arguments(tmp_path), *chosen) as running:
        assert running.password() == f"pass-{CANARY}"
        assert "ida@127.0.0.1" in running.line()
        before = running.said()
        assert running.run("echo inside") == b"inside\n"
        until(lambda: "ida" in running.said().removeprefix(before), "the connection is told of")
        assert CANARY not in running.said().removeprefix(before)


def test_the_demo_runs_on_docker(tmp_path: Path, engine: RealEngine, busybox_image: str) -> None:
    settings = ["--backend", "docker", "--image", busybox_image, "--user", "ida"]
    with demo(tmp_path, *demo_arguments(tmp_path), *settings, environment={"DOCKER_HOST": engine.host}) as running:
        assert running.run("test -x /bin/busybox && echo inside") == b"inside\n"
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(15) == 0
        until(lambda: not of_user(engine, "ida"), "no container is left")
