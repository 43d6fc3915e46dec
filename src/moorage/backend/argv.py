"""What a session asks for, as an argument list for an engine that starts programs itself.  Pure."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from moorage.codes import Code
from moorage.errors import Refused
from moorage.gateway.model import Program, ProgramKind

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./ \t-]*")
"""Words that mean the same to every shell; anything else goes to one."""

_ARGUMENT_LIMIT: Final = 131_072
"""Bytes of one argument that the kernel takes (MAX_ARG_STRLEN)."""

_SHELL: Final = "/bin/sh"


def program_argv(
    program: Program,
    *,
    shell: Sequence[str],
    subsystems: Mapping[str, str],
    unknown: Code = Code.DOCKER_SUBSYSTEM_NOT_SUPPORTED,
) -> list[str]:
    """The argument list for `program`; raises `Refused`, for a subsystem that is not configured with `unknown`.

    An absolute path with plain words is started directly, so that signals reach it; everything else by
    ``/bin/sh -c``, as it is.
    """
    if program.kind is ProgramKind.SHELL:
        if not shell:
            raise Refused("no shellCommand is configured", user_text="There is no shell in this environment.")
        return list(shell)
    text = _text(program.command)
    if program.kind is ProgramKind.SUBSYSTEM:
        path = subsystems.get(text)
        if path is None:
            raise Refused(
                f"the subsystem {text[:64]!r} is not configured",
                user_text="This environment does not offer that subsystem.",
                code=unknown,
            )
        return [path]
    if text.startswith("/") and _PLAIN.fullmatch(text):
        return shlex.split(text)
    return [_SHELL, "-c", text]


def program_environment(program: Program) -> dict[str, str]:
    """The program's variables and TERM; raises `Refused` for what no process can have.

    Variables that the engine's JSON cannot carry (not UTF-8) are left out.
    """
    known: dict[str, str] = {}
    for name, value in program.environment.items():
        if not name or b"=" in name or b"\0" in name or b"\0" in value:
            raise Refused("a variable that no process can have", user_text="A variable's name or value is not valid.")
        with contextlib.suppress(UnicodeDecodeError):
            known[name.decode()] = value.decode()
    if program.pty is not None:
        known["TERM"] = program.pty.term.decode("ascii", "replace") or "dumb"
    return known


def _text(command: bytes) -> str:
    try:
        text = command.decode()
    except UnicodeDecodeError as cause:
        raise Refused(
            "the engine takes commands in UTF-8 only", user_text="Without our agent, commands must be valid UTF-8."
        ) from cause
    if len(command) >= _ARGUMENT_LIMIT:
        raise Refused("the command is longer than an argument may be", user_text="The command is too long.")
    if "\0" in text:
        raise Refused("the command holds a NUL", user_text="The command is not valid.")
    return text
