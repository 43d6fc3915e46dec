"""When something is wrong the user sees one honest line with a reference, and the log explains it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.places import USER, Place, ask, docker_config, of_user
from tests.e2e.processes import tree
from tests.e2e.serving import MOORAGE
from tests.e2e.waiting import until
from tests.parts.engine import RealEngine

REFERENCE = re.compile(rb"\b([0-9a-f]{8,32})\b")


def assert_one_honest_line(place: Place, said: bytes) -> None:
    """`said` is one line with a reference that the log explains with a code and a cause; it has no inner detail."""
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1, said
    assert b"Traceback" not in said
    assert b"/" not in lines[0].replace(b"and/or", b""), f"a path is shown: {lines[0]!r}"
    found = REFERENCE.search(lines[0])
    assert found, f"no reference in {lines[0]!r}"
    reference = found[1].decode()

    def explained() -> bool:  # asked again: the client may have its line before the log is written
        records = [r for r in place.server.records() if reference in json.dumps(r) and r.get("code")]
        return any(record.get("level") in ("error", "warning", "crit", "critical") for record in records)

    until(explained, f"the log explains {reference}")


def test_an_engine_that_is_gone(serve: Serve, engine: RealEngine, tmp_path: Path) -> None:
    place = serve("docker", docker=docker_config(f"unix://{tmp_path}/no.sock", "any:1")["docker"])
    done = place.user.run("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert_one_honest_line(place, done.stderr)


def test_an_image_that_is_missing(serve: Serve, engine: RealEngine) -> None:
    place = serve("docker", docker=docker_config(engine.host, "moorage-test/no-such-image:1")["docker"])
    done = place.user.run("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert_one_honest_line(place, done.stderr)
    until(lambda: not of_user(engine, USER), "no container is left")


def guest_pids(place: Place, engine: RealEngine | None) -> set[int]:
    """The processes of all guests of `place`."""
    if engine is None:
        return tree([place.server.pid]) - {place.server.pid}
    found = of_user(engine, USER)
    return {int(ask(engine, "GET", f"/containers/{c['Id']}/json")["State"]["Pid"]) for c in found}


def test_a_guest_that_is_killed_ends_its_session_with_a_line(
    backend: str, serve: Serve, request: pytest.FixtureRequest
) -> None:
    engine: RealEngine | None = request.getfixturevalue("engine") if backend == "docker" else None
    place = serve(backend)
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    for pid in guest_pids(place, engine):
        with suppress(ProcessLookupError):  # some end with the first
            os.kill(pid, signal.SIGKILL)
    out, err = client.communicate(timeout=15)
    assert out == b""
    assert client.returncode != 0
    assert_one_honest_line(place, err)
    assert place.user.run("echo again").stdout == b"again\n"


def moorage(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a moorage command to its end."""
    return subprocess.run(
        [str(MOORAGE), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15, check=False
    )


WRONG: list[tuple[str, dict[str, Any] | str, str]] = [
    ("unknown-key", {"backend": "sandbox", "shh": {}}, "shh"),
    ("nested-key", {"backend": "sandbox", "ssh": {"listne": "x"}}, "listne"),
    ("wrong-type", {"backend": "sandbox", "log": {"level": "loudly"}}, "log.level"),
    ("no-such-backend", {"backend": "teleport"}, "backend"),
    ("not-yaml", "ssh: [", "wrong.yaml:"),
]


@pytest.mark.parametrize(("config", "sign"), [(c, s) for _, c, s in WRONG], ids=[name for name, _, _ in WRONG])
@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_wrong_configuration_is_explained(
    tmp_path: Path, config: dict[str, Any] | str, sign: str, command: str
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
    done = moorage(command, "--config", str(file))
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert sign in said
    assert "wrong.yaml" in said
    assert "Traceback" not in said


def test_a_configuration_file_that_is_not_there(tmp_path: Path) -> None:
    for command in ("check", "serve"):
        done = moorage(command, "--config", str(tmp_path / "nowhere.yaml"))
        assert done.returncode == 1
        assert "nowhere.yaml" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_port_that_is_taken(place: Place, tmp_path: Path) -> None:
    config = json.loads(place.server.config_file.read_text())
    config["state"] = {"directory": str(tmp_path / "state")}
    file = tmp_path / "second.yaml"
    file.write_text(json.dumps(config))
    done = moorage("serve", "--config", str(file))
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert str(place.server.port) in said
    assert "Traceback" not in said


def test_what_is_good_is_called_good(place: Place) -> None:
    done = moorage("check", "--config", str(place.server.config_file))
    assert done.returncode == 0, done.stdout + done.stderr
