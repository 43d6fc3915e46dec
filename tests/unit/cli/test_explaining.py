"""What one login would get: facts by the policy itself, settings with their origin, secrets hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.cli._explaining import HOOK, Explained, as_json, as_text, explain
from moorage.config import load_text, overlay
from moorage.config.problems import dotted
from moorage.gateway.model import Address, Attempt, ConnectionId, FileValue, Metadata, Restrictions, TextValue

MONDAY_NOON = 1_700_481_600.0  # 2023-11-20 12:00 UTC


def explained(file: str, answer: dict[str, Any] | None = None, **attempt: Any) -> Explained:
    loaded = load_text(file, "config.yaml", look_at_files=False)
    who = Attempt(ConnectionId("0" * 32), Address("192.0.2.7", 1), "SSH-2.0-x", "mia", **attempt)
    return explain(loaded, overlay(loaded, answer or {}), who, now=MONDAY_NOON)


def origins(one: Explained, heading: str) -> dict[str, tuple[Any, str | int]]:
    return {dotted(s.path): (s.value, s.line or s.origin) for s in one.settings[heading]}


def test_each_value_says_where_it_comes_from() -> None:
    one = explained(
        "backend: sandbox\nsandbox:\n  network: host\n  hostname: here\nsecurity:\n  maxSessions: 3\n",
        {"sandbox": {"network": "none", "limits": {"processes": 9}}, "security": {"maxSessions": 5}},
    )
    assert origins(one, "launched") == {
        "backend": ("sandbox", 1),
        "sandbox.hostname": ("here", 4),
        "sandbox.limits.processes": (9, HOOK),
        "sandbox.network": ("none", HOOK),  # the default again, but against the file
    }
    assert origins(one, "allowed") == {"security.maxSessions": (5, HOOK)}
    assert one.facts["launched"] == {"guest": "sandbox from /usr of this host"}


def test_a_backend_that_is_not_chosen_is_not_told() -> None:
    file = "backend: sandbox\ndocker: {connection: {host: tcp://h}}\n"
    assert origins(explained(file), "launched") == {"backend": ("sandbox", 1)}
    one = explained(file, {"backend": "docker", "docker": {"execution": {"container": {"Image": "box:3"}}}})
    assert origins(one, "launched") == {
        "backend": ("docker", HOOK),
        "docker.connection.host": ("tcp://h", 2),
        "docker.execution.container.image": ("box:3", HOOK),
    }
    assert one.facts["launched"]["guest"] == "docker at tcp://h, image box:3"


@pytest.mark.parametrize(
    ("security", "facts"),
    [
        ("{}", {"shell": "yes", "commands": "all", "variables": "all", "tunnels to": "none", "X11": "none"}),
        ("{defaultMode: disable}", {"terminal": "no: terminals are switched off (security.tty)", "subsystems": "none"}),
        ("{command: {mode: filter, allow: [ls, id]}}", {"commands": "only ls, id", "shell": "yes"}),
        ("{subsystem: {deny: [sftp]}, env: {mode: filter, allow: [TICKET]}}",
         {"subsystems": "all but sftp", "variables": "only TICKET"}),
        ("{signal: {mode: disable}}", {"signals": "none"}),
        ("{sftp: {root: www}}", {"shell": "no: shells are switched off (security.shell)", "commands": "none",
                                 "subsystems": "all"}),
        ("{forwarding: {forwardingMode: filter, allowedTargets: ['db:5432', 'x:1'], agentForwardingMode: enable}}",
         {"tunnels to": "only db:5432, x:1", "sockets to": "none", "listen on": "none", "ssh-agent": "all"}),
        ("{forwarding: {forwardingMode: filter, allowedTargets: ['*:*']}}", {"tunnels to": "all"}),
        ("{forwarding: {reverseForwardingMode: filter}}", {"listen on": "none"}),
        ("{forceCommand: /bin/menu}", {"runs instead": "/bin/menu"}),
        ("{sources: {deny: [192.0.2.0/24]}}",
         {"login from here": "no: logins from 192.0.2.7 are not allowed (security.sources)"}),
        ("{hours: {allow: ['Sat 08:00-18:00'], zone: UTC}}",
         {"login now": "no: logins are not allowed at Mon 12:00 UTC (security.hours)"}),
    ],
)  # fmt: skip
def test_what_is_allowed_is_what_the_policy_says(security: str, facts: dict[str, str]) -> None:
    one = explained(f"backend: sandbox\nsecurity: {security}\n")
    assert facts.items() <= one.facts["allowed"].items()


def test_what_would_not_be_recorded_and_what_a_credential_forbids_is_not_allowed() -> None:
    audit = "audit: {enable: true, format: binary, storage: file, intercept: {stdin: true}}"
    security = "security: {recordedOnly: true, forwarding: {forwardingMode: enable}}"
    one = explained(f"backend: sandbox\n{audit}\n{security}\n")
    assert one.facts["allowed"]["tunnels to"] == "none"
    assert one.facts["recorded"] == {
        "recording": "binary, to /var/log/audit", "with": "facts, stdin", "if it fails": "refuse",
    }  # fmt: skip
    assert origins(one, "recorded")["audit.intercept.stdin"] == (True, 2)
    forbidden = explained("backend: sandbox\n", restrictions=Restrictions(terminal=False))
    assert forbidden.facts["allowed"]["terminal"].startswith("no: ")
    assert forbidden.facts["recorded"] == {"recording": "none"}


def test_rules_for_variables_are_no_secrets() -> None:
    one = explained("backend: sandbox\nsecurity: {env: {mode: filter, allow: [TICKET]}}\n")
    assert origins(one, "allowed") == {"security.env.mode": ("filter", 2), "security.env.allow": (["TICKET"], 2)}


def test_secrets_are_hidden_in_text_and_json() -> None:
    metadata = Metadata(
        environment={"TOKEN": TextValue("c4n4ry", sensitive=True), "PLACE": TextValue("a\x1b[2Jb")},
        files={"/home/mia/.pgpass": FileValue(b"c4n4ry", sensitive=True)},
    )
    container = {"Image": "box", "Env": ["PLACE=c4n4ry"]}
    registry = {"username": "u", "password": "c4n4ry"}
    docker = {"execution": {"container": container, "auth": registry}}
    one = explained("backend: docker\nsandbox: {environment: {A: c4n4ry}}\n", {"docker": docker}, metadata=metadata)
    texts = [as_text(one, asked="asked http://hook"), json.dumps(as_json(one, hook="http://hook"))]
    one = explained("backend: sandbox\nsandbox: {environment: {A: c4n4ry}}\n")
    pod = {"spec": {"containers": [{"image": "i", "env": [{"name": "A", "value": "c4n4ry"}]}]}}
    two = explained("backend: kubernetes\nkubernetes: {connection: {host: h}}\n", {"kubernetes": {"pod": pod}})
    for which in (one, two):
        texts.append(as_text(which, asked="") + json.dumps(as_json(which, hook="")))
        assert "**" in texts[-1]
    for text in texts:
        assert "c4n4ry" not in text
        assert "\x1b" not in text
    assert "variable TOKEN" in texts[0]
    assert json.loads(texts[1])["launched"]["files"] == [{"path": "/home/mia/.pgpass", "bytes": 6, "sensitive": True}]
    assert "PLACE=" in texts[0]


def test_whatever_a_hook_says_can_be_printed() -> None:
    rules = {"mode": "filter", "allow": ["a\x9b2J", "\n"]}
    answer = {"security": {"env": rules, "command": rules, "forceCommand": "\x07"}}
    text = as_text(explained("backend: sandbox\n", answer), asked="")
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    assert "only a\\x9b2J, \\n" in text
