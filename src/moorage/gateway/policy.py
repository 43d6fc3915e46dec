"""Policy answers whether a login may do a thing, before anything of it reaches a guest.

The rules are those of the configuration's ``security`` section: a mode of its own, else
``defaultMode``, else ``enable``.  ``filter`` without a list to filter by is ``disable``.

What the rules refuse has a code that begins with ``SECURITY_``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from zoneinfo import ZoneInfo

from moorage.codes import Code
from moorage.config.hours import parse_window, rest_of
from moorage.config.sections.names import INTERNAL_SFTP
from moorage.config.sections.security import SecurityConfig
from moorage.config.targets import any_host, any_path
from moorage.errors import Refused
from moorage.gateway.model import (
    AgentSocket,
    Jail,
    ListenSpec,
    Program,
    ProgramKind,
    Target,
    TcpTarget,
    UnixTarget,
    X11Display,
)

ORIGINAL_COMMAND = b"SSH_ORIGINAL_COMMAND"
_SFTP = b"sftp"


class _Rule(NamedTuple):
    """What decides on one kind of forwarding, and what a refusal says."""

    what: str
    key: str
    mode: str
    code: Code


class Policy:
    """The rules for one login.  Each method returns, or raises `Refused`."""

    def __init__(self, security: SecurityConfig) -> None:
        self._security = security

    def session(self, *, open_sessions: int) -> None:
        """May one more session be opened beside `open_sessions`?"""
        limit = self._security.max_sessions
        if limit >= 0 and open_sessions >= limit:
            raise Refused(
                f"the login has {open_sessions} sessions open; security.maxSessions is {limit}",
                user_text="Too many sessions.",
                code=Code.SECURITY_MAX_SESSIONS,
            )

    def login(self, *, open_logins: int) -> None:
        """May the user log in beside `open_logins` of the same name?"""
        limit = self._security.max_logins
        if limit >= 0 and open_logins >= limit:
            raise Refused(
                f"the user has {open_logins} connections; security.maxLogins is {limit}",
                user_text="You are logged in too many times.",
                code=Code.SECURITY_MAX_LOGINS,
            )

    def environment(self, name: bytes) -> None:
        """May the variable `name` be set?  ``SSH_ORIGINAL_COMMAND`` is never the client's to set."""
        rules = self._security.env
        text = name.decode("utf-8", "surrogateescape")
        if name == ORIGINAL_COMMAND or not self._listed(rules.mode, text, rules.allow, rules.deny):
            raise Refused(
                f"the variable {text!r} may not be set (security.env)",
                user_text="Environment variable setting rejected.",
                code=Code.SECURITY_ENV_REJECTED,
            )

    def terminal(self) -> None:
        """May a PTY be allocated?"""
        if self._mode(self._security.tty.mode) != "enable":
            raise Refused(
                "terminals are switched off (security.tty)",
                user_text="TTY allocation is disabled.",
                code=Code.SECURITY_TTY_REJECTED,
            )

    def signal(self, name: str) -> None:
        """May the signal `name` (without ``SIG``) be sent?"""
        rules = self._security.signal
        if not self._listed(rules.mode, name, rules.allow, rules.deny):
            raise Refused(
                f"the signal {name!r} may not be sent (security.signal)",
                user_text="Sending this signal is not allowed.",
                code=Code.SECURITY_SIGNAL_REJECTED,
            )

    def program(self, program: Program) -> Program:
        """The program to start instead of `program`: itself, or the forced command.

        The modes judge what the client asked for; only then is it replaced by ``forceCommand``, which
        finds the original (empty for a shell) in ``SSH_ORIGINAL_COMMAND``.
        """
        match program.kind:
            case ProgramKind.SHELL:
                self._shell()
            case ProgramKind.EXEC:
                self._command(program.command)
            case ProgramKind.SUBSYSTEM:
                self._subsystem(program.command)
        forced = self._security.force_command
        if forced == INTERNAL_SFTP:
            program = replace(program, kind=ProgramKind.SUBSYSTEM, command=_SFTP, pty=None)
        if not forced or forced == INTERNAL_SFTP:
            return self._jailed(program)
        return replace(
            program,
            kind=ProgramKind.EXEC,
            command=forced.encode(),
            environment={**program.environment, ORIGINAL_COMMAND: program.command},
        )

    def _jailed(self, program: Program) -> Program:
        rules = self._security.sftp
        if not rules.is_set or program.kind is not ProgramKind.SUBSYSTEM or program.command != _SFTP:
            return program
        return replace(program, jail=Jail(rules.root, rules.read_only, rules.hidden, rules.quota))

    def source(self, host: str) -> None:
        """May a login come from the address `host`?"""
        rules = self._security.sources
        address = ip_address(host)
        is_allowed = not rules.allow or any(address in ip_network(network) for network in rules.allow)
        if not is_allowed or any(address in ip_network(network) for network in rules.deny):
            raise Refused(
                f"logins from {host} are not allowed (security.sources)",
                user_text="Logins from your address are not allowed.",
                code=Code.SECURITY_SOURCE_REJECTED,
            )

    def hours(self, now: float) -> float | None:
        """How many seconds a login of `now` (seconds since the epoch) may last by its hours; None: without end."""
        rules = self._security.hours
        if not rules.allow:
            return None
        moment = datetime.fromtimestamp(now, ZoneInfo(rules.zone))
        rest = rest_of((parse_window(window) for window in rules.allow), moment.replace(tzinfo=None))
        if rest is None:
            raise Refused(
                f"logins are not allowed at {moment:%a %H:%M} {rules.zone} (security.hours)",
                user_text="Logins are not allowed at this time.",
                code=Code.SECURITY_HOURS_REJECTED,
            )
        return rest.total_seconds()

    def dial(self, target: Target) -> None:
        """May a connection to `target` be opened inside the guest?"""
        rules, code = self._security.forwarding, Code.SECURITY_FORWARDING_REJECTED
        match target:
            case TcpTarget():
                rule = _Rule("Port forwarding", "forwardingMode", rules.forwarding_mode, code)
            case UnixTarget():
                rule = _Rule("Socket forwarding", "socketForwardingMode", rules.socket_forwarding_mode, code)
        self._forward(rule, target, rules.allowed_targets)

    def listen(self, spec: ListenSpec) -> None:
        """May the guest listen on `spec` for the client?"""
        rules, code = self._security.forwarding, Code.SECURITY_REVERSE_FORWARDING_REJECTED
        match spec:
            case TcpTarget():
                rule = _Rule("Reverse port forwarding", "reverseForwardingMode", rules.reverse_forwarding_mode, code)
            case UnixTarget():
                rule = _Rule("Reverse socket forwarding", "socketListenMode", rules.socket_listen_mode, code)
            case X11Display():
                code = Code.SECURITY_X11_FORWARDING_REJECTED
                rule = _Rule("X11 forwarding", "x11ForwardingMode", rules.x11_forwarding_mode, code)
            case AgentSocket():
                code = Code.SECURITY_AGENT_FORWARDING_REJECTED
                rule = _Rule("Agent forwarding", "agentForwardingMode", rules.agent_forwarding_mode, code)
        self._forward(rule, spec, rules.allowed_listeners)

    def _forward(self, rule: _Rule, spec: ListenSpec, allowed: Sequence[str]) -> None:
        match self._mode(rule.mode), spec:
            case "enable", _:
                return
            case "filter", TcpTarget(host, port) if any_host(allowed, host, port):
                return
            case "filter", UnixTarget(path) if any_path(allowed, path):
                return
            case "filter", TcpTarget() | UnixTarget() if allowed:
                raise Refused(
                    f"no entry of the list allows {spec} (security.forwarding, {rule.key}: filter)",
                    user_text=f"{rule.what} there is not allowed.",
                    code=rule.code,
                )
            case _:
                raise Refused(
                    f"{rule.what} is switched off (security.forwarding.{rule.key})",
                    user_text=f"{rule.what} is disabled.",
                    code=rule.code,
                )

    def _shell(self) -> None:
        if self._mode(self._security.shell.mode or self._way_around) != "enable":
            raise Refused(
                "shells are switched off (security.shell)",
                user_text="Shell execution is disabled.",
                code=Code.SECURITY_SHELL_REJECTED,
            )

    def _command(self, command: bytes) -> None:
        if not self._security.allow_mosh and command.split(maxsplit=1)[:1] == [b"mosh-server"]:
            raise Refused(
                "mosh is not carried (security.allowMosh)",
                user_text="mosh needs UDP, which is not carried here; please use ssh.",
                code=Code.SECURITY_EXEC_REJECTED,
            )
        rules = self._security.command
        if not self._listed(
            rules.mode or self._way_around, command.decode("utf-8", "surrogateescape"), rules.allow, ()
        ):
            raise Refused(
                "the command may not be run (security.command)",
                user_text="Command execution is disabled.",
                code=Code.SECURITY_EXEC_REJECTED,
            )

    def _subsystem(self, name: bytes) -> None:
        rules = self._security.subsystem
        if not self._listed(rules.mode, name.decode("utf-8", "surrogateescape"), rules.allow, rules.deny):
            raise Refused(
                f"the subsystem {name!r} may not be started (security.subsystem)",
                user_text="Subsystem execution is disabled.",
                code=Code.SECURITY_SUBSYSTEM_REJECTED,
            )

    @property
    def _way_around(self) -> str:
        """The mode of shell and commands where SFTP is held to rules that they would not be held to."""
        return "disable" if self._security.sftp.is_set else ""

    def _mode(self, own: str) -> str:
        return own or self._security.default_mode or "enable"

    def _listed(self, own: str, value: str, allow: Sequence[str], deny: Sequence[str]) -> bool:
        match self._mode(own):
            case "enable":
                return value not in deny
            case "filter":
                return value in allow
            case _:
                return False
