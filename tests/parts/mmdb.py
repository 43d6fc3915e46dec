"""A writer of databases in MaxMind's format, as small as the tests need (the format's version 2.0)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

_TEXT, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11
_MARK = b"\xab\xcd\xefMaxMind.com"


def write_mmdb(
    path: Path, networks: Mapping[str, Any], *, kind: str = "GeoIP2-Country", ip_version: int = 6, record_size: int = 24
) -> Path:
    """A database at `path` that has a record for each of `networks`; IPv4 stands below ::/96 as usual."""
    tree: list[list[int | None]] = [[None, None]]
    data = bytearray()
    offsets: dict[str, int] = {}
    for text, record in networks.items():
        network = ip_network(text)
        offset = offsets.setdefault(repr(record), len(data))
        if offset == len(data):
            data += _value(record)
        _place(tree, _bits(network, ip_version), -1 - offset)
    nodes = bytearray()
    for pair in tree:
        for found in pair:
            number = len(tree) if found is None else found if found >= 0 else len(tree) + 16 + (-1 - found)
            nodes += number.to_bytes(record_size // 8, "big")
    metadata = {
        "node_count": _integer(_UINT32, len(tree)),
        "record_size": _integer(_UINT16, record_size),
        "ip_version": _integer(_UINT16, ip_version),
        "database_type": _value(kind),
        "languages": _value(["en"]),
        "binary_format_major_version": _integer(_UINT16, 2),
        "binary_format_minor_version": _integer(_UINT16, 0),
        "build_epoch": _integer(_UINT64, 1_700_000_000),
        "description": _value({"en": "for tests"}),
    }
    said = _head(_MAP, len(metadata)) + b"".join(_value(key) + value for key, value in metadata.items())
    path.write_bytes(bytes(nodes) + bytes(16) + bytes(data) + _MARK + said)
    return path


def country(code: str) -> dict[str, Any]:
    """A record as MaxMind's Country file has them."""
    return {"country": {"iso_code": code, "names": {"en": code}}, "registered_country": {"iso_code": "ZZ"}}


def _bits(network: IPv4Network | IPv6Network, ip_version: int) -> str:
    width = network.max_prefixlen
    bits = format(int(network.network_address), f"0{width}b")[: network.prefixlen]
    return "0" * 96 + bits if ip_version == 6 and width == 32 else bits


def _place(tree: list[list[int | None]], bits: str, leaf: int) -> None:
    node = 0
    for bit in bits[:-1]:
        following = tree[node][int(bit)]
        if following is None or following < 0:
            tree.append([following, following])
            following = len(tree) - 1
            tree[node][int(bit)] = following
        node = following
    tree[node][int(bits[-1])] = leaf


def _value(value: Any) -> bytes:
    match value:
        case str():
            return _head(_TEXT, len(value.encode())) + value.encode()
        case dict():
            return _head(_MAP, len(value)) + b"".join(_value(key) + _value(part) for key, part in value.items())
        case list():
            return _head(_ARRAY, len(value)) + b"".join(map(_value, value))
        case int():
            return _integer(_UINT32, value)
    raise TypeError(type(value))


def _integer(kind: int, value: int) -> bytes:
    number = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return _head(kind, len(number)) + number


def _head(kind: int, size: int) -> bytes:
    assert size < 285
    short = min(size, 29)
    rest = bytes([size - 29]) if size >= 29 else b""
    return (bytes([kind << 5 | short]) if kind <= 7 else bytes([short, kind - 7])) + rest
