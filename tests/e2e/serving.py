"""A real `moorage serve` process for a test, and what it wrote."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import argon2
from tests.e2e.waiting import until

MOORAGE = Path(sys.executable).with_name("moorage")

CANARY: Final = "c4n4rybird"
"""Part of every secret in these tests; a log that has it, plain or encoded, has leaked."""

_FIRST_PORT: Final = 20_000
_PORTS: Final = 12_000
"""All below what the kernel takes for outgoing connections."""
_ports: Final = itertools.count()


def free_port() -> int:
    """A TCP port on the loopback that nobody listened on a moment ago, and that no connection is given by chance.

    Each process begins at another place, so that what runs beside it looks elsewhere.
    """
    while True:
        port = _FIRST_PORT + (200 * os.getpid() + next(_ports)) % _PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def write_users(path: Path, **users: str | Path) -> Path:
    """A users file with cheap hashes: a text is a password, a path is the user's private key."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    entries = {
        name: {"keys": [secret.with_suffix(".pub").read_text().strip()]}
        if isinstance(secret, Path)
        else {"password": hasher.hash(secret)}
        for name, secret in users.items()
    }
    path.write_text(json.dumps({"users": entries}))
    path.chmod(0o600)
    return path


def leaks(text: str) -> list[str]:
    """The lines that hold a secret of these tests, plain, in hex or in base64."""
    secret = CANARY.encode()
    # In base64 a text looks different at each of three offsets; its rim depends on its neighbours.
    shifted = [base64.b64encode(b"x" * i + secret)[4 if i else 0 : -4].decode() for i in range(3)]
    return [line for line in text.splitlines() if any(f in line for f in (CANARY, secret.hex(), *shifted))]


class Server:
    """One `moorage serve --config` process in a directory of its own.

    Entering starts it and returns when it answers; leaving ends it, hard if need be.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any] | str,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        handed: Sequence[int] = (),
    ) -> None:
        """`config` is what the file says, or, where the very text matters, the file; then `port` is what it names.

        `prefix` is a command that runs the one behind it; `handed` are descriptors that it gets.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or free_port()
        self.config_file = directory / "config.yaml"
        self.log_file = directory / "server.log"
        self.environment = {**os.environ, **(environment or {})}
        self._prefix = prefix
        self._handed = handed
        self._process: subprocess.Popen[bytes] | None = None
        if isinstance(config, str):
            self.config_file.write_text(config)
        else:
            self.configure(config)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server."""
        assert self._process is not None, "the server was not started"
        return self._process

    def log(self) -> str:
        """All that the server has written, log and complaints."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        """The log as records; lines that are no JSON are left out, and one that is just being written."""
        lines = [line for line in self.log().split("\n")[:-1] if line.startswith("{")]
        return [json.loads(line) for line in lines]

    def start(self) -> None:
        """Start the server and wait until it greets."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, str(MOORAGE), "serve", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # a Ctrl-C in the terminal of pytest is not for it
                pass_fds=self._handed,
            )
        until(lambda: self.greets() or self.process.poll() is not None, f"the server answers\n{self.log()}", seconds=15)
        assert self.process.poll() is None, f"the server did not start:\n{self.log()}"

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration file, with our port and state directory where it names none."""
        ssh = {"listen": f"127.0.0.1:{self.port}", **config.get("ssh", {})}
        whole = {"state": {"directory": str(self.directory / "state")}, **config, "ssh": ssh}
        self.config_file.write_text(json.dumps(whole, indent=2))

    def greets(self) -> bool:
        """Does the port answer as an SSH server does?"""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 15) -> int:
        """The exit status of a server that is about to end."""
        return self.process.wait(seconds)

    def end(self) -> None:
        """End the server if it still runs; its log must have kept every secret."""
        self._end()
        assert not leaks(self.log()), f"a secret is in the log: {leaks(self.log())}"

    def _end(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(3)
            return
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the server did not end on SIGTERM:\n{self.log()[-4000:]}") from None
