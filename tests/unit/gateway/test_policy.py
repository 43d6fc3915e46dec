"""Policy: every mode of every kind of request, and the forced command."""

import pytest

from moorage.codes import Code
from moorage.config.sections.security import SecurityConfig
from moorage.errors import Refused
from moorage.gateway.model import (
    AgentSocket,
    Jail,
    ListenSpec,
    Program,
    ProgramKind,
    Pty,
    Size,
    TcpTarget,
    UnixTarget,
    X11Display,
)
from moorage.gateway.policy import Policy


def policy(**section: object) -> Policy:
    return Policy(SecurityConfig.model_validate(section))


def allows(ask: object, *arguments: object, **keywords: object) -> bool:
    try:
        ask(*arguments, **keywords)  # type: ignore[operator]
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("mode", "allow", "deny", "granted"),
    [
        ("", [], [], True),
        ("", [], ["A"], False),
        ("enable", [], [], True),
        ("enable", [], ["A"], False),
        ("enable", ["B"], [], True),
        ("filter", [], [], False),
        ("filter", ["A"], [], True),
        ("filter", ["A"], ["A"], True),
        ("filter", ["B"], [], False),
        ("disable", ["A"], [], False),
    ],
)
def test_the_mode_decides_which_list_counts(mode: str, allow: list[str], deny: list[str], granted: bool) -> None:
    rules = {"mode": mode, "allow": allow, "deny": deny}
    assert allows(policy(env=rules).environment, b"A") is granted
    assert allows(policy(subsystem=rules).program, Program(ProgramKind.SUBSYSTEM, b"A")) is granted


@pytest.mark.parametrize(("mode", "granted"), [("", True), ("enable", True), ("filter", False), ("disable", False)])
def test_a_filter_without_a_list_is_a_refusal(mode: str, granted: bool) -> None:
    assert allows(policy(shell={"mode": mode}).program, Program(ProgramKind.SHELL)) is granted
    assert allows(policy(tty={"mode": mode}).terminal) is granted


@pytest.mark.parametrize("mode", ["enable", "filter", "disable"])
def test_the_default_mode_stands_in_for_a_mode_that_is_unset(mode: str) -> None:
    rules = policy(defaultMode=mode)
    assert allows(rules.terminal) is (mode == "enable")
    assert allows(rules.environment, b"A") is (mode == "enable")
    assert allows(rules.program, Program(ProgramKind.EXEC, b"true")) is (mode == "enable")


def test_a_command_must_match_as_a_whole() -> None:
    rules = policy(command={"mode": "filter", "allow": ["uptime", "df -h"]})
    assert allows(rules.program, Program(ProgramKind.EXEC, b"df -h"))
    assert not allows(rules.program, Program(ProgramKind.EXEC, b"df -h; id"))
    assert not allows(rules.program, Program(ProgramKind.EXEC, b"df"))


def test_signals_are_judged_by_their_own_section() -> None:
    rules = policy(shell={"mode": "disable"}, signal={"mode": "enable", "deny": ["KILL"]})
    assert allows(rules.signal, "TERM")
    assert not allows(rules.signal, "KILL")
    assert not allows(policy(signal={"mode": "filter", "allow": ["HUP"]}).signal, "TERM")


def test_forwarding_is_off_unless_its_own_mode_says_otherwise() -> None:
    closed = policy(defaultMode="enable")
    assert not allows(closed.dial, TcpTarget("localhost", 80))
    assert not allows(closed.dial, UnixTarget(b"/run/x"))
    opened = policy(forwarding={"forwardingMode": "enable", "socketForwardingMode": "filter"})
    assert allows(opened.dial, TcpTarget("localhost", 80))
    assert not allows(opened.dial, UnixTarget(b"/run/x"))


@pytest.mark.parametrize(
    ("limit", "open_sessions", "granted"), [(-1, 500, True), (0, 0, False), (2, 1, True), (2, 2, False)]
)
def test_sessions_are_counted_while_they_are_open(limit: int, open_sessions: int, granted: bool) -> None:
    assert allows(policy(maxSessions=limit).session, open_sessions=open_sessions) is granted


