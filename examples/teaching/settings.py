"""Where everything is: from environment variables, with defaults for one machine."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent
# As root guests are other users, who have to get to their homes: not below root's own home.
_DEFAULT = Path("/srv/class") if os.geteuid() == 0 else Path.home() / ".local/state/class"
DIRECTORY = Path(os.environ.get("CLASS_DIR") or _DEFAULT)
PORT = os.environ.get("CLASS_PORT") or "2222"
HOOKS = os.environ.get("CLASS_HOOKS") or "127.0.0.1:8090"
LESSON = os.environ.get("CLASS_LESSON") or "90m"
WARNING = os.environ.get("CLASS_WARNING") or "5m"
STUDENTS = int(os.environ.get("CLASS_STUDENTS") or "30")
ROSTER = DIRECTORY / "roster.csv"
FIRST_UID = 50001

if __name__ == "__main__":
    print(DIRECTORY)
