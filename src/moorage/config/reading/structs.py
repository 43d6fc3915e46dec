"""Structures of an engine's API: read to the API's own names, merged, and written as YAML.

The tables say for every struct which fields it has, as ``Name:type``.  Types: ``s`` text,
``b`` boolean, ``i`` integer, ``f`` number, ``d`` duration in nanoseconds, ``q`` quantity or
int-or-string, ``x`` anything, ``[T]`` list, ``{T}`` map, ``S`` list that JSON may write as one
string, or a struct's name.  ``?`` before the type: the API tells absent from zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

from moorage.config.quantities import format_nanoseconds, parse_nanoseconds
from moorage.config.reading import scalars
from moorage.config.reading.document import Text
from moorage.config.reading.kinds import UNSET, Reading, found, is_unicode
from moorage.config.section import Path, closest


@dataclass(frozen=True)
class Table:
    """The structs of one API."""

    structs: Mapping[str, str]
    """Struct → ``Name:type Name:type …``."""

    keeps_unknown: bool
    """Unknown keys are kept as they are instead of being errors."""

    old_words: bool
    """``yes`` and ``off`` are booleans (YAML 1.1)."""

    lower_case: bool
    """YAML writes the names in lower case."""

    drops_zeros: bool
    """A zero means the same as none, unless the field is marked with ``?``; old files write every key."""

    nested: Mapping[tuple[str, str], str]
    """(struct, lower-case key) → struct whose fields YAML nests under that key and the API has flat."""


@dataclass(frozen=True)
class Type:
    """A field's type."""

    kind: str
    inner: Type | None = None
    optional: bool = False

    @property
    def is_struct(self) -> bool:
        return len(self.kind) > 1


@cache
def parse_type(text: str) -> Type:
    """The type that a table's entry says."""
    if text.startswith("?"):
        plain = parse_type(text[1:])
        return Type(plain.kind, plain.inner, optional=True)
    if text[0] in "[{":
        return Type(text[0], parse_type(text[1:-1]))
    return Type(text)


@dataclass(frozen=True)
class Fields:
    """A struct's fields by name and by folded name."""

    by_name: Mapping[str, Type]
    by_folded: Mapping[str, str]


@cache
def table_of(name: str) -> Table:
    """The table of the API `name`."""
    table: Table = import_module(f"moorage.config.tables.{name}").TABLE
    return table


@cache
def fields_of(table: str, struct: str) -> Fields:
    """The fields of one struct."""
    by_name: dict[str, Type] = {}
    for entry in table_of(table).structs[struct].split():
        name, _, kind = entry.partition(":")
        by_name[name] = parse_type(kind)
    by_folded = {name.lower(): name for name in by_name}
    by_folded.update({name.lower().replace(".", ""): name for name in by_name})
    return Fields(by_name, by_folded)


_WANTED: Final = {
    "s": "a text",
    "b": "true or false",
    "i": "a whole number",
    "f": "a number",
    "d": "a duration",
    "q": "a quantity",
    "[": "a list",
    "S": "a list",
    "{": "a map",
}


