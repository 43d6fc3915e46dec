"""A terminal with a person before it: tmux runs the client, types, and shows the screen."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.e2e.waiting import until

_numbers = itertools.count()


class Terminal:
    """One window of a private tmux server."""

    def __init__(self, name: str) -> None:
        self._name = name

    def tmux(self, *arguments: str) -> str:
        """Run one tmux command; its output."""
        command = ["tmux", "-L", self._name, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout

    def screen(self) -> str:
        """What the person sees."""
        return self.tmux("capture-pane", "-p", "-J")

    def type(self, text: str) -> None:
        """Type `text` as it is."""
        self.tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: ``Enter``, ``C-c``, ``Escape``."""
        self.tmux("send-keys", *keys)

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line)
        self.press("Enter")

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def shows(self, text: str, *, seconds: float = 10) -> str:
        """Wait until `text` stands on the screen."""
        try:
            return until(lambda: (screen := self.screen()) if text in self.screen() else "", text, seconds=seconds)
        except AssertionError:
            raise AssertionError(f"{text!r} never came; the screen:\n{self.screen()}") from None


@contextmanager
def terminal(
    command: Sequence[str], environment: dict[str, str], *, size: tuple[int, int] = (80, 24)
) -> Iterator[Terminal]:
    """A terminal of columns and rows in which `command` runs; its end and status are shown."""
    window = Terminal(f"moorage-e2e-{os.getpid()}-{next(_numbers)}")
    columns, rows = size
    settings = [f"{name}={value}" for name, value in environment.items() if name != "TERM"]
    line = f'env -i {shlex.join(["TERM=screen", *settings, *command])}; echo "left with $?"; exec cat'
    window.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", line)
    try:
        yield window
    finally:
        window.tmux("kill-server")
