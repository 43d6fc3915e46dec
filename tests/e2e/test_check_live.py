"""`moorage check --live` asks real services, and tells what answers, what fails, and what lets strangers in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.hooks import Answer, Hooks, hooks, say
from tests.e2e.serving import free_port
from tests.e2e.test_failures import moorage


def checked(tmp_path: Path, url: str, *options: str) -> tuple[int, str]:
    webhook = {"method": "webhook", "webhook": {"url": url, "timeout": "1s"}}
    config = {
        "state": {"directory": str(tmp_path)},
        "backend": "sandbox",
        "auth": {"password": webhook, "publicKey": webhook, "authz": webhook},
        "configserver": {"url": f"{url}/config", "timeout": "1s"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    done = moorage("check", "--config", str(path), "--live", *options)
    assert done.stderr == ""
    return done.returncode, done.stdout


def well(running: Hooks) -> None:
    for path in ("/password", "/pubkey"):
        running.answers[path] = lambda request: say(success=False)
    running.answers["/authz"] = lambda request: say(success=False)
    running.answers["/config"] = lambda request: say(config={})


def test_services_that_answer(tmp_path: Path) -> None:
    with hooks() as running:
        well(running)
        status, text = checked(tmp_path, running.url)
        assert status == 0
        assert [line.split()[0] for line in text.splitlines()] == ["password", "publicKey", "authz", "config"]
        assert all(" ms " in line and line.endswith("answers") for line in text.splitlines())
        asked = [path for path, _ in running.asked]
        assert asked == ["/password", "/pubkey", "/authz", "/config"], "once each"
        assert {request["username"] for _, request in running.asked} == {"moorage-check"}
        _, as_json = checked(tmp_path, running.url, "--json")
        assert [one["is_good"] for one in json.loads(as_json)["webhooks"]] == [True] * 4


@pytest.mark.parametrize(
    ("path", "answer", "complaint"),
    [
        ("/password", say(success=True), "password .* lets a stranger in"),
        ("/password", Answer(b"oops", 500), "password .* fails: .* status 500"),
        ("/pubkey", Answer(b"no json"), "publicKey .* fails: "),
        ("/config", Answer(b"no json"), "config .* fails: "),
    ],
    ids=["lets in", "broken", "no JSON", "no JSON as configuration"],
)
def test_a_service_that_does_not_do_what_it_should(tmp_path: Path, path: str, answer: Answer, complaint: str) -> None:
    import re

    with hooks() as running:
        well(running)
        running.answers[path] = lambda request: answer
        status, text = checked(tmp_path, running.url)
    assert status == 1
    assert re.search(complaint, text)
    assert len([line for line in text.splitlines() if line.endswith("answers")]) == 3


def test_a_configuration_server_that_does_not_know_the_name(tmp_path: Path) -> None:
    with hooks() as running:
        well(running)
        running.answers["/config"] = lambda request: Answer(b"", 404)
        status, text = checked(tmp_path, running.url)
    assert status == 0
    assert "does not know the name" in text


def test_nobody_is_there(tmp_path: Path) -> None:
    status, text = checked(tmp_path, f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert text.count("fails: ") == 4


def test_nothing_is_to_be_asked(tmp_path: Path) -> None:
    config: dict[str, Any] = {"state": {"directory": str(tmp_path)}, "backend": "sandbox"}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    done = moorage("check", "--config", str(tmp_path / "config.yaml"), "--live")
    assert (done.returncode, done.stdout) == (0, "no webhook is configured\n")
