"""A Docker engine: the one that answers, or a private one that is started here and stopped at the end.

``DOCKER_HOST`` names an engine to use, else the default socket is tried.  If none answers, a private dockerd
is started with files, bridge and socket of its own, so that nothing on the machine is touched.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts import need

_DEFAULT_SOCKET = Path("/var/run/docker.sock")
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RealEngine:
    """A running engine that tests may use."""

    host: str
    """What stands in ``docker.connection.host``."""

    name: str
    """``docker`` or ``podman``."""

    network: bool
    """Do containers get a network of their own by default?"""

    @property
    def socket(self) -> Path:
        """The unix socket's path."""
        return Path(self.host.removeprefix("unix://"))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, for what the tests themselves ask an engine."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path, timeout: float = 2.0) -> bool:
    """Does an engine answer a ping on this socket?"""
    connection = UnixConnection(path, timeout)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def wait_ready(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once the engine answers; fails with the end of its log otherwise."""
    deadline = time.monotonic() + _READY_SECONDS
    while not answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the engine did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def dying_with_us() -> list[str]:
    """What stands in front of a part's command so that it ends when its test run is killed."""
    return [need.program("setpriv", "util-linux"), "--pdeathsig", "TERM"]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a part that we started: kindly, then for sure."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def docker() -> Iterator[RealEngine]:
    """A Docker engine for the time of the block."""
    given = os.environ.get("DOCKER_HOST", "")
    if not given and answers(_DEFAULT_SOCKET):
        given = f"unix://{_DEFAULT_SOCKET}"
    if given.startswith("unix://"):
        if not answers(Path(given.removeprefix("unix://"))):
            need.missing(f"an engine at {given}")
        yield RealEngine(given, "docker", network=True)
        return
    need.root()
    with _private() as engine:
        yield engine


@contextmanager
def _private() -> Iterator[RealEngine]:
    dockerd = need.program("dockerd", "docker.io")
    home = need.cache() / "docker"
    home.mkdir(exist_ok=True)
    # One daemon a data root: test runs at the same time each get a root of their own.
    with _free_root(home) as (root, lock), tempfile.TemporaryDirectory(prefix="moorage-engine-") as scratch:
        run = Path(scratch)
        log = root.with_suffix(".log")
        with _bridge(f"mrg{os.getpid() % 100000}") as bridge, log.open("wb") as output:
            path = run / "docker.sock"
            process = subprocess.Popen(
                [
                    *dying_with_us(),
                    dockerd,
                    f"--data-root={root}",
                    f"--exec-root={run / 'exec'}",
                    f"--pidfile={run / 'pid'}",
                    f"--host=unix://{path}",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--ip-masq=false",
                    f"--bridge={bridge or 'none'}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),  # the root stays taken for as long as anything of this engine lives
            )
            try:
                wait_ready(path, process, log)
                yield RealEngine(f"unix://{path}", "docker", network=bridge is not None)
            finally:
                stop(process)
                _unmount(run)


@contextmanager
def _free_root(home: Path) -> Iterator[tuple[Path, int]]:
    for number in range(16):
        with (home / f"{number}.lock").open("w") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield home / str(number), lock.fileno()
            return
    raise RuntimeError("16 test runs at once are too many")


@contextmanager
def _bridge(name: str) -> Iterator[str | None]:
    """A bridge of our own, so that no rule or address of the machine is touched; None where that is not allowed."""
    made = _make_bridge(name, f"172.29.{os.getpid() % 250 + 1}.1/24")
    try:
        yield name if made else None
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


def _make_bridge(name: str, subnet: str) -> bool:
    need.program("ip", "iproute2")
    steps = (["link", "add", name, "type", "bridge"], ["addr", "add", subnet, "dev", name], ["link", "set", name, "up"])
    return all(subprocess.run(["ip", *step], capture_output=True, check=False).returncode == 0 for step in steps)


def _unmount(run: Path) -> None:
    """Network namespaces stay mounted below the exec root; without this the directory cannot be removed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{run}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
