"""Give a student a fresh home: ``python reset.py NAME``.  What was in it is gone; open connections are ended."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hooks import students
from settings import DIRECTORY

MOORAGE = Path(sys.executable).with_name("moorage")
CONFIG = ("--config", str(DIRECTORY / "config.yaml"))
SECONDS = 20.0


def main(name: str) -> None:
    if name not in students():
        raise SystemExit(f"there is no student {name!r} on the roster")
    # First out of the way: a login that comes in between gets a fresh home, and nobody writes to it from an old one.
    old = DIRECTORY / "homes" / f".{name}.{secrets.token_hex(4)}"
    is_there = (DIRECTORY / "homes" / name).exists()
    if is_there:
        (DIRECTORY / "homes" / name).rename(old)
    for connection in connections():
        if connection["user"] == name:
            # Its status says only whether the connection was still there.
            subprocess.run([MOORAGE, "sessions", "end", connection["id"], *CONFIG], check=False)
    if is_there:
        remove(old)
    print(f"{name} starts anew at the next login")


def connections() -> list[dict[str, str]]:
    """Who is logged in; nobody, with a line that says why, if no server runs."""
    listed = subprocess.run([MOORAGE, "sessions", "ls", "--json", *CONFIG], stdout=subprocess.PIPE, check=False)
    found: list[dict[str, str]] = json.loads(listed.stdout)["connections"] if listed.returncode == 0 else []
    return found


def remove(directory: Path) -> None:
    """Remove it, again until it is gone: programs that are being ended may still write to it."""
    deadline = time.monotonic() + SECONDS
    while directory.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"{directory} cannot be removed: is it still written to, or another user's?")
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
