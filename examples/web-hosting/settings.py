"""Where everything is: from environment variables, with defaults for one machine."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent
# As root guests are other users, who have to get to the sites: not below root's own home.
_DEFAULT = Path("/srv/web-hosting") if os.geteuid() == 0 else Path.home() / ".local/state/web-hosting"
DIRECTORY = Path(os.environ.get("HOSTING_DIR") or _DEFAULT)
PORT = os.environ.get("HOSTING_PORT") or "2222"
HOOKS = os.environ.get("HOSTING_HOOKS") or "127.0.0.1:8090"

if __name__ == "__main__":
    print(DIRECTORY)
