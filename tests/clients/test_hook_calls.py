"""What a login costs the services behind it: each of them is asked once, whatever the client."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.clients import building
from tests.clients.driving import clean
from tests.clients.test_languages import JAVA
from tests.clients.test_libraries import PROGRAMS
from tests.e2e.clients import Client, make_key
from tests.e2e.hooks import Hooks, hooks, say
from tests.e2e.serving import Server
from tests.parts import need

ONCE = {"password": {"/password": 1, "/authz": 1, "/config": 1}, "key": {"/pubkey": 1, "/authz": 1, "/config": 1}}
HERE = Path(__file__).parent


@dataclass
class Asked:
    """A server that asks webhooks about everything, and its users' key."""

    server: Server
    hook: Hooks
    key: Path

    def counted(self) -> dict[str, int]:
        """How often each path was asked since the last time."""
        found = Counter(path for path, _ in self.hook.asked)
        self.hook.asked.clear()
        return dict(found)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, bubblewrap: None) -> Iterator[Asked]:
    """The server, on the sandbox."""
    directory = tmp_path_factory.mktemp("asked")
    key = make_key(directory / "key")
    public = " ".join((directory / "key.pub").read_text().split()[:2])
    with hooks() as hook:
        webhook = {"method": "webhook", "webhook": {"url": hook.url}}
        config = {
            "backend": "sandbox",
            "auth": {"password": webhook, "publicKey": webhook, "authz": webhook},
            "configserver": {"url": f"{hook.url}/config"},
        }
        hook.answers["/password"] = lambda request: say(success=True)
        hook.answers["/pubkey"] = lambda request: say(success=request["publicKey"].strip() == public)
        hook.answers["/authz"] = lambda request: say(success=True)
        hook.answers["/config"] = lambda request: say(config={})
        with Server(directory / "server", config) as server:
            hook.asked.clear()
            yield Asked(server, hook, key)


@pytest.mark.parametrize("kind", ["password", "key"])
def test_openssh(asked: Asked, tmp_path: Path, kind: str) -> None:
    secret = {"key": asked.key} if kind == "key" else {"password": "any"}
    client = Client(asked.server.port, "mia", tmp_path, **secret)
    assert client.run("echo in").stdout == b"in\n"
    assert asked.counted() == ONCE[kind]


@pytest.mark.parametrize("kind", ["password", "key"])
def test_dropbear(asked: Asked, tmp_path: Path, kind: str) -> None:
    dbclient, convert = need.program("dbclient", "dropbear-bin"), need.program("dropbearconvert", "dropbear-bin")
    command = [dbclient, "-y", "-y", "-p", str(asked.server.port)]
    environment = clean(HOME=str(tmp_path))
    if kind == "key":
        subprocess.run([convert, "openssh", "dropbear", asked.key, tmp_path / "key"], check=True, capture_output=True)
        command += ["-i", str(tmp_path / "key")]
    else:
        environment["DROPBEAR_PASSWORD"] = "any"
    done = subprocess.run(
        [*command, "mia@127.0.0.1", "echo in"], env=environment, capture_output=True, timeout=30, check=False
    )
    assert done.stdout == b"in\n", done.stderr
    assert asked.counted() == ONCE[kind]


@pytest.fixture(params=[*PROGRAMS, "Go", "Node", *JAVA, "Rust"])
def library(request: pytest.FixtureRequest) -> list[str | Path]:
    """How a client is called; the first run builds it here, where the test's own time does not count."""
    client: str = request.param
    if client in PROGRAMS:
        return [request.getfixturevalue("libraries") / "python", HERE / "python" / PROGRAMS[client]]
    if client in JAVA:
        java: building.Commands = request.getfixturevalue("java_clients")
        return java(JAVA[client])
    command: list[str | Path] = request.getfixturevalue(f"{client.lower()}_client")
    return command


@pytest.mark.parametrize("kind", ["password", "key"])
def test_a_library(library: list[str | Path], asked: Asked, tmp_path: Path, kind: str) -> None:
    (tmp_path / "up").write_bytes(b"a little")
    secret = asked.key if kind == "key" else "any"
    ends = [tmp_path / "up", tmp_path / "down"]
    done = subprocess.run(
        [*library, str(asked.server.port), "mia", kind, secret, *ends],
        env=clean(),
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert asked.counted() == ONCE[kind]
