"""Writes the reference page of the configuration from the models: ``python -m moorage.config.reference``."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Final

from moorage.config.problems import dotted
from moorage.config.reading.kinds import DurationKind, IntKind, ListKind, MapKind, SizeKind
from moorage.config.reading.shape import Entry, SectionKind, shape_of
from moorage.config.reading.structs import StructKind, fields_of
from moorage.config.section import AtLeast, EachOneOf, OneOf, Section
from moorage.config.sections.root import AppConfig
from moorage.config.unsupported import NOT_BUILT

_HEAD: Final = """\
# Configuration reference

<!-- Written by `python -m moorage.config.reference > docs/reference/config.md`; a test compares. -->

Every key of a configuration file, with its type, default and meaning. `moorage check --config FILE` says what a file
means, or everything that is wrong with it. Files of ContainerSSH 0.4 to 0.6 are read as they are; keys that are
called *an addition* are Moorage's own.

## Files

- A name that ends in `.json` is read as JSON, every other name as YAML. Only the first document of a YAML file counts.
- A file has at most 4 MiB and 64 levels. `{}` is a configuration of defaults; an empty file is an error.
- **YAML**: keys exactly as below; an unknown or repeated key is an error. Anchors, aliases and `<<` work. A text is
  what the file says, whatever it looks like: `tlsVersion: 1.2`, `password: 0123` and `banner: yes` need no quotes.
  True and false may be written `yes`/`no` and `on`/`off`; numbers as `0x1f`, `0o17`, `1_000`.
- **JSON**: keys match in any case, of two equal keys the later one counts, and types are strict: `"22"` is no number.
  Unknown keys below `auth` and `docker.timeouts` are passed over with a warning.
- `null` leaves the default. So does an empty text, or a zero, where the default is something else. `false`, an empty
  list and an empty map are taken as they are.
- **Durations** are texts such as `30s`, `1m30s`, `500ms` or `2h`; a number without a unit counts nanoseconds.
- **Sizes** are numbers of bytes, or texts such as `512Mi`.
- **PEM or path**: a text that begins with five dashes is the PEM itself, anything else the path of a file.
- Sections of a backend that is not chosen are read, but may be incomplete.

## What the webhook may change

The `config` in the answer of `configserver.url` is laid over the file for that one login: `backend`, `docker`,
`kubernetes`, `sshproxy`, `sandbox`, `security` and `log.level` count. The JSON rules hold.

| kind | rule |
|---|---|
| text, number, duration, true or false | the answer wins unless it is empty, zero or false |
| list | the answer replaces the file's list unless it is empty |
| map | united; for a key in both the answer wins, even if it is empty |
| section, or a structure of an engine's API | key by key |
| a value whose absence means something to the engine (`PidsLimit`, `Init`, …) | if the file has none, the answer \
is taken, even if it is zero |

So an answer cannot switch something off or empty a list; config servers that send every key with its zero value change
nothing. The result is checked as a whole, and a login whose configuration cannot be used is refused.

## Old layouts

Read with a warning, and shown by `moorage check` as what they mean today:

