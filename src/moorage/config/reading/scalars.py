"""What a scalar means to a field of a known type, in YAML and in JSON."""

from __future__ import annotations

import re
from typing import Any, Final

from moorage.config.reading.document import Text

_TRUE: Final = frozenset(["true", "True", "TRUE"])
_FALSE: Final = frozenset(["false", "False", "FALSE"])
_YES: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"])
_NO: Final = frozenset(["n", "N", "no", "No", "NO", "off", "Off", "OFF"])
_OLD_YES: Final = _YES - {"y", "Y"}
_OLD_NO: Final = _NO - {"n", "N"}

_INTEGER: Final = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SPECIAL: Final = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_LONGEST: Final = 100


def integer(text: str) -> int | None:
    """The integer that a plain YAML scalar stands for: decimal, 0x, 0o, 0b, a leading zero for octal, ``_``."""
    if len(text) > _LONGEST or not _INTEGER.fullmatch(text):
        return None
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        if digits[:2] in {"0x", "0o", "0b"}:
            return sign * int(digits, 0)
        if len(digits) > 1 and digits.startswith("0"):
            return sign * int(digits, 8)
        return sign * int(digits)
    except ValueError:
        return None


def number(text: str) -> float | None:
    """The number that a plain YAML scalar stands for, integers left out."""
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    if len(text) > _LONGEST or not _FLOAT.fullmatch(text):
        return None
    return float(text.replace("_", ""))


def boolean(value: object) -> bool | None:
    """The truth value, or None: JSON's own, YAML's ``true``, and the old words quoted or not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Text):
        if value in _YES or (value.plain and value in _TRUE):
            return True
        if value in _NO or (value.plain and value in _FALSE):
            return False
    return None


def whole(value: object) -> int | None:
    """The integer, or None: quoted numbers are texts, and JSON's integers have no fraction part."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Text) and value.plain:
        found = integer(value)
        if found is not None:
            return found
        real = number(value)
        if real is not None and real.is_integer():
            return int(real)
    return None


def real(value: object) -> float | None:
    """The finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found: float | None = float(value)
        except OverflowError:
            return None
    elif isinstance(value, Text) and value.plain:
        exact = integer(value)
        found = float(exact) if exact is not None else number(value)
    else:
        return None
    return found if found is not None and abs(found) < float("inf") else None


def resolve(value: object, *, old_words: bool) -> Any:
    """What a scalar stands for where no field names the type; `old_words`: ``yes`` and ``off`` are booleans."""
    if not isinstance(value, Text):
        return value
    if not value.plain:
        return str(value)
    if value in _TRUE or (old_words and value in _OLD_YES):
        return True
    if value in _FALSE or (old_words and value in _OLD_NO):
        return False
    for meaning in (integer(value), number(value)):
        if meaning is not None:
            return meaning
    return f"{value}T00:00:00Z" if _DATE.fullmatch(value) else str(value)


def as_text(value: object) -> str | None:
    """A resolved scalar as a text: ``1000``, ``true``, ``1.1``; None if it is no scalar."""
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return None
