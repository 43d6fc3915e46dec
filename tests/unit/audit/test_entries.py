"""Each event becomes the messages that the format has for it, with numbers as the format counts them."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.audit.entries import Entries
from moorage.codes import Code
from moorage.config import AppConfig
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

PEER = Address("192.0.2.7", 40000)
ATTEMPT = Attempt(ConnectionId("c1"), PEER, "SSH-2.0-x", "foo")
SESSION = events.SessionOpened(at=1.5, channel=0)
TCP, UNIX = TcpTarget("db", 5432), UnixTarget(b"/run/x\xff")
ROUND = Round("n", "i", (Prompt("Code: ", echo=True),))
KEY = "ssh-ed25519 AAAA"


def told(*heard: events.Event) -> list[tuple[Any, ...]]:
    """Number, payload and channel of each message."""
    entries = Entries(lambda host: "CH" if host == PEER.host else "XX")
    return [(one.number, dict(one.payload), one.channel) for event in heard for one in entries.of(event)]


def attempt(method: str, **changed: Any) -> events.AuthAttempted:
    fields: dict[str, Any] = {"success": False, "password": b"", "key": "", **changed}
    return events.AuthAttempted(attempt=ATTEMPT, method=method, **fields)


def decided(request: str, detail: str = "", *, reason: str = "", asked: events.Asked = None) -> events.RequestDecided:
    return events.RequestDecided(
        channel=0, request=request, detail=detail, granted=not reason, reason=reason, asked=asked
    )


@pytest.mark.parametrize(
    ("channel", "reason", "number"), [(None, "", 200), (None, "bad", 201), (0, "", 400), (0, "bad", 401)]
)
@pytest.mark.parametrize(("request_", "shown"), [("x@y", "x@y"), ("seal@moorage", "client:seal@moorage")])
def test_requests_that_nobody_understands(
    channel: int | None, reason: str, number: int, request_: str, shown: str
) -> None:
    event = events.RequestNotUnderstood(channel=channel, request=request_, payload=b"p", reason=reason)
    first, second = told(SESSION, event, event)[1:]
    assert first == (number, {"requestType": shown, "payload": b"p", "reason": reason, "requestId": 0}, channel)
    assert second[1]["requestId"] == 1


@pytest.mark.parametrize(
    ("event", "messages"),
    [
        (events.ConnectionOpened(remote_address=PEER), [(0, {"remoteAddr": "192.0.2.7", "country": "CH"}, None)]),
        (events.ConnectionClosed(reason="x"), [(1, {}, None)]),
        (events.HandshakeFailed(reason="r"), [(198, {"reason": "r"}, None)]),
        (
            events.LoginAccepted(login=Login(ATTEMPT, "password", AppConfig())),
            [(199, {"username": "foo"}, None)],
        ),
        (
            attempt("password", password=b"bar"),
            [(number, {"username": "foo", "password": b"bar"}, None) for number in (100, 102)],
        ),
        (
            attempt("password", success=True),
            [(number, {"username": "foo", "password": b""}, None) for number in (100, 101)],
        ),
        (
            attempt("password", available=False, reason="away"),
            [
                (100, {"username": "foo", "password": b""}, None),
                (103, {"username": "foo", "password": b"", "reason": "away"}, None),
            ],
        ),
        (attempt("publickey", key=KEY), [(n, {"username": "foo", "key": KEY}, None) for n in (104, 106)]),
        (attempt("publickey", key=KEY, success=True), [(n, {"username": "foo", "key": KEY}, None) for n in (104, 105)]),
        (
            events.QuestionsAsked(username="foo", round=ROUND),
            [
                (
                    108,
                    {"username": "foo", "instruction": "i", "questions": [{"question": "Code: ", "echo": True}]},
                    None,
                )
            ],
        ),
        (
            events.QuestionsAnswered(username="foo", round=ROUND, answers=("1",)),
            [(109, {"username": "foo", "answers": [{"question": "Code: ", "answer": "1"}]}, None)],
        ),
        (SESSION, [(301, {"channelType": "session"}, 0)]),
        (
            events.ForwardOpened(forward=0, target=TCP, peer=PEER),
            [
                (
                    303,
                    {
                        "HostToConnect": "db",
                        "PortToConnect": 5432,
                        "OriginatorHost": "192.0.2.7",
                        "OriginatorPort": 40000,
                    },
                    0,
                ),
                (301, {"channelType": "direct-tcpip"}, 0),
            ],
        ),
        (
            events.ForwardOpened(forward=0, target=UNIX),
            [(306, {"Path": "/run/x\udcff"}, 0), (301, {"channelType": "direct-streamlocal@openssh.com"}, 0)],
        ),
        (
            events.ForwardOpened(forward=0, target=TCP, listener=1, peer=PEER),
            [
                (
                    304,
                    {
                        "ConnectedHost": "db",
                        "ConnectedPort": 5432,
                        "OriginatorHost": "192.0.2.7",
                        "OriginatorPort": 40000,
                    },
                    0,
                ),
                (301, {"channelType": "forwarded-tcpip"}, 0),
            ],
        ),
        (
            events.ForwardOpened(forward=0, target=AgentSocket(), listener=1),
            [(301, {"channelType": "auth-agent@openssh.com"}, 0)],
        ),
        (
            events.ForwardOpened(forward=0, target=X11Display(b"MIT", b"00"), listener=1, peer=PEER),
            [(305, {"OriginatorHost": "192.0.2.7", "OriginatorPort": 40000}, 0), (301, {"channelType": "x11"}, 0)],
        ),
        (
            events.ForwardRefused(target=UNIX, peer=None, code=Code.SSH_LIMIT_REACHED, reason="no"),
            [
                (306, {"Path": "/run/x\udcff"}, 0),
                (302, {"channelType": "direct-streamlocal@openssh.com", "reason": "no"}, 0),
            ],
        ),
        (
            events.ListenerOpened(listener=0, spec=TcpTarget("h", 0), port=4000),
            [(202, {"BindHost": "h", "BindPort": 0}, None)],
        ),
        (events.ListenerOpened(listener=0, spec=UNIX, port=0), [(204, {"Path": "/run/x\udcff"}, None)]),
        (events.ListenerOpened(listener=0, spec=AgentSocket(), port=0), []),
        (events.GuestOpened(backend="docker", seconds=1), []),
    ],
)
def test_an_event_is_its_messages(event: events.Event, messages: list[Any]) -> None:
    assert told(event) == messages


def test_a_program_from_request_to_end() -> None:
    pty = Pty(b"xterm", Size(120, 30, 640, 480), {128: 9600, 129: 9600})
    shell = Program(ProgramKind.SHELL)
    heard = (
        SESSION,
        decided("env", "LANG", asked=(b"LANG", b"C")),
        decided("pty-req", "xterm", asked=pty),
        decided("auth-agent-req@openssh.com", reason="not allowed"),
        events.ProgramAsked(channel=0, kind=ProgramKind.SHELL, command=b""),
        decided("shell"),
        events.ProgramStarted(channel=0, program=shell),
        events.TerminalResized(channel=0, size=Size(10, 20, 30, 40)),
        decided("signal", "INT"),
        events.ProgramExited(channel=0, status=ExitStatus(7)),
        events.SessionClosed(channel=0),
    )
    assert told(*heard)[1:] == [
        (402, {"requestId": 0, "name": "LANG", "value": "C"}, 0),
        (
            404,
            {
                "requestId": 1,
                "term": "xterm",
                "columns": 120,
                "rows": 30,
                "width": 640,
                "height": 480,
                "modelist": bytes.fromhex("80000025808100002580") + b"\0",
            },
            0,
        ),
        (400, {"requestId": 2, "requestType": "auth-agent-req@openssh.com"}, 0),
        (501, {"requestId": 2, "reason": "not allowed"}, 0),
        (405, {"requestId": 3}, 0),
        (408, {"requestId": 4, "columns": 10, "rows": 20, "width": 30, "height": 40}, 0),
        (406, {"requestId": 5, "signal": "INT"}, 0),
        (496, {}, 0),
        (499, {"exitStatus": 7}, 0),
        (497, {}, 0),
    ]


@pytest.mark.parametrize(
    ("kind", "command", "message"),
    [
        (ProgramKind.EXEC, b"echo \xff", (403, {"requestId": 0, "program": "echo \udcff"}, 0)),
        (ProgramKind.SUBSYSTEM, b"sftp", (407, {"requestId": 0, "subsystem": "sftp"}, 0)),
    ],
)
def test_a_refused_program_leaves_its_request_and_the_reason(
    kind: ProgramKind, command: bytes, message: tuple[Any, ...]
) -> None:
    asked = events.ProgramAsked(channel=0, kind=kind, command=command)
    refused = decided(kind.value, reason="no")
    assert told(SESSION, asked, refused)[1:] == [message, (501, {"requestId": 0, "reason": "no"}, 0)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            ExitStatus(signal="SEGV", core_dumped=True, message="m"),
            (498, {"signal": "SEGV", "coreDumped": True, "errorMessage": "m"}, 0),
        ),
        (None, (498, {"signal": "KILL", "errorMessage": "the guest was lost"}, 0)),
        (ExitStatus(0), (499, {"exitStatus": 0}, 0)),
    ],
)
def test_how_a_program_has_ended(status: ExitStatus | None, message: tuple[Any, ...]) -> None:
    assert told(SESSION, events.ProgramExited(channel=0, status=status))[1:] == [(496, {}, 0), message]


def test_a_display_s_cookie_is_not_kept() -> None:
    display = X11Display(b"MIT-MAGIC-COOKIE-1", b"c00c1e", 2, single_connection=True)
    [_, (number, payload, channel)] = told(SESSION, decided("x11-req", asked=display))
    assert (number, channel) == (409, 0)
    assert payload == {
        "requestId": 0,
        "singleConnection": True,
        "authProtocol": "MIT-MAGIC-COOKIE-1",
        "cookie": "",
        "screen": 2,
    }


def test_channels_of_sessions_and_forwards_have_one_row_of_numbers() -> None:
    heard = (
        SESSION,
        events.ForwardOpened(forward=0, target=TCP, peer=PEER),
        events.SessionOpened(channel=1),
        events.ForwardClosed(forward=0, sent=5, received=6),
        events.SessionClosed(channel=1),
    )
    assert [(number, channel) for number, _, channel in told(*heard)] == [
        *((301, 0), (303, 1), (301, 1), (301, 2), (497, 1), (497, 2))
    ]


def test_a_login_is_told_once_and_before_its_guest_s_failure() -> None:
    failed = events.GuestFailed(backend="", reason="no guest")
    assert [number for number, _, _ in told(failed)] == [199, 198]
    accepted = events.LoginAccepted(login=Login(ATTEMPT, "password", AppConfig()))
    assert [number for number, _, _ in told(accepted, failed)] == [199, 198]
