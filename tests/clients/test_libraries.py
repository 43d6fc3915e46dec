"""Client libraries for Python: two of them written in it, two that wrap libssh2 and libssh."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients import driving
from tests.clients.recorder import Recorder
from tests.e2e.places import Place

PROGRAMS = {
    "paramiko": "with_paramiko.py",
    "asyncssh": "with_asyncssh.py",
    "libssh2 (ssh2-python)": "with_ssh2.py",
    "libssh (ssh-python)": "with_libssh.py",
}


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_library_does_all_of_it(
    place: Place, record: Recorder, libraries: Path, medium: Path, tmp_path: Path, client: str
) -> None:
    program = Path(__file__).parent / "python" / PROGRAMS[client]
    driving.drive(client, [libraries / "python", program], place, record, medium, tmp_path)
