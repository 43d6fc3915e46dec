"""Models seen as documents: which keys a section has, and what kind each of them is."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from typing import Any, Final, Union

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from moorage.config.reading.kinds import (
    UNSET,
    BoolKind,
    DurationKind,
    FloatKind,
    IntKind,
    KeyKind,
    Kind,
    LevelKind,
    ListKind,
    MapKind,
    Reading,
    SecretKind,
    SizeKind,
    TextKind,
    UrlKind,
    found,
)
from moorage.config.reading.structs import StructKind
from moorage.config.section import (
    Address,
    AlsoCalled,
    Colons,
    KeepsZero,
    Path,
    PemOrPath,
    Section,
    SizeInBytes,
    Struct,
    Within,
    closest,
    shown,
)
from moorage.config.sections.log import LevelName


@dataclass(frozen=True)
class Entry:
    """One key of a section."""

    attribute: str
    key: str
    kind: Kind
    default: Any
    keeps_zero: bool
    also: tuple[str, ...]

    @cached_property
    def zero_is_default(self) -> bool:
        """True if writing a zero means the same as leaving the key out."""
        return bool(self.default) and not self.keeps_zero and not isinstance(self.default, (bool, dict, tuple, Section))


@dataclass(frozen=True)
class Shape:
    """The keys of a section, exact and in any case."""

    entries: Mapping[str, Entry]
    by_key: Mapping[str, Entry]
    by_folded: Mapping[str, Entry]

    def find(self, key: str, *, folds_case: bool) -> Entry | None:
        """The entry that `key` means."""
        return self.by_key.get(key) or (self.by_folded.get(key.lower()) if folds_case else None)


@cache
def shape_of(section: type[Section]) -> Shape:
    """The keys of `section`."""
    entries = {}
    by_key: dict[str, Entry] = {}
    for attribute, info in section.model_fields.items():
        entry = _entry(attribute, info)
        entries[attribute] = entry
        for key in (entry.key, *entry.also):
            by_key[key] = entry
    return Shape(entries, by_key, {key.lower(): entry for key, entry in by_key.items()})


def _entry(attribute: str, info: FieldInfo) -> Entry:
    markers = info.metadata
    also = tuple(marker.key for marker in markers if isinstance(marker, AlsoCalled))
    keeps_zero = any(isinstance(marker, KeepsZero) for marker in markers)
    default = info.get_default(call_default_factory=True, validated_data={})
    kind = _kind(info.annotation, markers)
    return Entry(attribute, info.alias or attribute, kind, default, keeps_zero, also)


_SCALARS: Mapping[Any, Kind] = {
    str: TextKind(),
    SecretStr: SecretKind(),
    bool: BoolKind(),
    float: FloatKind(),
    timedelta: DurationKind(),
}


def _kind(annotation: Any, markers: Sequence[Any]) -> Kind:
    for marker in markers:
        match marker:
            case Struct(table, name):
                return StructKind.of(table, name)
            case LevelName():
                return LevelKind()
            case Address():
                return UrlKind()
            case PemOrPath():
                return KeyKind()
            case SizeInBytes():
                return SizeKind()
            case Within(low, high) if annotation is int:
                return IntKind(low, high)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0], (*arguments[1:], *markers))
    if origin in {Union, types.UnionType}:
        inner = next(argument for argument in arguments if argument is not type(None))
        if isinstance(inner, type) and issubclass(inner, Section):
            return SectionKind(inner, optional=True)
        return _kind(inner, markers)
    if origin is tuple:
        return ListKind(_kind(arguments[0], ()), colons=any(isinstance(marker, Colons) for marker in markers))
    if origin is dict:
        return MapKind()
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return SectionKind(annotation)
    raise TypeError(f"no kind for {annotation}")


@dataclass(frozen=True)
class SectionKind:
    """A section inside a section; reads to a dict by attribute, which becomes the model."""

    section: type[Section]
    optional: bool = False

    @property
    def name(self) -> str:
        return "map"

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        if value is None:
            return UNSET
        if not isinstance(value, Mapping):
            return reading.wrong(path, f"expected a map, found {found(value)}")
        reading.count(path, len(value))
        shape = shape_of(self.section)
        folds = reading.document.folds_case or path == ("kubernetes", "pod")
        result: dict[str, Any] = {}
        given: dict[str, str] = {}
        for key, inner in value.items():
            entry = shape.find(key, folds_case=folds) if isinstance(key, str) else None
            inner_path = (*path, str(key))
            if entry is None:
                self._unknown(str(key), inner_path, shape, reading)
                continue
            if entry.attribute in given and not folds:
                reading.wrong(inner_path, f"means the same as {given[entry.attribute]}, which is also given")
                continue
            given[entry.attribute] = key
            if reading.is_answer and path == ("auth",) and isinstance(inner, bool):
                continue  # the switch of version 0.4, which has no effect in an answer
            read = entry.kind.read(inner, (*path, entry.key), reading)
            if read is UNSET or (not reading.is_answer and entry.zero_is_default and _is_zero(read)):
                continue
            result[entry.attribute] = read
        return result

    def _unknown(self, key: str, path: Path, shape: Shape, reading: Reading) -> None:
        tolerant = reading.document.folds_case and (path[0] == "auth" or path[:2] == ("docker", "timeouts"))
        if tolerant:
            reading.ignore(path, "unknown key, ignored")
            return
        if reading.is_hopeless:
            return
        meant = closest(key, shape.by_key)
        mend = _REPLACED.get(key) or (f"did you mean {meant}?" if meant else _belongs(key))
        reading.wrong(path, "unknown key" + (f" {shown(key)}" if not key else ""), mend)

    def merge(self, old: Any, new: Any) -> Any:
        if old is None:
            return self.section.model_validate(new)
        return merged(old, new)

    def dump(self, value: Any, secrets: bool) -> Any:
        if value is None:
            return None
        entries = shape_of(self.section).entries.values()
        return {entry.key: entry.kind.dump(getattr(value, entry.attribute), secrets) for entry in entries}


def merged(base: Section, answer: Mapping[str, Any]) -> Section:
    """`base` where a webhook said `answer`, by attribute; the very same object if that changes nothing."""
    entries = shape_of(type(base)).entries
    update = {}
    for attribute, new in answer.items():
        old = getattr(base, attribute)
        value = entries[attribute].kind.merge(old, new)
        if value is not old and value != old:
            update[attribute] = value
    return base.model_copy(update=update) if update else base


def _is_zero(value: Any) -> bool:
    return value in ("", 0, timedelta(0)) and not isinstance(value, bool)


_REPLACED: Final = {
    "oauth2": "OAuth2 is set up under auth.keyboardInteractive.oauth2",
    "kerberos": "Kerberos is set up under auth.password.kerberos and auth.gssapi.kerberos",
    "method": "every way to log in has its own: auth.password.method, auth.publicKey.method",
    "pubkey": "it is called publicKey",
    "dockerrun": "it was replaced by docker",
    "kuberun": "it was replaced by kubernetes",
}


def _belongs(key: str) -> str:
    """Where an unknown key may belong."""
    from moorage.config.sections.root import AppConfig

    places = [
        f"{top.key}.{key}"
        for top in shape_of(AppConfig).entries.values()
        if isinstance(top.kind, SectionKind) and key in shape_of(top.kind.section).by_key
    ]
    return f"did you mean {' or '.join(places)}?" if 0 < len(places) <= 3 else ""
