"""What one login would get: the file's configuration, the hook's answer, and what the policy makes of both.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from moorage.config import AppConfig, Loaded
from moorage.config.problems import dotted
from moorage.config.rendering import plain
from moorage.config.report import Setting, settings, shortened, summary
from moorage.config.section import HIDDEN
from moorage.config.sections.security import SecurityConfig
from moorage.errors import Refused
from moorage.gateway.model import (
    AgentSocket,
    Attempt,
    Program,
    ProgramKind,
    TcpTarget,
    UnixTarget,
    X11Display,
)
from moorage.gateway.policy import Policy
from moorage.gateway.restricting import recorded, restricted

HOOK: Final = "config webhook"
"""The origin of what the hook has said."""

_NOBODY: Final = "\x7f"
"""A name and host that no list has: what becomes of it becomes of all that the lists do not name."""
_GROUPS: Final = {"launched": ("backend",), "allowed": ("security",), "recorded": ("audit",)}


@dataclass(frozen=True, slots=True)
class Explained:
    """One login: facts and settings by heading (`launched`, `allowed`, `recorded`), and what the hook attached."""

    attempt: Attempt
    facts: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, Sequence[Setting]]


def explain(loaded: Loaded, config: AppConfig, attempt: Attempt, *, now: float) -> Explained:
    """What `attempt` would get with `config`, which is that of `loaded` with the hook's answer laid over it."""
    every = list(_settings(loaded, config))
    groups = {**_GROUPS, "launched": ("backend", config.backend)}
    return Explained(
        attempt,
        {
            "launched": {"guest": summary(config)["guests from"]},
            "allowed": dict(_allowed(config, attempt, now)),
            "recorded": dict(_recorded(config)),
        },
        {name: [one for one in every if one.path[0] in sections] for name, sections in groups.items()},
    )


def _settings(loaded: Loaded, config: AppConfig) -> Iterator[Setting]:
    """What differs from the defaults, or from the file; each with its origin, and secrets hidden."""
    before = {one.path: one.value for one in settings(loaded, secrets=True)}
    merged = replace(loaded, config=config)
    told = {one.path: one.value for one in settings(merged, secrets=True)}
    shown = {one.path: one for one in settings(merged)}
    whole = plain(config)
    for path in dict.fromkeys((*shown, *before)):
        setting = shown.get(path) or Setting(path, _at(whole, path), HOOK, 0)
        if path not in before or path not in told or before[path] != told[path]:
            setting = replace(setting, origin=HOOK, line=0)
        yield setting


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _allowed(config: AppConfig, attempt: Attempt, now: float) -> Iterator[tuple[str, str]]:
    """What the policy answers, asked as the gateway asks it."""
    security = recorded(restricted(config, attempt.restrictions)).security
    policy = Policy(security)
    programs = {kind: _asker(policy, kind) for kind in (ProgramKind.EXEC, ProgramKind.SUBSYSTEM)}
    yield "login from here", _answer(lambda: policy.source(attempt.remote_address.host))
    yield "login now", _answer(lambda: policy.hours(now))
    yield "terminal", _answer(policy.terminal)
    yield "shell", _answer(lambda: policy.program(Program(ProgramKind.SHELL)))
    yield "commands", _which(programs[ProgramKind.EXEC], security.command.allow)
    subsystems = dict.fromkeys(("sftp", *security.subsystem.allow, *security.subsystem.deny))
    yield "subsystems", _which(programs[ProgramKind.SUBSYSTEM], tuple(subsystems))
    yield (
        "variables",
        _which(lambda name: policy.environment(name.encode()), (*security.env.allow, *security.env.deny)),
    )
    yield "signals", _which(policy.signal, (*security.signal.allow, *security.signal.deny))
    yield from _forwarded(policy, security)
    if security.force_command:
        yield "runs instead", security.force_command


