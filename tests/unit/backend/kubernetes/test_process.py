"""What stands in front of a program's output when the image's own agent has started it."""

from __future__ import annotations

import pytest

from moorage.backend.kubernetes.process import read_pid


@pytest.mark.parametrize("pid", [1, 10, 13, 266, 0x0A0D, 0x0D0A, 0x0A0A, 0x0D0D, 0x0A0A0A, 0x0D0A0D, 4194304])
@pytest.mark.parametrize("tty", [False, True])
def test_a_pid_is_read_whole_and_no_more(pid: int, tty: bool) -> None:
    text = pid.to_bytes(4, "little")
    if tty:
        text = text.replace(b"\n", b"\r\n")
    for size in range(len(text)):
        assert read_pid(text[:size], tty=tty) is None
    assert read_pid(text + b"\r\noutput", tty=tty) == (pid, len(text))
