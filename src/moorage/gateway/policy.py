"""Policy answers whether a login may do a thing, before anything of it reaches a guest.

The rules are those of the configuration's ``security`` section: a mode of its own, else
``defaultMode``, else ``enable``.  ``filter`` without a list to filter by is ``disable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from moorage.codes import Code
from moorage.config.sections.security import SecurityConfig
from moorage.errors import Refused
from moorage.gateway.model import Program, ProgramKind, Target, TcpTarget

ORIGINAL_COMMAND = b"SSH_ORIGINAL_COMMAND"


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
        if not forced:
            return program
        return replace(
            program,
            kind=ProgramKind.EXEC,
            command=forced.encode(),
            environment={**program.environment, ORIGINAL_COMMAND: program.command},
        )

    def dial(self, target: Target) -> None:
        """May a connection to `target` be opened inside the guest?"""
        forwarding = self._security.forwarding
        tcp = isinstance(target, TcpTarget)
        mode = forwarding.forwarding_mode if tcp else forwarding.socket_forwarding_mode
        if self._mode(mode) != "enable":
            key = "forwardingMode" if tcp else "socketForwardingMode"
            raise Refused(
                f"forwarding to {target} is switched off (security.forwarding.{key})",
                user_text="Port forwarding is disabled." if tcp else "Socket forwarding is disabled.",
                code=Code.SECURITY_FORWARDING_REJECTED,
            )

    def _shell(self) -> None:
        if self._mode(self._security.shell.mode) != "enable":
            raise Refused(
                "shells are switched off (security.shell)",
                user_text="Shell execution is disabled.",
                code=Code.SECURITY_SHELL_REJECTED,
            )

    def _command(self, command: bytes) -> None:
        rules = self._security.command
        if not self._listed(rules.mode, command.decode("utf-8", "surrogateescape"), rules.allow, ()):
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
