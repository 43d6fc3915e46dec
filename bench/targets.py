"""What is measured: servers that OpenSSH's client logs in to, each with its own key and port."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.e2e.clients import Client, make_key
from tests.e2e.serving import Server, free_port, write_users
from tests.e2e.waiting import until

from bench.engine import IMAGE, Engine

SPARES: Final = 48
"""Containers that stand ready for the target that is called warm."""


@dataclass
class Target:
    """A running SSH server."""

    name: str
    client: Client
    pid: int
    guests: Callable[[], list[int]]
    """Processes of its guests that are not its descendants."""
    settle: Callable[[], None] = lambda: None
    """Returns when it does nothing any more on account of what was measured last."""


@contextmanager
def sshd(directory: Path) -> Iterator[Target]:
    """OpenSSH's server on a port of its own, with one key and nothing from this machine's settings."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise RuntimeError("the benchmark needs the package openssh-server")
    directory.mkdir(parents=True)
    key, host_key = make_key(directory / "key"), make_key(directory / "host_key")
    client = Client(free_port(), getpass.getuser(), directory, key=key)
    config = directory / "sshd_config"
    config.write_text(
        f"""
        ListenAddress 127.0.0.1:{client.port}
        HostKey {host_key}
        AuthorizedKeysFile {key}.pub
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PermitRootLogin prohibit-password
        MaxStartups 1000
        MaxSessions 1000
        UseDNS no
        PrintMotd no
        Subsystem sftp internal-sftp
        """
    )
    command = [program, "-D", "-e", "-f", str(config)]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks its unprivileged half in
        # An empty home: what this machine's .bashrc costs is not sshd's.
        empty_home = f'mount -t tmpfs none "{Path.home()}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", empty_home, "sh", *command]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    try:
        until(lambda: client.run("true").returncode == 0, "sshd answers")
        yield Target("sshd", client, process.pid, list)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def moorage(directory: Path, backend: str, engine: Engine | None = None, *, spares: int = 0) -> Iterator[Target]:
    """Moorage with one user and one backend; with `spares` containers standing ready it is called warm."""
    directory.mkdir(parents=True)
    key = make_key(directory / "key")
    users = write_users(directory / "users", bench=key)
    settings: dict[str, object] = {}
    if engine is not None:
        settings["docker"] = {
            "connection": {"host": engine.host},
            "execution": {
                "container": {"image": IMAGE},
                "host": {"networkmode": "none"},
                "imagePullPolicy": "Never",
            },
            "pool": {"size": spares},
        }
    config = {"backend": backend, "auth": {"users": {"file": str(users)}}, "log": {"level": "warning"}, **settings}
    config["security"] = {"forwarding": {"forwardingMode": "enable"}}
    with Server(directory, config) as server:
        client = Client(server.port, "bench", directory, key=key)
        until(lambda: client.run("true").returncode == 0, f"moorage logs in\n{server.log()}", seconds=15)
        target = Target(backend, client, server.pid, lambda: _container_processes(engine) if engine else [])
        if engine is not None and spares:
            target.name, target.settle = "warm", partial(_settle, engine, spares)
        yield target


@contextmanager
def all_targets(directory: Path, engine: Engine | None) -> Iterator[list[Target]]:
    """Every server that this machine can run, all at once."""
    with ExitStack() as stack:
        targets = []
        if engine is not None:
            targets.append(stack.enter_context(moorage(directory / "docker", "docker", engine)))
        targets.append(stack.enter_context(moorage(directory / "sandbox", "sandbox")))
        targets.append(stack.enter_context(sshd(directory / "sshd")))
        yield targets


@contextmanager
def warm_targets(directory: Path, engine: Engine | None) -> Iterator[list[Target]]:
    """The server with containers standing ready; none without an engine."""
    if engine is None:
        yield []
        return
    with moorage(directory / "warm", "docker", engine, spares=SPARES) as target:
        yield [target]


def _settle(engine: Engine, spares: int) -> None:
    """Returns when so many containers stand ready, none is being made and none removed."""

    def is_full() -> bool:
        found = engine.call("GET", "/containers/json?all=1")
        names: list[str] = [container["Names"][0] for container in found if container["Image"] == IMAGE]
        return len(names) == spares == sum(name.startswith("/moorage-spare") for name in names)

    until(is_full, "the pool is full", seconds=120)


def _container_processes(engine: Engine) -> list[int]:
    """The first process of each container that runs the benchmark's image."""

    def pids() -> list[int]:
        found = [c["Id"] for c in engine.call("GET", "/containers/json?all=1") if c["Image"] == IMAGE]
        return [int(engine.call("GET", f"/containers/{id_}/json")["State"]["Pid"]) for id_ in found]

    # A guest may be at work before the engine knows that it has started.
    return until(lambda: found if all(found := pids()) and found else [], "the engine knows the guests' processes")
