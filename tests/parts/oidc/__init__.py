"""A real OpenID provider (oidc-provider on Node.js), installed once from pinned packages and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.engine import dying_with_us, stop

_HERE: Final = Path(__file__).parent
_FILES: Final = ("package.json", "package-lock.json", "server.mjs")
CLIENT: Final = "gateway"


@dataclass(frozen=True)
class OpenIdProvider:
    """A running provider; it knows mia (dev, admins) and bob (guests), with any password."""

    url: str
    redirect_port: int
    secret: str

    @property
    def redirect_uri(self) -> str:
        """The one address that it sends browsers back to."""
        return f"http://127.0.0.1:{self.redirect_port}/"

    def is_active(self, token: str) -> bool:
        """Does it still honour this access token?  (RFC 7662)"""
        pair = b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/token/introspection",
            data=urlencode({"token": token}).encode(),
            headers={"Authorization": f"Basic {pair}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            said: dict[str, Any] = json.loads(answer.read())
        return bool(said["active"])


@contextmanager
def openid_provider(secret: str) -> Iterator[OpenIdProvider]:
    """A provider for the time of the block; `secret` is the client's."""
    node = need.program("node", "nodejs")
    home = _installed()
    port, redirect_port = _free_port(), _free_port()
    log = home / f"log-{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*dying_with_us(), node, str(home / "server.mjs"), str(port), f"http://127.0.0.1:{redirect_port}/", secret],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until(lambda: b"ready" in log.read_bytes() or process.poll() is not None, "the provider runs", seconds=60)
            assert process.poll() is None, log.read_text()
            yield OpenIdProvider(f"http://127.0.0.1:{port}", redirect_port, secret)
        finally:
            stop(process)
            log.unlink()


def _installed() -> Path:
    npm = need.program("npm", "npm")
    content = b"".join((_HERE / name).read_bytes() for name in _FILES)
    home = need.cache() / f"oidc-{hashlib.sha256(content).hexdigest()[:16]}"
    with need.exclusively("oidc"):
        if not (home / "installed").exists():
            home.mkdir(exist_ok=True)
            for name in _FILES:
                shutil.copy(_HERE / name, home)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                need.missing(f"the Node.js packages of an OpenID provider ({done.stderr[-300:]})")
            (home / "installed").touch()
    return home


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
