"""Names of principals, and the first one of a keytab.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

LARGEST_KEYTAB: Final = 4 * 1024 * 1024
_NAME: Final = re.compile(r"[^\\@\0]+")


def name_of(principal: str, *, realms: Collection[str], names: Mapping[str, str]) -> str | None:
    """The name under which `principal` (with its realm) may log in; None if it may not.

    A realm that is not listed has other people of the same names.
    """
    if principal in names:
        return names[principal] or None
    name, at, realm = principal.rpartition("@")
    if not at or realm not in realms or not _NAME.fullmatch(name):
        return None
    return name


def is_plain(name: str) -> bool:
    """Can `name` be a principal of the default realm, and of no other?"""
    return bool(_NAME.fullmatch(name)) and name.isprintable()


def first_principal(keytab: Path) -> str:
    """The principal of the first key in a keytab file, with its realm; raises `ValueError` and `OSError`."""
    with keytab.open("rb") as file:
        data = file.read(LARGEST_KEYTAB)
    if data[:2] != b"\x05\x02":
        raise ValueError("it is no keytab of version 2")
    at = 2
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if size > 0:
            return _principal(data[at : at + size])
        at -= size  # a hole where a key was removed
        if size == 0:
            break
    raise ValueError("there is no key in it")


def _principal(entry: bytes) -> str:
    count, at, parts = int.from_bytes(entry[:2], "big"), 2, list[str]()
    for _ in range(count + 1):
        length = int.from_bytes(entry[at : at + 2], "big")
        part = entry[at + 2 : at + 2 + length]
        if len(part) != length or not part:
            raise ValueError("it is cut off")
        parts.append(part.decode())
        at += 2 + length
    realm, *components = parts
    return f"{'/'.join(components)}@{realm}"
