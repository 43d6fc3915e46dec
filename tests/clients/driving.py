"""How the programs around client libraries are called, and what they have to show.

Each is called as ``PROGRAM PORT USER password|key SECRET UP DOWN`` and prints one ``name=value`` a line:
``version``; then ``output``, ``errors`` and ``status`` of ``echo out; echo err >&2; exit 7``. With a key it goes on,
on the same connection: ``counted`` is what ``wc -c`` says of five bytes; ``terminal`` is all that a shell on a PTY of
93 columns and 31 rows shows when it is told ``stty size; exit 3``, and ``left`` its status; ``sent`` is the guest's
SHA-256 of the file UP, sent through a command, which comes back as DOWN; with SFTP, UP is put, renamed to ``named``
(``listed`` says whether it is seen) and fetched as DOWN.sftp.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.clients.recorder import Recorder
from tests.e2e.places import PASSWORD, USER, Place


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def clean(**more: str) -> dict[str, str]:
    """An environment with no agent and no locale."""
    keep = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**keep, "HOME": "/proc/nowhere", **more}


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the program prints, by name."""
    done = subprocess.run(
        command, capture_output=True, env=environment or clean(), timeout=50, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr.decode(errors="replace")[-4000:])
    lines = done.stdout.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def drive(
    client: str, command: Sequence[str | Path], place: Place, record: Recorder, source: Path, work: Path, **how: bool
) -> None:
    """Let the program show all that it can, with the password and with the key."""
    assert place.user.key is not None
    ends = [source, work / "down"]
    port = str(place.server.port)
    first = run([*command, port, "pat", "password", PASSWORD, *ends])
    assert (first["output"], first["errors"], first["status"]) == ("out", "err", "7")
    record(client, "password", version=first["version"])

    facts = run([*command, port, USER, "key", place.user.key, *ends])
    assert (facts["output"], facts["errors"], facts["status"]) == ("out", "err", "7")
    record(client, "key", "exec", "status")
    assert facts["counted"] == "5"
    record(client, "input")
    assert "31 93" in facts["terminal"]
    assert facts["left"] == "3"
    record(client, "terminal")
    assert facts["sent"] == digest(source) == digest(work / "down")
    record(client, "stream")
    if how.get("sftp", True):
        assert facts["listed"].lower() == "true"
        assert digest(work / "down.sftp") == digest(source)
        record(client, "files", "rename")
