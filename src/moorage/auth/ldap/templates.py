"""Filters and distinguished names with a user's name in them, so that the name is never more than a value.  Pure.

A filter is read once, before any name is known; names are then put into its values as bytes.  Nothing that a name
holds is ever read as a filter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from moorage.auth.ldap import ber

_IN_NAME: Final = re.compile(r'[\\,+"<>;=#\x00]')
_PLACE: Final = re.compile(r"%([ud])")
_SIMPLE: Final = re.compile(r"([A-Za-z0-9.;-]+)(=|>=|<=|~=)(.*)", re.DOTALL)
_EXTENSIBLE: Final = re.compile(r"([A-Za-z0-9.;-]*)(:dn)?(?::([A-Za-z0-9.-]+))?:=(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:([0-9A-Fa-f]{2})|)")
_DEEPEST: Final = 20
_LONGEST: Final = 8192

Values = Mapping[str, str]
Filter = Callable[[Values], bytes]
"""Makes the encoded filter (RFC 4511 §4.5.1.7) for the values of ``u`` and ``d``."""


def in_name(text: str) -> str:
    """`text` as the value in a distinguished name (RFC 4514 §2.4)."""
    escaped = _IN_NAME.sub(lambda match: "\\00" if match[0] == "\0" else "\\" + match[0], text)
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and len(text) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped


def name_of(template: str, username: str) -> str:
    """The distinguished name that `template` means for a user; what his name holds is not looked at again."""
    return template.replace("%u", in_name(username))


def parse_filter(text: str) -> Filter:
    """The filter that `text` (RFC 4515) describes, with ``%u`` and ``%d`` in its values; raises `ValueError`."""
    if len(text) > _LONGEST:
        raise ValueError("the filter is too long")
    made, rest = _filter(text.strip(), 0)
    if rest:
        raise ValueError(f"there is something behind the filter: {rest[:40]}")
    return made


def _filter(text: str, depth: int) -> tuple[Filter, str]:
    if depth > _DEEPEST:
        raise ValueError("the filter is nested too deeply")
    if not text.startswith("("):
        raise ValueError("a filter stands in brackets: (uid=%u)")
    head = text[1:2]
    if head in {"&", "|", "!"}:
        parts: list[Filter] = []
        rest = text[2:].lstrip()
        while rest.startswith("("):
            part, rest = _filter(rest, depth + 1)
            parts.append(part)
            rest = rest.lstrip()
        if not rest.startswith(")") or (head == "!" and len(parts) != 1):
            raise ValueError(f"what begins with ({head} is not a filter")
        tag = {"&": 0xA0, "|": 0xA1, "!": 0xA2}[head]
        return (lambda values: ber.element(tag, *(part(values) for part in parts))), rest[1:]
    inside, closed, rest = text[1:].partition(")")
    if not closed:
        raise ValueError("a bracket is not closed")
    return _item(inside), rest


def _item(text: str) -> Filter:
    if "(" in text:
        raise ValueError("a bracket in a value is written \\28")
    if simple := _SIMPLE.fullmatch(text):
        attribute, operator, value = ber.octets(simple[1]), simple[2], simple[3]
        if operator == "=" and value == "*":
            return lambda _: ber.octets(simple[1], 0x87)
        if operator == "=" and "*" in value:
            return _substrings(attribute, value)
        tag = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}[operator]
        made = _value(value)
        return lambda values: ber.element(tag, attribute, ber.octets(made(values)))
    if extensible := _EXTENSIBLE.fullmatch(text):
        attribute_text, dn, rule, value = extensible.groups()
        if not attribute_text and not rule:
            raise ValueError("a filter names an attribute or a rule")
        opening = (ber.octets(rule, 0x81) if rule else b"") + (
            ber.octets(attribute_text, 0x82) if attribute_text else b""
        )
        ending = ber.octets(b"\xff", 0x84) if dn else b""
        made = _value(value)
        return lambda values: ber.element(0xA9, opening, ber.octets(made(values), 0x83), ending)
    raise ValueError(f"({text[:40]}) is not a filter")


def _substrings(attribute: bytes, value: str) -> Filter:
    pieces = value.split("*")
    last = len(pieces) - 1
    made = [
        (0x80 if index == 0 else 0x82 if index == last else 0x81, _value(piece))
        for index, piece in enumerate(pieces)
        if piece
    ]
    if not made:
        raise ValueError("a value of stars only is written as one star")
    return lambda values: ber.element(
        0xA4, attribute, ber.element(ber.SEQUENCE, *(ber.octets(piece(values), tag) for tag, piece in made))
    )


def _value(text: str) -> Callable[[Values], bytes]:
    """The bytes of a value: escapes are read now, names put in later."""
    texts = [_unescaped(part) if index % 2 == 0 else part for index, part in enumerate(_PLACE.split(text))]

    def filled(values: Values) -> bytes:
        return b"".join(part if isinstance(part, bytes) else values.get(part, "").encode() for part in texts)

    return filled


def _unescaped(text: str) -> bytes:
    def byte(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            raise ValueError("a backslash is followed by two hexadecimal digits")
        return bytes.fromhex(match[1].decode())

    return _ESCAPE.sub(byte, text.encode())