def _forwarded(policy: Policy, security: SecurityConfig) -> Iterator[tuple[str, str]]:
    rules = security.forwarding
    tcp, unix = TcpTarget(_NOBODY, 1), UnixTarget(f"/{_NOBODY}".encode())

    def where(mode: str, ask: Callable[[], object], listed: Sequence[str]) -> str:
        if _answer(ask) == "yes":
            return "all"
        return f"only {', '.join(listed)}" if (mode or security.default_mode) == "filter" and listed else "none"

    yield "tunnels to", where(rules.forwarding_mode, lambda: policy.dial(tcp), rules.allowed_targets)
    yield "sockets to", where(rules.socket_forwarding_mode, lambda: policy.dial(unix), rules.allowed_targets)
    yield "listen on", where(rules.reverse_forwarding_mode, lambda: policy.listen(tcp), rules.allowed_listeners)
    yield "sockets on", where(rules.socket_listen_mode, lambda: policy.listen(unix), rules.allowed_listeners)
    yield "X11", where("", lambda: policy.listen(X11Display(b"", b"")), ())
    yield "ssh-agent", where("", lambda: policy.listen(AgentSocket()), ())


def _asker(policy: Policy, kind: ProgramKind) -> Callable[[str], object]:
    return lambda text: policy.program(Program(kind, text.encode()))


def _answer(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Refused as refused:
        return f"no: {refused}"
    return "yes"


def _which(ask: Callable[[str], object], named: Sequence[str]) -> str:
    """Which of all names are allowed, where only those that are `named` can differ from the rest."""

    def is_allowed(name: str) -> bool:
        return _answer(lambda: ask(name)) == "yes"

    is_rest_allowed = is_allowed(_NOBODY)
    others = [name for name in dict.fromkeys(named) if is_allowed(name) != is_rest_allowed]
    if not others:
        return "all" if is_rest_allowed else "none"
    return ("all but " if is_rest_allowed else "only ") + ", ".join(others)


def _recorded(config: AppConfig) -> Iterator[tuple[str, str]]:
    audit = config.audit
    if not audit.enable or audit.format == "none" or audit.storage == "none":
        yield "recording", "none"
        return
    where = audit.file.directory if audit.storage == "file" else f"s3://{audit.s3.bucket}"
    yield "recording", f"{audit.format}, to {where}"
    wanted = {name: getattr(audit.intercept, name) for name in type(audit.intercept).model_fields}
    yield "with", ", ".join(["facts", *(name for name, is_wanted in wanted.items() if is_wanted)])
    yield "if it fails", audit.on_failure


def as_text(explained: Explained, *, asked: str) -> str:
    """For people.  `asked` is the hook that was asked, or why none was."""
    attempt = explained.attempt
    lines = [f"{_printable(attempt.username)} from {attempt.remote_address.host}; {asked}"]
    for heading, facts in explained.facts.items():
        lines += ["", heading]
        rows = [(name, text, "") for name, text in facts.items()]
        if heading == "launched":
            rows += [(name, text, HOOK) for name, text in _attached(attempt)]
        rows += [(dotted(one.path), shortened(one.value), _origin(one)) for one in explained.settings[heading]]
        rows = [(_printable(name), _printable(text), origin) for name, text, origin in rows]
        key = max(len(name) for name, _, _ in rows)
        value = max((len(text) for _, text, origin in rows if origin), default=0)
        lines += [f"  {name:<{key}}  {text:<{value}}  {origin}".rstrip() for name, text, origin in rows]
    return "\n".join(lines)


def _origin(setting: Setting) -> str:
    return f"line {setting.line}" if setting.line else setting.origin


def _printable(text: str) -> str:
    """What a hook has said must not drive the terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _attached(attempt: Attempt) -> Iterator[tuple[str, str]]:
    for name, value in attempt.metadata.environment.items():
        yield f"variable {name}", HIDDEN if value.sensitive else shortened(value.value)
    for path, file in attempt.metadata.files.items():
        yield f"file {path}", f"{len(file.value)} bytes"


def as_json(explained: Explained, *, hook: str) -> dict[str, Any]:
    """For programs.  `hook` is the URL that was asked, empty if none was."""
    attempt = explained.attempt
    result: dict[str, Any] = {"user": attempt.username, "address": attempt.remote_address.host, "hook": hook}
    for heading, facts in explained.facts.items():
        rows = [
            {"path": dotted(one.path), "value": one.value, "origin": one.origin, "line": one.line}
            for one in explained.settings[heading]
        ]
        result[heading] = {**facts, "settings": rows}
    result["launched"]["variables"] = [
        {"name": name, "value": HIDDEN if value.sensitive else value.value, "sensitive": value.sensitive}
        for name, value in attempt.metadata.environment.items()
    ]
    result["launched"]["files"] = [
        {"path": path, "bytes": len(file.value), "sensitive": file.sensitive}
        for path, file in attempt.metadata.files.items()
    ]
    return result