@pytest.mark.parametrize(
    ("kind", "command"),
    [(ProgramKind.SHELL, b""), (ProgramKind.EXEC, b"ls \xff"), (ProgramKind.SUBSYSTEM, b"sftp")],
)
def test_a_forced_command_replaces_the_program_and_tells_what_was_asked_for(kind: ProgramKind, command: bytes) -> None:
    forced = policy(forceCommand="/bin/menu").program(Program(kind, command, {b"A": b"1"}))
    assert (forced.kind, forced.command) == (ProgramKind.EXEC, b"/bin/menu")
    assert forced.environment == {b"A": b"1", b"SSH_ORIGINAL_COMMAND": command}


def test_a_forced_command_does_not_lift_the_rules_for_what_was_asked() -> None:
    rules = policy(forceCommand="/bin/menu", command={"mode": "filter", "allow": ["x"]})
    assert not allows(rules.program, Program(ProgramKind.EXEC, b"y"))


def test_the_client_cannot_pretend_an_original_command() -> None:
    assert not allows(policy().environment, b"SSH_ORIGINAL_COMMAND")


def test_a_refusal_has_the_code_that_operators_know() -> None:
    with pytest.raises(Refused) as caught:
        policy(tty={"mode": "disable"}).terminal()
    assert caught.value.code is Code.SECURITY_TTY_REJECTED
    assert caught.value.user_text == "TTY allocation is disabled."


KINDS: list[tuple[str, str, ListenSpec, Code]] = [
    ("dial", "forwardingMode", TcpTarget("db", 80), Code.SECURITY_FORWARDING_REJECTED),
    ("dial", "socketForwardingMode", UnixTarget(b"/run/x"), Code.SECURITY_FORWARDING_REJECTED),
    ("listen", "reverseForwardingMode", TcpTarget("", 80), Code.SECURITY_REVERSE_FORWARDING_REJECTED),
    ("listen", "socketListenMode", UnixTarget(b"/run/x"), Code.SECURITY_REVERSE_FORWARDING_REJECTED),
    ("listen", "x11ForwardingMode", X11Display(b"M", b"00"), Code.SECURITY_X11_FORWARDING_REJECTED),
    ("listen", "agentForwardingMode", AgentSocket(), Code.SECURITY_AGENT_FORWARDING_REJECTED),
]


@pytest.mark.parametrize(("verb", "key", "spec", "code"), KINDS, ids=[kind[1] for kind in KINDS])
def test_every_kind_of_forwarding_has_its_own_mode(verb: str, key: str, spec: ListenSpec, code: Code) -> None:
    others = {other: "enable" for _, other, _, _ in KINDS if other != key}
    for mode, default, granted in [
        ("enable", "disable", True),
        ("disable", "enable", False),
        ("filter", "enable", False),
        ("", "", True),
        ("", "disable", False),
        ("", "filter", False),
    ]:
        rules = policy(defaultMode=default, forwarding={**others, key: mode})
        assert allows(getattr(rules, verb), spec) is granted, (mode, default)
    with pytest.raises(Refused) as caught:
        getattr(policy(), verb)(spec)
    assert caught.value.code is code


def test_a_filter_lets_through_what_its_list_names() -> None:
    rules = policy(
        forwarding={
            **{key: "filter" for _, key, _, _ in KINDS},
            "allowedTargets": ["*.internal:443", "10.0.0.0/8:1-1024", "/run/app/*.sock"],
            "allowedListeners": ["localhost:8000-8999", "*:0", "/tmp/*"],
        }
    )
    assert allows(rules.dial, TcpTarget("a.internal", 443))
    assert allows(rules.dial, TcpTarget("10.9.8.7", 22))
    assert allows(rules.dial, UnixTarget(b"/run/app/x.sock"))
    assert not allows(rules.dial, TcpTarget("localhost", 8000))
    assert not allows(rules.dial, UnixTarget(b"/tmp/x"))
    assert allows(rules.listen, TcpTarget("localhost", 8000))
    assert allows(rules.listen, TcpTarget("", 0))
    assert allows(rules.listen, UnixTarget(b"/tmp/x"))
    assert not allows(rules.listen, TcpTarget("", 8000))
    assert not allows(rules.listen, TcpTarget("a.internal", 443))
    assert not allows(rules.listen, X11Display(b"M", b"00"))
    assert not allows(rules.listen, AgentSocket())
    with pytest.raises(Refused) as caught:
        rules.dial(TcpTarget("evil", 443))
    assert caught.value.user_text == "Port forwarding there is not allowed."


