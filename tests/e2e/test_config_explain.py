"""``moorage config explain`` beside a real webhook: what it says, what it sends, and how it fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.hooks import hooks, say
from tests.e2e.serving import CANARY, MOORAGE, leaks

BASE: dict[str, Any] = {
    "auth": {"password": {"method": "webhook", "webhook": {"url": "http://127.0.0.1:1"}}},
    "backend": "sandbox",
    "security": {"forwarding": {"forwardingMode": "filter", "allowedTargets": ["old:1"]}},
}
SECRETS: dict[str, Any] = {
    "environment": {"TOKEN": {"value": CANARY, "sensitive": True}, "PLACE": {"value": "north"}},
    "files": {"/home/mia/.netrc": {"value": "YzRuNHJ5YmlyZA==", "sensitive": True}},
}


def explain(tmp_path: Path, config: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**BASE, **config}, indent=2))
    line = [str(MOORAGE), "config", "explain", "--config", str(file), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=40, check=False)


def test_the_hook_is_asked_and_its_answer_told_apart_from_the_file(tmp_path: Path) -> None:
    with hooks() as hook:
        targets = {"security": {"forwarding": {"allowedTargets": ["db:5432"]}}, "sandbox": {"network": "host"}}
        hook.answers["/config"] = lambda _: say(config=targets, **SECRETS)
        url = f"http://user:{CANARY}@{hook.url.partition('//')[2]}/config"
        given = ["--user", "mia", "--address", "192.0.2.7", "--metadata", 'GROUPS=["admins"]']
        text = explain(tmp_path, {"configserver": {"url": url}}, *given)
        told = explain(tmp_path, {"configserver": {"url": url}}, *given, "--json")
        (asked, _) = hook.requests("/config")
    assert text.returncode == told.returncode == 0, text.stderr + told.stderr
    assert (asked["username"], asked["remoteAddress"]) == ("mia", "192.0.2.7:1")
    assert asked["metadata"] == {"GROUPS": {"value": '["admins"]', "sensitive": False}}
    for said in (text.stdout, text.stderr, told.stdout, told.stderr):
        assert not leaks(said)
    lines = [line.split() for line in text.stdout.splitlines()]
    assert ["sandbox.network", "host", "config", "webhook"] in lines
    assert ["tunnels", "to", "only", "db:5432"] in lines
    assert ["variable", "PLACE", "north", "config", "webhook"] in lines
    assert lines[0][:3] == ["mia", "from", "192.0.2.7;"]
    answer = json.loads(told.stdout)
    rows = {row["path"]: (row["value"], row["origin"]) for row in answer["allowed"]["settings"]}
    assert rows["security.forwarding.allowedTargets"] == (["db:5432"], "config webhook")
    assert rows["security.forwarding.forwardingMode"][0] == "filter"
    assert rows["security.forwarding.forwardingMode"][1].startswith(str(tmp_path / "config.json:"))
    assert answer["allowed"]["tunnels to"] == "only db:5432"
    assert answer["launched"]["variables"][0] == {"name": "TOKEN", "value": "**********", "sensitive": True}


def test_without_the_hook_the_file_alone_counts(tmp_path: Path) -> None:
    done = explain(tmp_path, {"configserver": {"url": "http://127.0.0.1:1/config"}}, "--user", "mia", "--no-hook")
    assert done.returncode == 0, done.stderr
    assert "only old:1" in done.stdout
    assert "no webhook was asked" in done.stdout


def test_an_answer_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with hooks() as hook:
        hook.answers["/config"] = lambda _: say(config={"backend": "nonsense"}, **SECRETS)
        done = explain(tmp_path, {"configserver": {"url": f"{hook.url}/config"}}, "--user", "mia", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the login of mia would fail" in done.stderr
    assert "backend" in done.stderr
    assert not leaks(done.stderr)


def test_a_hook_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    done = explain(tmp_path, {"configserver": {"url": "http://127.0.0.1:1/config"}}, "--user", "mia")
    assert (done.returncode, done.stdout) == (1, "")
    assert "http://127.0.0.1:1/config cannot be asked" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--user", "mia", "--address", "here"], "here is no IP address"),
        (["--user", "mia", "--metadata", "NAME"], "'NAME' is not NAME=VALUE"),
        ([], "Missing option '--user'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, words: list[str], complaint: str) -> None:
    done = explain(tmp_path, {}, *words)
    assert done.returncode == 2
    assert complaint in done.stderr
