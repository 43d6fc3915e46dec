"""What is said in JSON: OPEN messages as tables, and answers of a guest that lies."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.agent import messages
from moorage.agent.frames import MAX_WINDOW, ProtocolError
from moorage.agent.messages import GuestSettings, Unsendable
from moorage.gateway.model import (
    Address,
    AgentSocket,
    ExitStatus,
    ListenSpec,
    Program,
    ProgramKind,
    Pty,
    Size,
    TcpTarget,
    UnixTarget,
    X11Display,
)

SHELL, EXEC, SUBSYSTEM = ProgramKind.SHELL, ProgramKind.EXEC, ProgramKind.SUBSYSTEM


def b64(data: bytes) -> str:
    return b64encode(data).decode()


@pytest.mark.parametrize(
    ("program", "settings", "wanted"),
    [
        (Program(SHELL), GuestSettings(), {"kind": "process", "mode": "shell", "env": []}),
        (
            Program(SHELL),
            GuestSettings(shell_command=("/bin/zsh", "-l"), user="1000:100", groups=("audio", "4"), cwd="/srv/ä"),
            {
                "kind": "process",
                "mode": "shell",
                "env": [],
                "shell": [b64(b"/bin/zsh"), b64(b"-l")],
                "user": "1000:100",
                "groups": ["audio", "4"],
                "cwd": b64("/srv/ä".encode()),
            },
        ),
        (
            Program(EXEC, b"echo \xff", {b"A": b"own", b"B": b"\xfe"}),
            GuestSettings(shell_command=("/bin/menu",), environment={"A": "all", "C": "ü"}),
            {
                "kind": "process",
                "mode": "exec",
                "command": b64(b"echo \xff"),
                "env": [b64(b"A=own"), b64("C=ü".encode()), b64(b"B=\xfe")],
            },
        ),
        (
            Program(EXEC, b"top", pty=Pty(b"xterm", Size(80, 24, 640, 480), {53: 1, 128: 38400})),
            GuestSettings(),
            {
                "kind": "process",
                "mode": "exec",
                "command": b64(b"top"),
                "env": [],
                "pty": {
                    "term": b64(b"xterm"),
                    "columns": 80,
                    "rows": 24,
                    "width": 640,
                    "height": 480,
                    "modes": {"53": 1, "128": 38400},
                },
            },
        ),
        (Program(SUBSYSTEM, b"sftp"), GuestSettings(user="www"), {"kind": "sftp", "env": [], "user": "www"}),
        (Program(SUBSYSTEM, b"x"), GuestSettings(subsystems={"x": None}), {"kind": "sftp", "env": []}),
        (
            Program(SUBSYSTEM, b"sftp"),
            GuestSettings(subsystems={"sftp": "/usr/lib/sftp server"}),
            {"kind": "process", "mode": "argv", "argv": [b64(b"/usr/lib/sftp server")], "env": []},
        ),
    ],
)
def test_a_program_becomes_an_open(program: Program, settings: GuestSettings, wanted: dict[str, Any]) -> None:
    assert messages.open_program(program, settings) == wanted


@pytest.mark.parametrize(
    "program",
    [
        Program(EXEC, b"a\0b"),
        Program(EXEC, b"a", {b"": b"x"}),
        Program(EXEC, b"a", {b"A=B": b"x"}),
        Program(EXEC, b"a", {b"A\0": b"x"}),
        Program(EXEC, b"a", {b"A": b"\0"}),
        Program(SHELL, pty=Pty(b"x\0y", Size())),
        Program(SUBSYSTEM, b"nope"),
        Program(SUBSYSTEM, b"sftp\xff"),
    ],
)
def test_what_no_process_can_have_is_not_sent(program: Program) -> None:
    with pytest.raises(Unsendable, match=r"\.$"):
        messages.open_program(program, GuestSettings())


@pytest.mark.parametrize("settings", [GuestSettings(cwd="a\0"), GuestSettings(environment={"A=": "x"})])
def test_settings_that_no_process_can_have_are_not_sent(settings: GuestSettings) -> None:
    with pytest.raises(Unsendable):
        messages.open_program(Program(SHELL), settings)


def test_settings_do_not_show_their_variables() -> None:
    assert "hunter2" not in repr(GuestSettings(environment={"TOKEN": "hunter2"}))


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_an_impossible_path_is_not_sent(path: str) -> None:
    with pytest.raises(Unsendable):
        messages.open_file(path, 0o600, "")
    with pytest.raises(Unsendable):
        messages.open_dial(UnixTarget(path.encode()), GuestSettings())


def test_targets_become_addresses() -> None:
    nobody = GuestSettings()
    assert messages.open_dial(TcpTarget("::1", 80), nobody) == {"kind": "dial", "network": "tcp", "address": "[::1]:80"}
    assert messages.open_listen(TcpTarget("h", 0), nobody) == {"kind": "listen", "network": "tcp", "address": "h:0"}
    assert messages.open_listen(TcpTarget("", 0), nobody) == {"kind": "listen", "network": "tcp", "address": ":0"}
    owner = {"user": "u", "groups": ["g"]}
    settings = GuestSettings(user="u", groups=("g",))
    unix = {"kind": "dial", "network": "unix", "address": b64(b"/s")}
    assert messages.open_dial(UnixTarget(b"/s"), settings) == unix | owner
    assert messages.open_listen(UnixTarget(b"/s"), settings) == unix | owner | {"kind": "listen"}


def test_displays_and_agents_become_opens() -> None:
    settings = GuestSettings(user="u", environment={"HOME": "/h"})
    env = [b64(b"HOME=/h")]
    assert messages.open_listen(X11Display(b"MIT", b"00fF", 2, True), settings) == {
        "kind": "x11",
        "protocol": b64(b"MIT"),
        "cookie": "00fF",
        "screen": 2,
        "single": True,
        "env": env,
        "user": "u",
    }
    assert messages.open_listen(AgentSocket(), settings) == {"kind": "ssh-agent", "env": env, "user": "u"}


@pytest.mark.parametrize("cookie", [b"", b"0", b"0g", b"00 ", b"\xff\xff", b"00" * 513])
def test_an_impossible_cookie_is_not_sent(cookie: bytes) -> None:
    with pytest.raises(Unsendable):
        messages.open_listen(X11Display(b"MIT", cookie), GuestSettings())


X11 = X11Display(b"MIT", b"00")
BAD_ENVIRONMENTS: list[Any] = [None, [], "DISPLAY", {}, {"display": b64(b":1")}]


@pytest.mark.parametrize(
    ("spec", "message", "wanted"),
    [
        (TcpTarget("", 0), {"port": 5, "environment": {"A": b64(b"x")}}, (5, {})),
        (UnixTarget(b"/s"), {}, (0, {})),
        (X11, {"environment": {"DISPLAY": b64(b":1"), "LD_PRELOAD": b64(b"x")}}, (0, {b"DISPLAY": b":1"})),
        (
            X11,
            {"environment": {"DISPLAY": b64(b":1"), "XAUTHORITY": b64(b"/x")}},
            (0, {b"DISPLAY": b":1", b"XAUTHORITY": b"/x"}),
        ),
        (AgentSocket(), {"environment": {"SSH_AUTH_SOCK": b64(b"/x")}}, (0, {b"SSH_AUTH_SOCK": b"/x"})),
    ],
)
def test_what_listens_is_read(
    spec: ListenSpec, message: dict[str, Any], wanted: tuple[int, dict[bytes, bytes]]
) -> None:
    assert messages.read_listening(message, spec) == wanted


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TcpTarget("", 0), {}),
        (TcpTarget("", 0), {"port": 0}),
        (TcpTarget("", 0), {"port": 65536}),
        *((X11, {"environment": v}) for v in BAD_ENVIRONMENTS),
        *(
            (AgentSocket(), {"environment": {"SSH_AUTH_SOCK": value}})
            for value in (None, 1, "", "*", "A", b64(b"a\0"), b64(bytes(9000)), "€€€€")
        ),
    ],
)
def test_what_listens_nowhere_is_an_error(spec: ListenSpec, message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        messages.read_listening(message, spec)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"code": 0}, ExitStatus(code=0)),
        ({"code": 255, "more": 1}, ExitStatus(code=255)),
        ({"code": 1, "message": "no\nspace"}, ExitStatus(code=1, message="no space")),
        ({"signal": "TERM", "core": False}, ExitStatus(signal="TERM")),
        ({"signal": "STKFLT@linux"}, ExitStatus(signal="STKFLT@linux")),
        ({"signal": "SEGV", "core": True, "message": "x" * 900}, ExitStatus(None, "SEGV", True, "x" * 500)),
    ],
)
def test_an_exit_is_read(message: dict[str, Any], wanted: ExitStatus) -> None:
    assert messages.read_exit(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"code": -1},
        {"code": 256},
        {"code": True},
        {"code": 1.0},
        {"code": "1"},
        {"code": None},
        {"signal": ""},
        {"signal": 9},
        {"signal": "A" * 65},
        {"signal": "TERM\n"},
        {"signal": "A B"},
        {"signal": "ÄÖ"},
        {"signal": "TERM", "code": 1},
        {"signal": "TERM", "core": 1},
    ],
)
def test_a_broken_exit_is_an_error(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        messages.read_exit(message)


@pytest.mark.parametrize("window", [-1, MAX_WINDOW + 1, None, "1", True, 1.5])
def test_a_broken_window_is_an_error(window: object) -> None:
    with pytest.raises(ProtocolError):
        messages.read_window({"window": window})


@pytest.mark.parametrize(
    "message",
    [{}, {"version": 2}, {"version": "1"}, {"version": 1, "features": "process"}, {"version": 1, "features": [1]}],
)
def test_a_broken_hello_is_an_error(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        messages.read_hello(message)


@pytest.mark.parametrize(
    ("peer", "address"),
    [(None, None), ("127.0.0.1:80", Address("127.0.0.1", 80)), ("[::1]:65535", Address("::1", 65535))],
)
def test_an_accepted_connection_is_read(peer: str | None, address: Address | None) -> None:
    assert messages.read_accepted({"kind": "accepted", "listener": 3, "peer": peer}) == (3, address)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "process", "listener": 3},
        {"kind": "accepted"},
        {"kind": "accepted", "listener": 0},
        *(
            {"kind": "accepted", "listener": 3, "peer": peer}
            for peer in (1, "", "x", "h:", "h:65536", "h:-1", "h:٣", "h:000001", "x" * 400 + ":1")
        ),
    ],
)
def test_a_broken_accepted_connection_is_an_error(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        messages.read_accepted(message)


@given(
    st.recursive(st.none() | st.booleans() | st.text(max_size=9) | st.integers() | st.floats(), st.lists, max_leaves=5)
)
def test_answers_with_anything_in_them_are_read_or_refused(value: object) -> None:
    for name in ("code", "signal", "message", "core", "version", "features", "window", "listener", "peer", "agent"):
        message = {"code": 0, "version": 1, "kind": "accepted", "listener": 1, name: value}
        for read in (messages.read_exit, messages.read_hello, messages.read_window, messages.read_accepted):
            try:
                read(message)
            except ProtocolError:
                continue
        refusal = messages.read_refusal(message)
        assert (refusal.code + refusal.message).isprintable()
        assert len(refusal.message) <= 500


def test_what_a_guest_prints_becomes_one_line() -> None:
    assert messages.printable(b"sh: x: not found\r\n\x1b[31m\xff") == "sh: x: not found   [31m\ufffd"
