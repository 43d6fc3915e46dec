"""A server with each backend, the client libraries in an environment of their own, and the recorder."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients import building
from tests.clients.recorder import Recorder
from tests.e2e.clients import Client
from tests.e2e.conftest import bubblewrap, configure, engine, key, place  # noqa: F401 - fixtures
from tests.e2e.places import PASSWORD, Place
from tests.parts import need

HERE = Path(__file__).parent


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Recorder:
    """Notes what the client of a test has done."""
    where: Place = request.getfixturevalue("place")
    results = os.environ.get("MOORAGE_CLIENT_RESULTS")
    return Recorder(where.backend, Path(results) if results else None)


@pytest.fixture
def shared(place: Place) -> Iterator[Client]:  # noqa: F811
    """OpenSSH with one connection for all of a test's programs: they meet in one guest."""
    with place.user.opened() as client:
        yield client


@pytest.fixture
def pat(place: Place) -> Client:  # noqa: F811
    """The user who has a password and no key."""
    return Client(place.server.port, "pat", place.user.directory, password=PASSWORD)


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 MB of noise."""
    path = tmp_path_factory.mktemp("noise") / "big"
    path.write_bytes(random.Random(100).randbytes(100_000_000))
    return path


@pytest.fixture(scope="session")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB of noise, for clients that take their time."""
    path = tmp_path_factory.mktemp("noise") / "medium"
    path.write_bytes(random.Random(20).randbytes(20_000_000))
    return path


@pytest.fixture(scope="session")
def libraries() -> Path:
    """The ``bin`` directory of an environment with the Python clients, pinned and kept in the cache."""
    pins = HERE / "python" / "libraries.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = need.cache() / "clients" / f"python-{digest}"
    with need.exclusively("clients-python"):
        if not (home / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, timeout=120)
            command: list[str | Path] = [
                home / "bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            done = subprocess.run(
                [*command, "--require-hashes", "-r", pins], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                need.missing(f"the Python clients ({done.stderr.strip()[-300:]})")
            (home / "ready").touch()
    return home / "bin"


@pytest.fixture(scope="session")
def go_client() -> list[str | Path]:
    """The client in Go, built."""
    return building.go()


@pytest.fixture(scope="session")
def node_client() -> list[str | Path]:
    """The client in JavaScript, installed."""
    return building.node()


@pytest.fixture(scope="session")
def java_clients() -> building.Commands:
    """The clients in Java, compiled."""
    return building.java()


@pytest.fixture(scope="session")
def rust_client() -> list[str | Path]:
    """The client in Rust, built."""
    return building.rust()
