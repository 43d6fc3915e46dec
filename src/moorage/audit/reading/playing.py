"""Plays a recording in a terminal, as fast as it was or as is wished.

What a recording holds is written to the terminal on purpose here, but for what could make the terminal do
more than show: questions that it would answer as if somebody typed, its clipboard, its title, and the
strings of devices.  They are taken out, wherever pieces of the recording end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from moorage.audit.kinds import STDERR, STDOUT
from moorage.audit.recording import Message

RESET: Final = b"\x1b[0m\x1b[?25h\x1b[?1049l\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?7h\x1b(B\r\n"
"""Gives the terminal back as it was, as far as that can be: screen, cursor, mouse and paste modes."""

_STEP: Final = 0.25
"""Seconds after which a pause looks for keys again."""

_FASTER, _SLOWER = 2.0, 0.5
_LONGEST_HELD: Final = 65536

_SEQUENCE: Final = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\))*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC
    rb"|\x1b[ -/]*[0-Z\\`-~]"
    rb"|\xc2[\x80-\x9f]"  # C1 controls in UTF-8
    rb"|\x05|\x0e|\x0f"
)
_BEGUN: Final = re.compile(rb"(?:\x1b\[[0-?]*[ -/]*|\x1b[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\))*\x1b?|\x1b[ -/]*|\xc2)\Z")
_ASKS: Final = re.compile(rb"\x1b\[[0-?]*[ -/]*[cnqtxyR]|\x1b\[[0-?]*\$[a-z]|\x1bZ|\x1b\[[0-?]*i")


class Harmless:
    """Takes out of a stream what is not for showing."""

    def __init__(self) -> None:
        self._held = b""

    def of(self, data: bytes) -> bytes:
        """`data` as far as it can be told; a sequence that has begun waits for its end."""
        data = self._held + data
        begun = _BEGUN.search(data)
        self._held = b""
        if begun is not None and begun.end() > begun.start():
            self._held = data[begun.start() :]
            data = data[: begun.start()]
            if len(self._held) > _LONGEST_HELD:
                self._held = b""
        return _SEQUENCE.sub(_kept, data)


def _kept(found: re.Match[bytes]) -> bytes:
    sequence = found[0]
    if sequence[:2] in {b"\x1b]", b"\x1bP", b"\x1bX", b"\x1b^", b"\x1b_"} or sequence[:1] in {b"\xc2", b"\x05"}:
        return b""
    return b"" if _ASKS.fullmatch(sequence) else sequence


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to play."""

    speed: float = 1.0
    skip_idle: float = 0.0
    """The longest wait in seconds; 0 for as long as it was."""
    start: float = 0.0
    """Seconds from the beginning that are shown at once."""


def play(
    messages: Iterable[Message],
    channel: int | None,
    wishes: Wishes,
    *,
    write: Callable[[bytes], None],
    key: Callable[[float], str],
) -> bool:
    """Show what `channel` has shown, in its time.  False if that was ended with ``q``.

    `key` waits for so many seconds and returns the key that was pressed, or an empty text.
    Space pauses, ``+`` and ``-`` change the speed, ``.`` shows the next piece of a paused recording, ``>``
    goes on at once with what comes ten seconds later.
    """
    shown = Harmless()
    started = previous = None
    speed, until = wishes.speed, wishes.start
    is_paused = False
    for at, data in _output(messages, channel):
        started = at if started is None else started
        previous = at if previous is None else previous
        passed = (at - started) / 1e9
        wait = 0.0 if passed <= until else (at - previous) / 1e9
        if wishes.skip_idle:
            wait = min(wait, wishes.skip_idle)
        previous = at
        left = wait
        while left > 0 or is_paused:
            pause = _STEP if is_paused else min(left / speed, _STEP)
            pressed = key(pause)
            if not pressed and not is_paused:
                left -= pause * speed
            match pressed:
                case "q" | "\x03":
                    return False
                case " ":
                    is_paused = not is_paused
                case "+":
                    speed *= _FASTER
                case "-":
                    speed *= _SLOWER
                case ">":
                    until, left = passed + 10.0, 0.0
                case ".":
                    break
                case _:
                    pass
        write(shown.of(data))
    return True


def _output(messages: Iterable[Message], channel: int | None) -> Iterator[tuple[int, bytes]]:
    for message in messages:
        if message.number == 500 and message.channel == channel and message.payload["stream"] in {STDOUT, STDERR}:
            yield message.timestamp, message.payload["data"] or b""
