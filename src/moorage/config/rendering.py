"""A configuration as text: YAML that loads back to the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from moorage.config.reading import scalars
from moorage.config.reading.document import Text
from moorage.config.reading.kinds import Kind
from moorage.config.reading.shape import SectionKind
from moorage.config.section import HIDDEN, Path
from moorage.config.sections.root import AppConfig

_BARE: Final = re.compile(r"[A-Za-z0-9/_.$][A-Za-z0-9/_.$@+=,()-]*(?:[: ][A-Za-z0-9/_.$@+=,()-]+)*")
_VARIABLES: Final = ("env", "environment")
_WORDS: Final = frozenset({"", "~", "null", "yes", "no", "on", "off", "y", "n", "true", "false", "<<", "="})


def dump(config: AppConfig, *, secrets: bool = False) -> str:
    """All keys of `config`, defaults included, as YAML.

    With `secrets` the text loads back to an equal configuration; without, secrets are hidden.
    """
    return to_yaml(plain(config, secrets=secrets))


def plain(config: AppConfig, *, secrets: bool = False) -> dict[str, Any]:
    """`config` as the maps, lists and scalars of a file."""
    result: dict[str, Any] = dumped(SectionKind(AppConfig), config, (), secrets=secrets)
    return result


def dumped(kind: Kind, value: Any, path: Path, *, secrets: bool) -> Any:
    """`value`, which is of `kind` and stands at `path`, as the maps, lists and scalars of a file."""
    result = kind.dump(value, secrets)
    return result if secrets else _masked(path, result)


def _masked(path: Path, value: Any) -> Any:
    """`value` without the values of variables that are in it: what images are told there is often secret."""
    if path[:1] == ("security",):
        return value  # `security.env` is about names and has no values
    is_variables = str(path[-1] if path else "").lower() in _VARIABLES
    match value:
        case {"name": _, "value": _} if is_variables:
            return {**value, "value": HIDDEN}
        case dict():
            return {name: _masked((*path, name), inner) for name, inner in value.items()}
        case list():
            return [_masked(path, inner) for inner in value]
        case str() if is_variables:
            return f"{value.partition('=')[0]}={HIDDEN}"
        case str() if len(path) > 1 and str(path[-2]).lower() in _VARIABLES:
            return HIDDEN
    return value


def to_yaml(value: Mapping[str, Any]) -> str:
    """`value` as YAML, with every text written so that it is read as that text."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10**9, indent=2
    )


class _Dumper(yaml.SafeDumper):
    """Quotes whatever a reader of YAML 1.1 or 1.2 could take for something else than a text."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    meant = scalars.resolve(Text(text, plain=True), old_words=True)
    bare = text.lower() not in _WORDS and meant == text and isinstance(meant, str) and _BARE.fullmatch(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare else '"')


_Dumper.add_representer(str, _text)