SFTP = Program(ProgramKind.SUBSYSTEM, b"sftp", pty=None)


@pytest.mark.parametrize(
    "rules",
    [{"root": "/srv"}, {"readOnly": True}, {"hidden": [".git"]}, {"quota": "1Mi"}],
    ids=lambda rules: next(iter(rules)),
)
def test_rules_for_files_reach_the_guest_and_close_the_ways_around(rules: dict[str, object]) -> None:
    held = policy(sftp=rules, defaultMode="enable")
    assert held.program(SFTP).jail is not None
    assert held.program(Program(ProgramKind.SUBSYSTEM, b"other")).jail is None
    assert not allows(held.program, Program(ProgramKind.SHELL))
    assert not allows(held.program, Program(ProgramKind.EXEC, b"scp -t ."))
    opened = policy(sftp=rules, shell={"mode": "enable"}, command={"mode": "filter", "allow": ["uptime"]})
    assert allows(opened.program, Program(ProgramKind.SHELL))
    assert allows(opened.program, Program(ProgramKind.EXEC, b"uptime"))
    assert not allows(opened.program, Program(ProgramKind.EXEC, b"scp -t ."))


def test_without_rules_sftp_is_free() -> None:
    assert policy().program(SFTP).jail is None


def test_all_rules_for_files_are_passed_on() -> None:
    rules = {"root": "~", "readOnly": True, "hidden": ["*.key"], "quota": 7}
    assert policy(sftp=rules).program(SFTP).jail == Jail("~", True, ("*.key",), 7)


@pytest.mark.parametrize("rules", [{}, {"root": "/srv"}])
def test_a_forced_sftp_server_is_the_subsystem(rules: dict[str, object]) -> None:
    forced = policy(forceCommand="internal-sftp", sftp=rules, shell={"mode": "enable"}, command={"mode": "enable"})
    for asked in (SFTP, Program(ProgramKind.SHELL, pty=Pty(b"xterm", Size())), Program(ProgramKind.EXEC, b"rm -rf /")):
        program = forced.program(asked)
        assert (program.kind, program.command, program.pty) == (ProgramKind.SUBSYSTEM, b"sftp", None)
        assert (program.jail is not None) == bool(rules)


@pytest.mark.parametrize(
    ("allow", "deny", "granted"),
    [
        ([], [], True),
        (["192.0.2.0/24"], [], True),
        (["198.51.100.0/24"], [], False),
        (["192.0.2.0/24"], ["192.0.2.7/32"], False),
        ([], ["192.0.2.0/28"], False),
        (["2001:db8::/32"], [], False),
    ],
)
def test_a_login_comes_from_where_it_may(allow: list[str], deny: list[str], granted: bool) -> None:
    assert allows(policy(sources={"allow": allow, "deny": deny}).source, "192.0.2.7") is granted


def test_a_login_lasts_as_long_as_its_hours() -> None:
    thursday = 1_795_713_000.0  # 2026-11-26 18:10 in Berlin
    assert policy().hours(thursday) is None
    rules = {"allow": ["Mon-Fri 08:00-19:00"], "zone": "Europe/Berlin"}
    assert policy(hours=rules).hours(thursday) == 50 * 60
    with pytest.raises(Refused, match="Thu 18:10 Europe/Berlin"):
        policy(hours={**rules, "allow": ["Mon-Fri 08:00-18:00"]}).hours(thursday)
