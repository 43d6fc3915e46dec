"""A private PostgreSQL on the loopback, with an empty data directory each time."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.parts import need
from tests.parts.engine import dying_with_us, stop

PASSWORD: Final = "of-the-tests"
_READY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Postgres:
    """A running server; the user ``postgres`` may do everything."""

    port: int

    def url(self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres") -> str:
        """Where it is, as libpq wants it."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, text: str, *, user: str = "postgres", password: str = PASSWORD, database: str = "postgres") -> str:
        """What psql prints for `text`, unaligned and without heads; raises `subprocess.CalledProcessError`."""
        done = subprocess.run(
            ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url(user, password, database), "-c", text],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()


@contextmanager
def postgres(port: int) -> Iterator[Postgres]:
    """A server for the time of the block."""
    need.program("psql", "postgresql")
    binaries = _binaries()
    with tempfile.TemporaryDirectory(prefix="moorage-postgres-") as scratch:
        home = Path(scratch)
        data, secret, log = home / "data", home / "password", home / "log"
        secret.write_text(PASSWORD)
        become = _become_postgres(home)
        init = [
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run([*become, str(binaries / "initdb"), *init], check=True, capture_output=True, cwd=home)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(home),
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*become, *dying_with_us(), str(binaries / "postgres"), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home,
            )
        try:
            server = Postgres(port)
            _wait(server, process, log)
            yield server
        finally:
            stop(process)


def _wait(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            server.sql("select 1")
            return
        except subprocess.CalledProcessError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-3000:]}") from None
            time.sleep(0.1)


def _become_postgres(home: Path) -> Sequence[str]:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return ()
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        need.missing("the user postgres (package postgresql)")
    for path in (home, home / "password"):
        os.chown(path, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--")


def _binaries() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        need.missing("PostgreSQL's server (package postgresql)")
    return max(found)
