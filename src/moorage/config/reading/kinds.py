"""The types of fields: how each reads a value from a document, how a webhook's answer merges, how it is written down.

A kind's `read` gives a value of the model's own type, or `UNSET` for null and after a
problem was noted.  Its `merge` is the webhook's rule: a zero value never replaces
anything, a list replaces a list, maps are united.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import SecretStr

from moorage.config.problems import MOST_PROBLEMS, ConfigProblems, Place, Problem
from moorage.config.quantities import duration_of, format_duration, format_size, parse_duration, parse_size
from moorage.config.reading import scalars
from moorage.config.reading.document import MAX_DEPTH, MAX_NODES, Document, Text
from moorage.config.section import HIDDEN, Path, choose, shown, without_password
from moorage.config.sections.names import LOG_LEVELS


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""No value: the field keeps what it has."""


@dataclass(slots=True)
class Reading:
    """One document being read: what was found wrong, and how much more may come."""

    document: Document
    is_answer: bool = False
    """A webhook's answer: nothing is filled in, and `auth` may hold anything."""

    problems: list[Problem] = field(default_factory=list)
    ignored: list[Problem] = field(default_factory=list)
    """Unknown keys where they are tolerated."""

    left: int = MAX_NODES

    @property
    def is_hopeless(self) -> bool:
        """True if there are so many problems that looking for their mends is not worth the time."""
        return len(self.problems) >= MOST_PROBLEMS

    def wrong(self, path: Path, what: str, mend: str = "") -> _Unset:
        """Notes that the value at `path` cannot be used."""
        if not self.is_hopeless:
            self.problems.append(Problem(self._place(path), self.document.origin(path), what, mend))
        return UNSET

    def ignore(self, path: Path, what: str) -> None:
        """Notes that `path` is passed over."""
        if not self.is_answer and len(self.ignored) < MOST_PROBLEMS:
            self.ignored.append(Problem(self._place(path), self.document.origin(path), what))

    def count(self, path: Path, values: int = 1) -> None:
        """Bounds depth and number of values; only an answer can get here with more than a document may have."""
        self.left -= values
        if self.left < 0 or len(path) > MAX_DEPTH:
            raise ConfigProblems([Problem(Place(self.document.file), path, "there are too many values, or too deep")])

    def _place(self, path: Path) -> Place:
        return Place(self.document.file) if self.is_answer else self.document.place(path)


class Kind(Protocol):
    """A field's type."""

    @property
    def name(self) -> str:
        """What the reference page calls it."""

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """`value` as the model wants it, or `UNSET`."""

    def merge(self, old: Any, new: Any) -> Any:
        """`old` where a webhook says `new`; neither is changed."""

    def dump(self, value: Any, secrets: bool) -> Any:
        """`value` as YAML shows it."""


def found(value: object) -> str:
    """What a value of the wrong type is, without showing it."""
    match value:
        case dict():
            return "a map"
        case list():
            return "a list"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case Text():
            plain = scalars.resolve(value, old_words=False)
            return "a text" if isinstance(plain, str) else found(plain)
    return "a text"