| old | today |
|---|---|
| `auth.url` and the other keys of an HTTP client in `auth`; `auth.password` and `auth.pubkey` as true or false | \
`auth.password.webhook`, `auth.publicKey.webhook` |
| `listen` | `ssh.listen` |
| `dockerrun`, `backend: dockerrun` | `docker` in session mode without an agent |
| `kuberun`, `backend: kuberun` | `kubernetes` in session mode |
"""

_STRUCT_NOTE: Final = {
    "docker": "YAML names are the engine API's in lower case (`portbindings`), JSON names the API's own "
    "(`PortBindings`); either is understood in both. Keys that are not listed are passed on as they are.",
    "kubernetes": "Names are the cluster API's, in any case. An unknown key is an error at every depth.",
}


def page() -> str:
    """The whole page, as Markdown."""
    return _HEAD + "".join(_missing()) + "".join(_sections()) + "".join(_structs())


def _missing() -> Iterator[str]:
    yield "\n## Not available yet\n\nSwitching one of these on is an error that names the key.\n\n"
    yield "| key | what |\n|---|---|\n"
    for feature in NOT_BUILT:
        yield f"| {_code(dotted(feature.path))} | {feature.what} |\n"


def _sections() -> Iterator[str]:
    yield f"\n## Root\n\n{_table(AppConfig)}"
    places: dict[type[Section], list[str]] = {}
    for path, section in _walk(AppConfig, ""):
        places.setdefault(section, []).append(path)
    for section, paths in places.items():
        title = ", ".join(f"`{path}`" for path in paths)
        yield f"\n## {title}\n\n{(section.__doc__ or '').strip()}\n\n{_table(section)}"


def _walk(section: type[Section], prefix: str) -> Iterator[tuple[str, type[Section]]]:
    for entry in shape_of(section).entries.values():
        if isinstance(entry.kind, SectionKind):
            path = f"{prefix}{entry.key}"
            yield path, entry.kind.section
            yield from _walk(entry.kind.section, f"{path}.")


def _table(section: type[Section]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    docs = _docs(section)
    for entry in shape_of(section).entries.values():
        keys = ", ".join(_code(key) for key in (entry.key, *entry.also))
        meaning = docs[entry.attribute] + _limits(section, entry)
        rows.append(f"| {keys} | {_type(entry)} | {_default(entry)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _type(entry: Entry) -> str:
    text = entry.kind.name
    return text.replace("true or falses", "flags")


def _default(entry: Entry) -> str:
    kind, value = entry.kind, entry.default
    if isinstance(kind, SectionKind):
        return "" if value is not None else "none"
    if value is None:
        return "unset"
    shown = kind.dump(value, True)
    match kind:
        case StructKind():
            return _code(_inline(shown)) if shown else "empty"
        case ListKind():
            return "empty" if not shown else "<br>".join(_code(str(element)) for element in shown)
        case MapKind():
            return _code(_inline(shown)) if shown else "empty"
        case DurationKind() | SizeKind():
            return _code(str(shown))
    if isinstance(shown, bool):
        return _code(str(shown).lower())
    return _code(str(shown)) if shown != "" else "empty"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return str(value)


def _code(text: str) -> str:
    return f"`{text}`"


def _limits(section: type[Section], entry: Entry) -> str:
    said = []
    for marker in section.model_fields[entry.attribute].metadata:
        match marker:
            case AtLeast(least) if isinstance(least, int) and isinstance(entry.kind, (IntKind, SizeKind)):
                said.append(f"At least {entry.kind.dump(least, True)}.")
            case EachOneOf(names):
                said.append("Names: " + ", ".join(_code(name) for name in names) + ".")
            case OneOf(names, "facility" | "pull policy"):
                said.append("One of " + ", ".join(_code(name) for name in names) + ".")
    return " " + " ".join(said) if said else ""


@cache
def _docs(section: type[Section]) -> dict[str, str]:
    """Attribute → the docstring below its definition, here or in a base."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not issubclass(base, Section) or base is Section:
            continue
        tree = ast.parse(inspect.getsource(base))
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, after in pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                doc = after.value if isinstance(after, ast.Expr) else None
                text = str(doc.value) if isinstance(doc, ast.Constant) else ""
                found[statement.target.id] = re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
    return found


def _structs() -> Iterator[str]:
    for kind in ("docker", "kubernetes"):
        names = [
            f"`{path}.{entry.key}` is {entry.kind.struct}"
            for path, section in _walk(AppConfig, "")
            for entry in shape_of(section).entries.values()
            if isinstance(entry.kind, StructKind) and entry.kind.table_name == kind
        ]
        yield f"\n## Structures of the {kind} API\n\n{'; '.join(names)}. {_STRUCT_NOTE[kind]}\n\n"
        yield "| structure | keys |\n|---|---|\n"
        for struct in StructKind(kind, "").table.structs:
            lower = StructKind(kind, "").table.lower_case
            fields = fields_of(kind, struct).by_name
            keys = ", ".join(f"{name.lower() if lower else name}" for name in fields)
            yield f"| {struct} | {keys} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
