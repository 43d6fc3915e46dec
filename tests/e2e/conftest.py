"""Servers and clients for the end-to-end tests."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients import Client, end_started, make_key
from tests.e2e.places import PASSWORD, USER, Place, containers, docker_config, sandbox_config
from tests.e2e.serving import Server, write_users
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.engine import RealEngine

BACKENDS = ["sandbox", "docker"]


@pytest.fixture(scope="session", autouse=True)
def _clients() -> None:
    """The programs that nearly every test here drives."""
    for name, package in (("ssh", "openssh-client"), ("sshpass", "sshpass")):
        need.program(name, package)


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    """Whatever a test has started ends with it."""
    yield
    end_started()


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Bubblewrap, on a machine that lets it make namespaces."""
    program = need.program("bwrap", "bubblewrap")
    trial = [program, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        need.missing(f"bubblewrap that may make namespaces here ({done.stderr.strip()})")


@pytest.fixture(scope="session")
def engine(docker_engine: RealEngine, debian_image: str) -> Iterator[RealEngine]:
    """The Docker engine with its image; when all tests have ended no container of ours may be left on it."""
    del debian_image  # made here, where a test's own time does not count
    yield docker_engine
    with suppress(AssertionError):
        until(lambda: not containers(docker_engine), "no container is left", seconds=15)
    assert not containers(docker_engine), "containers are left after all tests"


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of the user of all servers."""
    return make_key(tmp_path_factory.mktemp("keys") / "id")


Configure = Callable[[str], dict[str, Any]]
Serve = Callable[..., Place]


@pytest.fixture(scope="session")
def configure(request: pytest.FixtureRequest, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Configure:
    """The configuration for a backend by its name, with one user: a key and, as ``pat``, a password."""
    secrets: dict[str, str | Path] = {USER: key, "pat": PASSWORD}
    users = write_users(tmp_path_factory.mktemp("users") / "users", **secrets)
    common = {"auth": {"users": {"file": str(users)}}, "log": {"level": "debug"}}

    def chosen(backend: str) -> dict[str, Any]:
        if backend == "sandbox":
            request.getfixturevalue("bubblewrap")
            return {**common, **sandbox_config()}
        running: RealEngine = request.getfixturevalue("engine")
        return {**common, **docker_config(running.host, request.getfixturevalue("debian_image"))}

    return chosen


@pytest.fixture(scope="session", params=BACKENDS)
def place(
    request: pytest.FixtureRequest, configure: Configure, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A server with each backend in turn, kept for the whole session: tests must not end or change it."""
    backend: str = request.param
    directory = tmp_path_factory.mktemp(backend)
    with Server(directory, configure(backend)) as server:
        yield Place(backend, server, Client(server.port, USER, directory, key=key))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, configure: Configure) -> str:
    """The name of each backend in turn, for tests that start a server of their own with `serve`."""
    name = str(request.param)
    configure(name)  # what it needs is made here, where a test's own time does not count
    return name


@pytest.fixture
def serve(configure: Configure, key: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start a server for this test alone: ``serve("docker", ssh={…})``; ended with the test."""
    started: list[Server] = []
    numbers = itertools.count()

    def start(backend: str, **sections: Any) -> Place:
        directory = tmp_path / f"server{next(numbers)}"
        server = Server(directory, {**configure(backend), **sections})
        started.append(server)
        server.start()
        return Place(backend, server, Client(server.port, USER, directory, key=key))

    yield start
    for server in started:
        server.end()
