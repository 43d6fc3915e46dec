"""What every section of the configuration is made of: the model's base, the types of its fields, its rules.

Models hold values and defaults.  What may be *said* about a value stands beside it as
a marker (`OneOf`, `AtLeast`, …) or in the section's `problems`, and is asked by the
loader for the sections that are in use: a section of a backend that is not selected may
be incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic.alias_generators import to_camel

from moorage.config.disk import Disk
from moorage.config.quantities import duration_of, format_duration, parse_duration, parse_size

Path = tuple[str | int, ...]
"""Where a value stands, from the root: keys, and indices of lists."""

_SPELLINGS: Final = {
    "redirect_uri": "redirectURI",
    "authorize_endpoint_url": "authorizeEndpointURL",
    "require_2fa": "require2FA",
    "maxmind_geoip2_file": "maxmind-geoip2-file",
    "x11_forwarding_mode": "x11ForwardingMode",
    "start_tls": "startTLS",
    "bind_dn": "bindDN",
    "user_dn": "userDN",
    "proxy_protocol_allowed_cidrs": "proxyProtocolAllowedCIDRs",
}


def key_of(attribute: str) -> str:
    """The key in a file for a model's attribute: ``client_alive_interval`` → ``clientAliveInterval``."""
    return _SPELLINGS.get(attribute) or to_camel(attribute)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or doubtful with a value: where (from the section that says so), what, and how to mend it."""

    path: Path
    what: str
    mend: str = ""


def under(prefix: str | int, findings: Iterable[Finding]) -> Iterator[Finding]:
    """`findings` of a part, seen from the section that holds it under the key `prefix`."""
    for finding in findings:
        yield Finding((prefix, *finding.path), finding.what, finding.mend)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of `names`; the empty string counts as unset."""

    names: tuple[str, ...]
    what: str = "value"


@dataclass(frozen=True, slots=True)
class EachOneOf:
    """Every element of the list is one of `names`."""

    names: tuple[str, ...]
    what: str = "name"
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The number or duration is at least `least`."""

    least: float | timedelta


@dataclass(frozen=True, slots=True)
class Within:
    """The integer fits the range; checked while reading, as a type is."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AlsoCalled:
    """Another spelling of the key that files use."""

    key: str


@dataclass(frozen=True, slots=True)
class KeepsZero:
    """An explicit zero means zero.  Elsewhere zero on a field with another default leaves the default."""


@dataclass(frozen=True, slots=True)
class Struct:
    """The dict is a structure of an engine's API, described by the table `name`."""

    table: str
    name: str


@dataclass(frozen=True, slots=True)
class Colons:
    """The list may be written as one string with ``:`` between the names."""


@dataclass(frozen=True, slots=True)
class SizeInBytes:
    """The integer counts bytes and may be written ``512Mi``."""


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return duration_of(value)
    return value


def _read_size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Address:
    """The text is a URL, which may hold a password."""


@dataclass(frozen=True, slots=True)
class PemOrPath:
    """The secret is a PEM text or the path of a file; the path may be shown."""


URL = Annotated[str, Address()]
"""The address of a service."""

PrivateKey = Annotated[SecretStr, PemOrPath()]
"""A private key: PEM text, or the path of a file with it."""

Duration = Annotated[timedelta, BeforeValidator(_read_duration)]
"""A length of time: a text such as ``1m30s``, or a number of nanoseconds."""

Size = Annotated[int, BeforeValidator(_read_size), SizeInBytes()]
"""A number of bytes: a text such as ``512Mi``, or the number."""


class Section(BaseModel):
    """One map of the configuration.  Frozen: a login's configuration is a new model (`moorage.config.overlay`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=key_of,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_password(value) if isinstance(value, str) else value

    def problems(self, disk: Disk) -> Iterator[Finding]:
        """What makes this section unusable, in the order of its keys.  Sections extend this with rules of their own."""
        del disk
        for name, key, markers in _rules(type(self)):
            value = getattr(self, name)
            for marker in markers:
                if what := _broken(marker, value):
                    yield Finding((key, *what[0]), what[1], what[2])

    def warnings(self) -> Iterator[Finding]:
        """What is allowed but hardly meant."""
        return iter(())


@cache
def _rules(section: type[Section]) -> Sequence[tuple[str, str, tuple[Any, ...]]]:
    """The attributes of `section` that carry markers to check."""
    found = []
    for name, field in section.model_fields.items():
        markers = tuple(m for m in field.metadata if isinstance(m, (OneOf, EachOneOf, AtLeast)))
        if markers:
            found.append((name, field.alias or key_of(name), markers))
    return found


def _broken(marker: OneOf | EachOneOf | AtLeast, value: Any) -> tuple[Path, str, str] | None:
    if value is None:
        return None
    match marker:
        case OneOf(names, what):
            if value and value not in names:
                return (), f"invalid {what} {shown(value)}", choose(value, names)
        case EachOneOf(names, what, may_be_empty):
            if not value and not may_be_empty:
                return (), "the list is empty", f"name at least one {what}, or leave the key out"
            for index, element in enumerate(value):
                if element not in names:
                    return (index,), f"unknown {what} {shown(element)}", choose(element, names)
        case AtLeast(least):
            if value < least:
                smallest = format_duration(least) if isinstance(least, timedelta) else str(least)
                return (), f"must be at least {smallest}", ""
    return None


LONGEST_SHOWN: Final = 60
HIDDEN: Final = "**********"


def without_password(url: str) -> str:
    """`url` without the user and password that may stand in it."""
    scheme, there, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not there or "@" not in authority:
        return url
    host = authority.rpartition("@")[2]
    return f"{scheme}://{HIDDEN}@{host}{rest[len(authority) :]}"


def shown(value: object) -> str:
    """`value` for a message: quoted, one line, not longer than a line has room for."""
    text = value if isinstance(value, str) else repr(value)
    cut = text[:LONGEST_SHOWN]
    return ascii_quoted(cut) + ("…" if len(text) > LONGEST_SHOWN else "")


def ascii_quoted(text: str) -> str:
    """`text` in double quotes, with control characters escaped."""
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f'"{safe}"'


def closest(given: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or an empty string."""
    import difflib

    folded = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given.lower()[:LONGEST_SHOWN], list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def choose(given: str, names: Sequence[str]) -> str:
    """How to mend a value that is none of `names`."""
    meant = closest(given, names)
    if meant:
        return f"did you mean {meant}?"
    most = 12
    return "use one of " + ", ".join(names[:most]) + (", …" if len(names) > most else "")
