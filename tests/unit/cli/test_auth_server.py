"""``moorage auth-server`` as a process: it listens, answers, and ends on a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner
from tests.unit.auth.lines import captured_log

from moorage.cli.auth_server import command

RUN = [sys.executable, "-c", "from moorage.cli.auth_server import command; command()"]


def ask(url: str, path: str, fields: dict[str, str]) -> object:
    request = urllib.request.Request(url + path, json.dumps(fields).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(how: signal.Signals) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--user", "mia:s3:cret", "--image", "mia=debian:12"]
    with subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[6].rstrip(".")
        assert url.startswith("http://127.0.0.1:")
        yes = {"success": True, "authenticatedUsername": "mia"}
        assert ask(url, "/password", {"username": "mia", "passwordBase64": "czM6Y3JldA=="}) == yes
        assert ask(url, "/password", {"username": "foo", "passwordBase64": ""}) == {"success": False}
        config = {"config": {"docker": {"execution": {"container": {"Image": "debian:12"}}}}}
        assert ask(url, "/config", {"username": "mia"}) == config
        process.send_signal(how)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--user", "mia"], 2, "NAME:PASSWORD"),
        (["--user", ":x"], 2, "NAME:PASSWORD"),
        (["--image", "mia"], 2, "NAME=IMAGE"),
        (["--listen", "8080"], 2, "HOST:PORT"),
        (["--listen", "nowhere.invalid:0"], 1, "nowhere.invalid"),
        (["--listen", "127.0.0.1:0", "--users", "/nowhere/users.yaml"], 1, "/nowhere/users.yaml"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_line(arguments: list[str], status: int, said: str) -> None:
    with captured_log():  # puts the log's settings back
        result = CliRunner().invoke(command, arguments)
    assert result.exit_code == status
    assert said in result.output
    assert "Traceback" not in result.output


def test_help_has_examples() -> None:
    assert "moorage auth-server --user" in CliRunner().invoke(command, ["--help"]).output
