"""Every event becomes the record that the reference page promises, and nothing in it is without bounds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.audit.stream.kinds import BY_NAME, COMMON, KINDS, reference
from moorage.audit.stream.records import LONGEST_TEXT, Records
from moorage.audit.transfers import Fact
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.sections.events import EVENT_GROUPS
from moorage.gateway import events
from moorage.gateway.model import (
    Address,
    AgentSocket,
    Attempt,
    ConnectionId,
    ExitStatus,
    Login,
    Program,
    ProgramKind,
    Prompt,
    Pty,
    Round,
    Size,
    TcpTarget,
    UnixTarget,
    X11Display,
)

ID = ConnectionId("5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e")
PEER = Address("192.0.2.7", 40000)
ATTEMPT = Attempt(ID, PEER, "SSH-2.0-test", "mia")
LOGIN = Login(ATTEMPT, "password", AppConfig())
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
ASKED = Round("", "", (Prompt("Code:", echo=False),))

TOLD: list[tuple[events.Event, str, dict[str, Any]]] = [
    (events.ConnectionOpened(at=1.0, remote_address=PEER), "connection.opened", {}),
    (events.ConnectionRefused(remote_address=PEER, reason="full"), "connection.refused", {"reason": "full"}),
    (
        events.ClientIdentified(version="SSH-2.0-x", hassh="ab", algorithms="a;b"),
        "connection.identified",
        {"version": "SSH-2.0-x", "hassh": "ab", "algorithms": "a;b"},
    ),
    (
        events.SourcePenalised(reason="guesses", seconds=2.5),
        "connection.penalised",
        {"reason": "guesses", "seconds": 2.5},
    ),
    (events.HandshakeFailed(reason="eof"), "connection.failed", {"reason": "eof"}),
    (events.TimeLimitReached(reason="idle"), "connection.expired", {"reason": "idle"}),
    (
        events.AuthAttempted(attempt=ATTEMPT, method="password", success=False, reason="wrong", password=b"p\xff"),
        "auth.failed",
        {"username": "mia", "method": "password", "password": "p\\xff", "reason": "wrong"},
    ),
    (
        events.AuthAttempted(attempt=ATTEMPT, method="password", success=False, available=False, reason="down"),
        "auth.unavailable",
        {"username": "mia", "method": "password", "reason": "down"},
    ),
    (
        events.AuthAttempted(attempt=ATTEMPT, method="publickey", success=True, further=("password",), key=KEY),
        "auth.partial",
        {
            "username": "mia",
            "method": "publickey",
            "key": "SHA256:qH8baHrA5X0qCBovKCZyM02Q7TFtK4GMqVgOo4TZJAE",
            "further": ["password"],
        },
    ),
    (
        events.QuestionsAnswered(username="mia", round=ASKED, answers=("123456",)),
        "auth.answered",
        {"username": "mia", "questions": ["Code:"], "answers": ["123456"]},
    ),
    (
        events.QuestionsAnswered(username="mia", round=ASKED, answers=("",)),
        "auth.answered",
        {"username": "mia", "questions": ["Code:"]},
    ),
    (
        events.AuthAttempted(attempt=ATTEMPT, method="password", success=True),
        "auth.succeeded",
        {"username": "mia", "method": "password"},
    ),
    (events.LoginAccepted(login=LOGIN), "login.accepted", {"username": "mia", "backend": "docker"}),
    (events.GuestOpened(backend="docker", seconds=0.12345), "guest.opened", {"backend": "docker", "seconds": 0.123}),
    (events.GuestFailed(backend="docker", reason="gone"), "guest.failed", {"backend": "docker", "reason": "gone"}),
    (events.SessionOpened(channel=0), "session.opened", {"channel": 0}),
    (
        events.RequestDecided(channel=0, request="env", detail="LANG", granted=True),
        "request.granted",
        {"channel": 0, "request": "env", "detail": "LANG"},
    ),
    (
        events.RequestDecided(channel=0, request="exec", detail="ls", granted=False, reason="policy"),
        "request.refused",
        {"channel": 0, "request": "exec", "detail": "ls", "reason": "policy"},
    ),
    (
        events.RequestNotUnderstood(channel=None, request="x@y", payload=b"", reason="short"),
        "request.unknown",
        {"request": "x@y", "reason": "short"},
    ),
    (
        events.ProgramStarted(channel=0, program=Program(ProgramKind.EXEC, b"ls \xff", {}, None)),
        "program.started",
        {"channel": 0, "kind": "exec", "command": "ls \\xff", "terminal": False},
    ),
    (
        events.ProgramStarted(channel=1, program=Program(ProgramKind.SHELL, b"", {}, Pty(b"xterm", Size()))),
        "program.started",
        {"channel": 1, "kind": "shell", "terminal": True},
    ),
    (
        events.ProgramExited(channel=0, status=ExitStatus(0)),
        "program.exited",
        {"channel": 0, "exitCode": 0},
    ),
    (
        events.ProgramExited(channel=0, status=ExitStatus(signal="KILL")),
        "program.exited",
        {"channel": 0, "signal": "KILL"},
    ),
    (events.ProgramExited(channel=0, status=None), "program.exited", {"channel": 0, "lost": True}),
    (events.SessionClosed(channel=0), "session.closed", {"channel": 0}),
    (
        events.ForwardOpened(forward=0, target=TcpTarget("db", 5432), peer=PEER),
        "forward.opened",
        {"forward": 0, "target": "db:5432", "peer": str(PEER)},
    ),
    (
        events.ForwardOpened(forward=1, target=X11Display(b"MIT-MAGIC-COOKIE-1", b"00"), listener=2),
        "forward.opened",
        {"forward": 1, "target": "X11", "listener": 2},
    ),
    (
        events.ForwardClosed(forward=0, sent=3, received=0),
        "forward.closed",
        {"forward": 0, "sent": 3, "received": 0},
    ),
    (
        events.ForwardRefused(
            target=UnixTarget(b"/run/a"), peer=None, code=Code.SECURITY_FORWARDING_REJECTED, reason="no"
        ),
        "forward.refused",
        {"target": "/run/a", "code": "SECURITY_FORWARDING_REJECTED", "reason": "no"},
    ),
    (
        events.ListenerOpened(listener=0, spec=TcpTarget("", 0), port=4711),
        "listener.opened",
        {"listener": 0, "target": ":0", "port": 4711},
    ),
    (
        events.ListenerRefused(spec=AgentSocket(), code=Code.SECURITY_FORWARDING_REJECTED, reason="no"),
        "listener.refused",
        {"target": "ssh-agent", "code": "SECURITY_FORWARDING_REJECTED", "reason": "no"},
    ),
    (events.ListenerClosed(listener=0), "listener.closed", {"listener": 0}),
    (events.ConnectionClosed(at=4.5, reason=""), "connection.closed", {"seconds": 3.5}),
]


def records() -> Iterator[dict[str, Any]]:
    made = Records(ID, PEER, "NL")
    for event, _, _ in TOLD:
        record = made.of(event)
        assert record is not None
        yield record
    yield Records(ID, PEER, "NL", mark="f").of_file(Fact("rename", b"a\xff", b"b", mode=0o644), 1.5, 3)


def test_each_event_has_its_record() -> None:
    for number, (record, (event, name, fields)) in enumerate(zip(records(), TOLD, strict=False)):
        common = {
            "time": f"1970-01-01T00:00:0{int(event.at)}.{round(event.at % 1 * 1000):03}Z",
            "event": name,
            "id": f"{ID}-{number}",
            "connectionId": ID,
            "remoteAddr": PEER.host,
            "remotePort": PEER.port,
            "country": "NL",
        }
        user = {"username": record["username"]} if "username" in record else {}
        assert user in ({}, {"username": "mia"})
        assert record == {**common, **user, **fields}


def test_every_kind_is_made_and_has_only_fields_that_the_page_names() -> None:
    made = list(records())
    assert {record["event"] for record in made} == {kind.name for kind in KINDS} - {"events.lost"}
    for record in made:
        assert set(record) <= {*COMMON, *BY_NAME[record["event"]].fields}
        json.dumps(record)


def test_a_file_is_told_with_its_own_numbers() -> None:
    *_, record = records()
    assert record["id"] == f"{ID}-f0"
    assert {key: record[key] for key in ("event", "operation", "path", "target", "mode", "channel", "result")} == {
        "event": "file.seen",
        "operation": "rename",
        "path": "a\\xff",
        "target": "b",
        "mode": "0644",
        "channel": 3,
        "result": "ok",
    }


def test_the_user_is_named_from_the_login_on() -> None:
    made = Records(ID, PEER, "XX")
    assert "username" not in (made.of(events.SessionOpened(channel=0)) or {})
    made.of(events.AuthAttempted(attempt=ATTEMPT, method="password", success=False))
    assert "username" not in (made.of(events.SessionOpened(channel=0)) or {})
    made.of(events.AuthAttempted(attempt=ATTEMPT, method="password", success=True))
    assert (made.of(events.SessionOpened(channel=0)) or {})["username"] == "mia"


@pytest.mark.parametrize("size", [LONGEST_TEXT, LONGEST_TEXT + 1], ids=["fits", "too long"])
def test_texts_are_bounded(size: int) -> None:
    event = events.RequestDecided(channel=0, request="exec", detail="x" * size, granted=True)
    record = Records(ID, PEER, "XX").of(event)
    assert record is not None
    assert len(record["detail"]) == size
    assert record["detail"].endswith("x" if size == LONGEST_TEXT else "…")


def test_what_would_only_repeat_is_not_told() -> None:
    made = Records(ID, PEER, "XX")
    for event in (
        events.OutputBegun(channel=0),
        events.TerminalResized(channel=0, size=Size()),
        events.ProgramAsked(channel=0, kind=ProgramKind.SHELL, command=b""),
        events.QuestionsAsked(username="mia", round=ASKED),
    ):
        assert made.of(event) is None


def test_every_type_of_event_is_thought_of() -> None:
    told = {type(event) for event, _, _ in TOLD}
    silent = {events.OutputBegun, events.TerminalResized, events.ProgramAsked, events.QuestionsAsked}
    every = {
        one
        for one in vars(events).values()
        if dataclasses.is_dataclass(one) and isinstance(one, type) and issubclass(one, events.Event)
    }
    assert told | silent == every - {events.Event}


def test_the_groups_of_the_configuration_are_those_of_the_kinds() -> None:
    assert {kind.group for kind in KINDS} == set(EVENT_GROUPS)


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[4] / "docs" / "reference" / "events.md"
    assert page.read_text() == reference()
