"""Restrictions of a credential switch off what the configuration switches on, and never the other way round."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from moorage.config import AppConfig, load_text
from moorage.config.sections.security import ForwardingSecurityConfig
from moorage.errors import Refused
from moorage.gateway.model import (
    AgentSocket,
    Program,
    ProgramKind,
    Restrictions,
    TcpTarget,
    UnixTarget,
    Verdict,
    X11Display,
)
from moorage.gateway.policy import Policy
from moorage.gateway.restricting import recorded, restricted

OPEN = load_text(
    """
security:
  forwarding:
    forwardingMode: enable
    reverseForwardingMode: enable
    socketForwardingMode: enable
    socketListenMode: enable
    x11ForwardingMode: enable
    agentForwardingMode: enable
""",
    "c.yaml",
).config


def allowed(config: AppConfig) -> set[str]:
    """What a login with this configuration may do."""
    policy = Policy(config.security)
    asked: dict[str, Callable[[], None]] = {
        "terminal": policy.terminal,
        "dial": lambda: policy.dial(TcpTarget("a", 1)),
        "dial unix": lambda: policy.dial(UnixTarget(b"/a")),
        "listen": lambda: policy.listen(TcpTarget("a", 1)),
        "listen unix": lambda: policy.listen(UnixTarget(b"/a")),
        "x11": lambda: policy.listen(X11Display(b"", b"")),
        "agent": lambda: policy.listen(AgentSocket()),
    }
    found = set()
    for name, ask in asked.items():
        with contextlib.suppress(Refused):
            ask()
            found.add(name)
    return found


EVERYTHING = {"terminal", "dial", "dial unix", "listen", "listen unix", "x11", "agent"}


@pytest.mark.parametrize(
    ("restrictions", "lost"),
    [
        (Restrictions(), set()),
        (Restrictions(terminal=False), {"terminal"}),
        (Restrictions(forwarding=False), {"dial", "dial unix", "listen", "listen unix"}),
        (Restrictions(x11_forwarding=False), {"x11"}),
        (Restrictions(agent_forwarding=False), {"agent"}),
    ],
)
def test_each_takes_away_its_own(restrictions: Restrictions, lost: set[str]) -> None:
    assert allowed(restricted(OPEN, restrictions)) == EVERYTHING - lost


def test_nothing_is_ever_switched_on() -> None:
    assert allowed(restricted(AppConfig(), Restrictions())) == {"terminal"}
    assert restricted(OPEN, Restrictions()) is OPEN


@pytest.mark.parametrize(("command", "runs"), [("date", b"date"), ("", b"true")])
def test_a_forced_command_runs_instead(command: str, runs: bytes) -> None:
    config = restricted(OPEN, Restrictions(force_command=command))
    for kind in ProgramKind:
        program = Policy(config.security).program(Program(kind, b"rm -rf /"))
        assert (program.kind, program.command) == (ProgramKind.EXEC, runs)


def test_the_configurations_own_command_comes_first() -> None:
    config = load_text("security: {forceCommand: menu}", "c.yaml").config
    assert restricted(config, Restrictions(force_command="date")).security.force_command == "menu"


def test_of_two_credentials_every_restriction_counts() -> None:
    cases: dict[str, Any] = {"terminal": False, "forwarding": False, "force_command": "date", "verify_required": True}
    for name, value in cases.items():
        one = dataclasses.replace(Restrictions(), **{name: value})
        for both in (one.both(Restrictions()), Restrictions().both(one)):
            assert getattr(both, name) == value
        verdict = Verdict(True).after(Verdict(True, restrictions=one))
        assert getattr(verdict.restrictions, name) == value


def test_two_answers_are_a_yes_only_if_both_are() -> None:
    assert Verdict(True, "b").after(Verdict(True, "a")).authenticated_username == "b"
    assert Verdict(True).after(Verdict(True, "a")).authenticated_username == "a"
    assert not Verdict(True).after(Verdict(False)).success
    assert not Verdict(False).after(Verdict(True)).success


def test_what_would_not_be_recorded_is_off_where_that_is_demanded() -> None:
    security = {"recordedOnly": True, "forwarding": {"forwardingMode": "enable", "agentForwardingMode": "enable"}}
    config = AppConfig.model_validate({"security": security})
    assert recorded(config).security.forwarding == ForwardingSecurityConfig()
    audit = {"enable": True, "intercept": {"forwarding": True}}
    full = AppConfig.model_validate({"security": security, "audit": audit})
    assert recorded(full) is full
    assert recorded(AppConfig()) == AppConfig()


@pytest.mark.parametrize(
    ("mode", "listed", "permitted", "left"),
    [
        ("enable", (), ("db:5432",), ("filter", ("db:5432",))),
        ("disable", (), ("db:5432",), ("disable", ())),
        ("filter", ("*.in:443", "/run/a.sock"), ("a.in:443", "b:1"), ("filter", ("a.in:443", "/run/a.sock"))),
        ("filter", ("*:*",), ("db:*",), ("filter", ("db:*",))),
        ("filter", ("db:5432",), ("db:*",), ("filter", ())),
        ("filter", ("db:5432",), (), ("filter", ())),
    ],
)
def test_targets_are_narrowed_and_never_widened(
    mode: str, listed: tuple[str, ...], permitted: tuple[str, ...], left: tuple[str, tuple[str, ...]]
) -> None:
    forwarding = {"forwardingMode": mode, "allowedTargets": list(listed)}
    config = AppConfig.model_validate({"security": {"forwarding": forwarding}})
    rules = restricted(config, Restrictions(targets=permitted)).security.forwarding
    assert (rules.forwarding_mode, rules.allowed_targets) == left


def test_under_two_credentials_only_what_both_permit_is_left() -> None:
    both = Restrictions(targets=("a:1", "b:2")).both(Restrictions(targets=("b:2", "c:3"), listeners=("d:4",)))
    assert (both.targets, both.listeners) == (("b:2",), ("d:4",))