def is_unicode(text: str) -> bool:
    """False if `text` holds half a surrogate pair, which JSON can smuggle in and no encoding can write."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Scalar:
    """What all scalars share: null is no value, and zero never replaces."""

    name = "text"
    wanted = "a text"
    mend = ""

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        if value is None:
            return UNSET
        return self.convert(value, path, reading)

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        raise AssertionError  # pragma: no cover - every scalar has its own

    def mistyped(self, value: Any, path: Path, reading: Reading) -> _Unset:
        return reading.wrong(path, f"expected {self.wanted}, found {found(value)}", self.mend)

    def merge(self, old: Any, new: Any) -> Any:
        return new or old

    def dump(self, value: Any, secrets: bool) -> Any:
        del secrets
        return value


class TextKind(Scalar):
    """A text: in YAML whatever the scalar says, in JSON a string."""

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        if not isinstance(value, str):
            return self.mistyped(value, path, reading)
        if "\0" in value or not is_unicode(value):
            return reading.wrong(path, "holds a character that is no text")
        return str(value)


class SecretKind(TextKind):
    """A text that is never shown."""

    name = "secret"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        text = super().convert(value, path, reading)
        return text if text is UNSET else SecretStr(text)

    def merge(self, old: Any, new: Any) -> Any:
        return new if new.get_secret_value() else old

    def dump(self, value: Any, secrets: bool) -> Any:
        text = value.get_secret_value()
        return text if secrets or not text else HIDDEN


class KeyKind(SecretKind):
    """A private key; the path of a file is no secret."""

    def dump(self, value: Any, secrets: bool) -> Any:
        text = value.get_secret_value()
        return text if text.startswith(("/", "./", "../")) else super().dump(value, secrets)


class UrlKind(TextKind):
    """A URL, shown without the password in it."""

    def dump(self, value: Any, secrets: bool) -> Any:
        return value if secrets else without_password(value)


class BoolKind(Scalar):
    """True or false."""

    name = "true or false"
    wanted = "true or false"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        truth = scalars.boolean(value)
        return self.mistyped(value, path, reading) if truth is None else truth


@dataclass(frozen=True)
class IntKind(Scalar):
    """An integer within a range."""

    low: int = -(2**63)
    high: int = 2**63 - 1
    name = "number"
    wanted = "a whole number"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        number = scalars.whole(value)
        if number is None:
            return self.mistyped(value, path, reading)
        if not self.low <= number <= self.high:
            return reading.wrong(path, f"is not between {self.low} and {self.high}")
        return number


class FloatKind(Scalar):
    """A number."""

    name = "number"
    wanted = "a number"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        number = scalars.real(value)
        return self.mistyped(value, path, reading) if number is None else number

    def dump(self, value: Any, secrets: bool) -> Any:
        del secrets
        return int(value) if value.is_integer() else value


class DurationKind(Scalar):
    """A length of time."""

    name = "duration"
    wanted = "a duration"
    mend = "write 30s, 1m30s, 500ms or 2h"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        try:
            if isinstance(value, Text) and value.plain and (number := scalars.real(value)) is not None:
                return duration_of(number)
            if isinstance(value, str):
                return parse_duration(value)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return duration_of(value)
        except ValueError as error:
            return reading.wrong(path, f"{shown(value)} {error}", self.mend)
        return self.mistyped(value, path, reading)

    def dump(self, value: Any, secrets: bool) -> Any:
        del secrets
        return format_duration(value)


class SizeKind(Scalar):
    """A number of bytes."""

    name = "size"
    wanted = "a size"
    mend = "write 512Mi, 1Gi or a number of bytes"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        number = scalars.whole(value)
        if number is not None and 0 <= number < 2**63:
            return number
        if isinstance(value, str):
            try:
                return parse_size(value)
            except ValueError as error:
                return reading.wrong(path, f"{shown(value)} {error}", self.mend)
        return self.mistyped(value, path, reading)

    def dump(self, value: Any, secrets: bool) -> Any:
        del secrets
        return format_size(value)


class LevelKind(Scalar):
    """A log level: a name, or syslog's number."""

    name = "log level"
    wanted = "a log level"

    def convert(self, value: Any, path: Path, reading: Reading) -> Any:
        number = scalars.whole(value)
        if number is not None and 0 <= number < len(LOG_LEVELS):
            return LOG_LEVELS[number]
        if isinstance(value, str) and value in LOG_LEVELS:
            return str(value)
        if isinstance(value, str) and not value:
            return UNSET
        if isinstance(value, str):
            return reading.wrong(path, f"invalid log level {shown(value)}", choose(value, LOG_LEVELS))
        return self.mistyped(value, path, reading)

    def merge(self, old: Any, new: Any) -> Any:
        return old if new == LOG_LEVELS[0] else new  # emerg is the number 0


@dataclass(frozen=True)
class ListKind:
    """A list of scalars or sections; `colons`: one string with ``:`` between the elements will do."""

    element: Kind
    colons: bool = False

    @property
    def name(self) -> str:
        return f"list of {self.element.name}s"

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        if value is None:
            return UNSET
        if self.colons and isinstance(value, str):
            value = [Text(part, plain=False) for part in value.split(":")] if value else []
        if not isinstance(value, list):
            return reading.wrong(path, f"expected a list, found {found(value)}", "write [ONE, TWO]")
        reading.count(path, len(value))
        elements = []
        for index, inner in enumerate(value):
            inner_value = Text("", plain=False) if inner is None else inner
            element = self.element.read(inner_value, (*path, index), reading)
            if element is not UNSET:
                elements.append(element)
        return tuple(elements)

    def merge(self, old: Any, new: Any) -> Any:
        """The answer's list, if it has anything; sections in it are made, since there are none to merge them with."""
        return tuple(self.element.merge(None, one) if isinstance(one, dict) else one for one in new) or old

    def dump(self, value: Any, secrets: bool) -> Any:
        return None if value is None else [self.element.dump(element, secrets) for element in value]


@dataclass(frozen=True)
class MapKind:
    """A map from texts to texts."""

    name = "map of texts"
    element: Kind = field(default_factory=TextKind)

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        if value is None:
            return UNSET
        if not isinstance(value, Mapping):
            return reading.wrong(path, f"expected a map, found {found(value)}")
        reading.count(path, len(value))
        result = {}
        for key, inner in value.items():
            inner_value = Text("", plain=False) if inner is None else inner
            element = self.element.read(inner_value, (*path, key), reading)
            if element is not UNSET:
                result[str(key)] = element
        return result

    def merge(self, old: Any, new: Any) -> Any:
        return {**(old or {}), **new}

    def dump(self, value: Any, secrets: bool) -> Any:
        return {key: self.element.dump(inner, secrets) for key, inner in value.items()}
