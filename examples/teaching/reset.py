"""Give a student a fresh home: ``python reset.py NAME``.  What was in it is gone; open connections are ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from hooks import students
from settings import DIRECTORY


def main(name: str) -> None:
    if name not in students():
        raise SystemExit(f"there is no student {name!r} on the roster")
    config = ["--config", str(DIRECTORY / "config.yaml")]
    listed = subprocess.run(["moorage", "sessions", "ls", "--json", *config], capture_output=True, check=True)
    for connection in json.loads(listed.stdout)["connections"]:
        if connection["user"] == name:
            subprocess.run(["moorage", "sessions", "end", connection["id"], *config], check=True)
    shutil.rmtree(DIRECTORY / "homes" / name, ignore_errors=True)
    print(f"{name} starts anew at the next login")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
