"""What a loaded configuration means, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from moorage.config.loading import Loaded
from moorage.config.problems import Problem, dotted
from moorage.config.reading.shape import SectionKind, shape_of
from moorage.config.rendering import dump, dumped, plain
from moorage.config.section import Path, Section, without_password
from moorage.config.sections.auth import AuthConfig
from moorage.config.sections.root import AppConfig

__all__ = ["Setting", "as_json", "as_text", "dump", "listed", "settings", "shortened", "summary"]

_WIDEST: Final = 60


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that differs from its default, and where it comes from."""

    path: Path
    value: Any
    origin: str
    line: int


def settings(loaded: Loaded, *, secrets: bool = False) -> Iterator[Setting]:
    """All values that differ from their defaults, in the order of the reference."""
    yield from _differing(loaded.config, AppConfig(), (), loaded, secrets)


def _differing(section: Section, default: Section, path: Path, loaded: Loaded, secrets: bool) -> Iterator[Setting]:
    for entry in shape_of(type(section)).entries.values():
        value, usual = getattr(section, entry.attribute), getattr(default, entry.attribute)
        inner = (*path, entry.key)
        if isinstance(entry.kind, SectionKind) and value is not None:
            yield from _differing(value, usual or entry.kind.section(), inner, loaded, secrets)
        elif value != usual:
            shown = dumped(entry.kind, value, inner, secrets=secrets)
            if isinstance(shown, dict) and shown:
                for key, part in shown.items():
                    yield _setting((*inner, key), part, loaded)
            else:
                yield _setting(inner, shown, loaded)


def _setting(path: Path, value: Any, loaded: Loaded) -> Setting:
    # A part of a structure may be written under another spelling; its place is then that of the structure.
    if loaded.source.is_written(path) or (value and loaded.source.is_written(path[:-1]) and path[-1] == "resources"):
        place = loaded.source.place(path)
        return Setting(path, value, str(place), place.line)
    return Setting(path, value, "follows from the rest", 0)


def hides_secrets(config: AppConfig) -> bool:
    """True if the dump of `config` without its secrets is not the same."""
    return plain(config) != plain(config, secrets=True)


def summary(config: AppConfig) -> dict[str, str]:
    """What the server would do, a line each."""
    lines = {"listens on": config.ssh.listen, "users log in by": _methods(config.auth)}
    if config.auth.authz.method:
        lines["authorized by"] = without_password(config.auth.authz.webhook.url)
    url = config.configserver.url
    lines["each login asks"] = without_password(url) if url else "nothing: the file holds for all"
    lines["guests from"] = _guests(config)
    keys = [key.get_secret_value() for key in config.ssh.hostkeys]
    paths = ["inline key" if key.strip().startswith("-----") else key for key in keys]
    lines["host keys"] = ", ".join(paths) or "made once and kept in the state directory"
    return lines


def _methods(auth: AuthConfig) -> str:
    said = []
    for name, part in (("password", auth.password), ("public key", auth.public_key)):
        if part.method == "webhook":
            said.append(f"{name} ({without_password(part.webhook.url)})")
        elif part.method == "users":
            said.append(f"{name} ({auth.users.file})")
        elif part.method:
            said.append(f"{name} ({part.method})")
    said += [
        f"{name} ({part.method})"
        for name, part in (("keyboard-interactive", auth.keyboard_interactive), ("gssapi", auth.gssapi))
        if part.method
    ]
    return ", ".join(said) or "no method: nobody can log in"


def _guests(config: AppConfig) -> str:
    match config.backend:
        case "docker":
            image = config.docker.execution.container.get("Image", "")
            return f"docker at {config.docker.connection.host}, image {image}"
        case "kubernetes":
            namespace = config.kubernetes.pod.metadata.get("namespace", "")
            connection = config.kubernetes.connection
            where = f"as {connection.kubeconfig} says" if connection.kubeconfig else f"at {connection.host}"
            return f"kubernetes {where}, namespace {namespace}"
        case "sshproxy":
            return f"sshproxy at {config.sshproxy.server}:{config.sshproxy.port}"
        case "sandbox":
            return f"sandbox from {config.sandbox.rootfs or '/usr of this host'}"
    return config.backend


def as_text(loaded: Loaded, *, secrets: bool = False) -> str:
    """The report that ``moorage check`` prints."""
    lines = [f"{loaded.source.file}: the server would start with this", ""]
    rows = [(dotted(one.path), shortened(one.value), _origin(one, loaded)) for one in settings(loaded, secrets=secrets)]
    if rows:
        keys = max(len(row[0]) for row in rows)
        values = min(max(len(row[1]) for row in rows), _WIDEST)
        lines += [f"  {key:<{keys}}  {value:<{values}}  {origin}".rstrip() for key, value, origin in rows]
    else:
        lines.append("  (only defaults)")
    lines.append("")
    lines += [f"{name + ':':<17}{text}" for name, text in summary(loaded.config).items()]
    if loaded.warnings:
        lines += ["", *(f"warning: {warning}" for warning in loaded.warnings)]
    return "\n".join(lines)


def _origin(setting: Setting, loaded: Loaded) -> str:
    if not setting.line:
        return setting.origin
    origin = loaded.source.origin(setting.path)
    written = "" if origin == setting.path else f", as {dotted(origin)}"
    return f"line {setting.line}{written}"


def shortened(value: Any) -> str:
    """`value` on one line of `_WIDEST` characters at most, without anything that could drive a terminal."""
    if isinstance(value, str):
        text = value.replace("\n", "\\n") if value else '""'
    elif isinstance(value, bool) or value is None:
        text = "null" if value is None else str(value).lower()
    elif isinstance(value, list):
        text = "[" + ", ".join(shortened(element) for element in value) + "]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {shortened(inner)}" for key, inner in value.items()) + "}"
    else:
        text = str(value)
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: _WIDEST * 2])
    return safe if len(safe) <= _WIDEST and len(text) <= _WIDEST * 2 else safe[: _WIDEST - 1] + "…"


def as_json(loaded: Loaded, *, secrets: bool = False, whole: bool = False) -> dict[str, Any]:
    """The report for programs; with `whole`, every key of the configuration too."""
    result: dict[str, Any] = {
        "ok": True,
        "file": loaded.source.file,
        "problems": [],
        "warnings": listed(loaded.warnings),
        "settings": [
            {"path": dotted(one.path), "value": one.value, "origin": one.origin, "line": one.line}
            for one in settings(loaded, secrets=secrets)
        ],
        "summary": summary(loaded.config),
    }
    if whole:
        result["config"] = plain(loaded.config, secrets=secrets)
    return result


def listed(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """`problems` as plain maps."""
    return [
        {
            "file": problem.place.file,
            "line": problem.place.line,
            "column": problem.place.column,
            "path": problem.key,
            "what": problem.what,
            "mend": problem.mend,
        }
        for problem in problems
    ]
