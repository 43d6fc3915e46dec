"""A real Vault in memory, for the tests only: it is built here and never shipped.  OpenBao speaks the same API."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.parts.engine import dying_with_us, stop
from tests.parts.gobuilt import Go, built

_MODULE: Final = "github.com/hashicorp/vault"
_VERSION: Final = "v1.21.2"
_SDK: Final = "v0.20.0"
_READY_SECONDS: Final = 30.0
_MAIN: Final = """package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
"""
_POSTGRESQL: Final = f"{_MODULE}/plugins/database/postgresql/postgresql-database-plugin"


@dataclass(frozen=True)
class Vault:
    """A running server and the token that may do everything."""

    url: str
    token: str

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Any:
        """One request to ``/v1/PATH``; the decoded answer, or None.  Raises `urllib.error.HTTPError`."""
        request = urllib.request.Request(
            f"{self.url}/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": token or self.token},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def vault(port: int) -> Iterator[Vault]:
    """A server for the time of the block, with the database plugin for PostgreSQL at hand."""
    made = built("vault", f"{_VERSION} {_SDK} {_MAIN}", _build)
    with tempfile.TemporaryDirectory(prefix="moorage-vault-") as scratch:
        log = Path(scratch) / "log"
        server = Vault(f"http://127.0.0.1:{port}", "root-of-the-tests")
        arguments = [
            "-dev",
            f"-dev-root-token-id={server.token}",
            f"-dev-listen-address=127.0.0.1:{port}",
            "-dev-no-store-token",
            f"-dev-plugin-dir={made / 'plugins'}",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*dying_with_us(), str(made / "vault"), "server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"HOME": scratch, "PATH": "/usr/bin:/bin"},
            )
        try:
            _wait(server, process, log)
            yield server
        finally:
            stop(process)


def _wait(server: Vault, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            server.call("GET", "sys/health")
            return
        except (OSError, urllib.error.URLError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Vault did not start:\n{log.read_text(errors='replace')[-3000:]}") from None
            time.sleep(0.05)


def _build(go: Go, made: Path) -> None:
    source = Path(json.loads(go("mod", "download", "-json", f"{_MODULE}@{_VERSION}"))["Dir"])
    with tempfile.TemporaryDirectory(prefix="moorage-vault-build-") as scratch:
        module = Path(scratch)
        for name in ("go.mod", "go.sum"):
            (module / name).write_text((source / name).read_text())
        (module / "main.go").write_text(_MAIN)
        # Its replacements name folders that a published module does not have.
        inner = [
            f"{_MODULE}/{name}"
            for name in ("api", "api/auth/approle", "api/auth/kubernetes", "api/auth/userpass", "sdk")
        ]
        go(
            "mod",
            "edit",
            "-module=vault-of-the-tests",
            *(f"-dropreplace={name}" for name in inner),
            f"-require={_MODULE}@{_VERSION}",
            f"-replace={_MODULE}/sdk={_MODULE}/sdk@{_SDK}",
            cwd=module,
        )
        flags = ["build", "-mod=mod", "-trimpath", "-ldflags=-s -w"]
        go(*flags, "-tags=minimal", f"-o={made / 'vault'}", ".", cwd=module)
        (made / "plugins").mkdir()
        go(*flags, f"-o={made / 'plugins' / 'postgresql-database-plugin'}", _POSTGRESQL, cwd=module)
