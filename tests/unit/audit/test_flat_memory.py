"""Whatever a recording holds, reading it takes little memory; `tests/soak` reads a GB of each kind."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.unit.audit.hostile import KINDS

MOST = 200
"""MB of a whole process, of which Python and what is imported are 30."""


def peak(kind: str, megabytes: int) -> int:
    """The MB that reading so many takes."""
    command = [sys.executable, "-m", "tests.unit.audit.hostile", kind, str(megabytes)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1100, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_hostile_recording_is_read_in_flat_memory(kind: str) -> None:
    assert peak(kind, 16 if kind == "small" else 64) < MOST