@dataclass(frozen=True)
class StructKind:
    """One struct of an API, as a plain dict in the API's own names."""

    table_name: str
    struct: str

    @classmethod
    @cache
    def of(cls, table: str, struct: str) -> StructKind:
        return cls(table, struct)

    @property
    def name(self) -> str:
        return "map"

    @property
    def table(self) -> Table:
        return table_of(self.table_name)

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        return UNSET if value is None else self._read(Type(self.struct), value, path, reading)

    def merge(self, old: Any, new: Any) -> Any:
        return self._merge_struct(self.struct, old or {}, new)

    def dump(self, value: Any, secrets: bool) -> Any:
        del secrets
        return self._dump(Type(self.struct), value)

    # reading

    def _read(self, kind: Type, value: Any, path: Path, reading: Reading) -> Any:
        reading.count(path)
        if kind.is_struct:
            if value is None:
                return {}
            if not isinstance(value, Mapping):
                return reading.wrong(path, f"expected a map, found {found(value)}")
            return self._read_struct(kind.kind, value, path, reading)
        match kind.kind:
            case "x":
                return self._read_any(value, path, reading)
            case "[" | "S":
                return self._read_list(kind, value, path, reading)
            case "{" if isinstance(value, Mapping):
                return self._read_map(kind, value, path, reading)
        read = self._read_scalar(kind.kind, value)
        if read is UNSET:
            return reading.wrong(path, f"expected {_WANTED[kind.kind]}, found {found(value)}")
        return read

    def _read_struct(self, struct: str, value: Mapping[Any, Any], path: Path, reading: Reading) -> dict[str, Any]:
        fields = fields_of(self.table_name, struct)
        result: dict[str, Any] = {}
        for key, inner in value.items():
            text = str(key)
            inner_path = (*path, text)
            nested = self.table.nested.get((struct, text.lower()))
            name = fields.by_folded.get(text.lower())
            if nested is not None:
                if isinstance(inner, Mapping):
                    for flat, flat_value in self._read_struct(nested, inner, inner_path, reading).items():
                        result.setdefault(flat, flat_value)
                elif inner is not None:
                    reading.wrong(inner_path, f"expected a map, found {found(inner)}")
            elif inner is None:
                continue
            elif name is not None:
                kind = fields.by_name[name]
                read = self._read(kind, inner, inner_path, reading)
                if read is not UNSET and (read or kind.optional or not self.table.drops_zeros):
                    result[name] = read
            elif self.table.keeps_unknown:
                result[text] = self._read_any(inner, inner_path, reading)
            elif reading.document.origin(inner_path)[0] == "kuberun":
                reading.ignore(inner_path, "unknown key, ignored")
            elif not reading.is_hopeless:
                meant = closest(text, fields.by_name)
                reading.wrong(inner_path, "unknown key", f"did you mean {meant}?" if meant else "")
        return result

    def _read_list(self, kind: Type, value: Any, path: Path, reading: Reading) -> Any:
        if kind.kind == "S" and isinstance(value, str) and not isinstance(value, Text):
            return [value]
        if value is None:
            return []
        if not isinstance(value, list):
            return reading.wrong(path, f"expected a list, found {found(value)}", "write [ONE, TWO]")
        inner_kind = kind.inner or Type("s")
        read = [self._read(inner_kind, inner, (*path, index), reading) for index, inner in enumerate(value)]
        return [inner for inner in read if inner is not UNSET]

    def _read_map(self, kind: Type, value: Mapping[Any, Any], path: Path, reading: Reading) -> dict[str, Any]:
        inner_kind = kind.inner or Type("s")
        result = {}
        for key, inner in value.items():
            empty = {} if inner_kind.kind == "x" else inner
            read = self._read(inner_kind, empty if inner is None else inner, (*path, str(key)), reading)
            if read is not UNSET:
                result[str(key)] = read
        return result

    def _read_any(self, value: Any, path: Path, reading: Reading) -> Any:
        reading.count(path)
        if isinstance(value, Mapping):
            return {str(key): self._read_any(inner, (*path, str(key)), reading) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._read_any(inner, (*path, index), reading) for index, inner in enumerate(value)]
        return scalars.resolve(value, old_words=self.table.old_words)

    def _read_scalar(self, kind: str, value: Any) -> Any:
        if value is None:
            return "" if kind == "s" else UNSET
        resolved = scalars.resolve(value, old_words=self.table.old_words)
        read: Any = None
        match kind:
            case "s":
                text = scalars.as_text(resolved)
                read = text if text is not None and is_unicode(text) else None
            case "q":
                read = resolved if isinstance(resolved, (int, float)) and not isinstance(resolved, bool) else None
                read = str(resolved) if isinstance(resolved, str) else read
            case "b":
                read = resolved if isinstance(resolved, bool) else scalars.boolean(value)
            case "i":
                read = scalars.whole(value)
            case "f":
                read = scalars.real(value)
            case "d":
                read = _nanoseconds(value)
        return UNSET if read is None else read

    # merging

    def _merge_struct(self, struct: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        fields = fields_of(self.table_name, struct)
        result = {name: copied(value) for name, value in old.items()}
        if struct == "Host":  # the two numbers are one value, which an answer with a host always carries
            result.pop("ConsoleSize", None)
        for name, value in new.items():
            kind = fields.by_name.get(name, Type("x"))
            if name in result:
                result[name] = self._merge(kind, result[name], value)
            elif kind.is_struct and isinstance(value, Mapping):
                inner = self._merge_struct(kind.kind, {}, value)
                if inner or kind.optional:
                    result[name] = inner
            elif _counts(kind, name, value):
                result[name] = copied(value)
        return result

    def _merge(self, kind: Type, old: Any, new: Any) -> Any:
        if kind.is_struct and isinstance(old, Mapping) and isinstance(new, Mapping):
            return self._merge_struct(kind.kind, old, new)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            result = {name: copied(value) for name, value in old.items()}
            for name, value in new.items():
                inner = kind.inner
                if inner and inner.is_struct and isinstance(old.get(name), Mapping) and isinstance(value, Mapping):
                    result[name] = self._merge_struct(inner.kind, old[name], value)
                else:
                    result[name] = copied(value)
            return result
        return copied(new) if new else copied(old)

    # writing

    def _dump(self, kind: Type, value: Any) -> Any:
        if kind.is_struct and isinstance(value, Mapping):
            return self._dump_struct(kind.kind, value)
        if kind.kind == "{" and isinstance(value, Mapping):
            return {key: self._dump(kind.inner or Type("x"), inner) for key, inner in value.items()}
        if kind.kind == "[" and isinstance(value, list):
            return [self._dump(kind.inner or Type("x"), inner) for inner in value]
        if kind.kind == "d" and isinstance(value, int):
            return format_nanoseconds(value)
        return copied(value)

    def _dump_struct(self, struct: str, value: Mapping[str, Any]) -> dict[str, Any]:
        fields = fields_of(self.table_name, struct)
        nested = {under: inner for (holder, under), inner in self.table.nested.items() if holder == struct}
        result: dict[str, Any] = {}
        for name, inner in value.items():
            target = result
            for key, inner_struct in nested.items():
                if name in fields_of(self.table_name, inner_struct).by_name:
                    target = result.setdefault(key, {})
            known = name in fields.by_name
            spelled = name.lower().replace(".", "") if known and self.table.lower_case else name
            target[spelled] = self._dump(fields.by_name.get(name, Type("x")), inner)
        return result


def _counts(kind: Type, name: str, value: Any) -> bool:
    """True if an answer's `value` is taken where there was none before."""
    if name == "ConsoleSize":
        return any(value)
    return bool(value) or (kind.optional and not isinstance(value, list))


def _nanoseconds(value: Any) -> int | None:
    number = scalars.real(value)
    if number is not None:
        return int(number)
    try:
        return parse_nanoseconds(value) if isinstance(value, str) else None
    except ValueError:
        return None


def copied(value: Any) -> Any:
    """A copy of plain dicts and lists that shares nothing with `value`."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    return value
