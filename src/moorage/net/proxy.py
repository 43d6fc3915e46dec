"""The PROXY protocol, versions 1 and 2: what a proxy says about the client before the client's own bytes.  Pure.

Only the head of a stream is looked at, never more than `LONGEST` bytes of it.  After the format's description by
its author (HAProxy, "The PROXY protocol, versions 1 & 2").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_V1: Final = 107
_HEAD_V2: Final = 16
_LONGEST_BODY: Final = 4096

LONGEST: Final = _HEAD_V2 + _LONGEST_BODY
"""Bytes of a header; the format allows more for extensions, which nobody sends that many of."""

End = tuple[str, int]
"""An address as text, an IPv4-mapped one as IPv4, and a port."""


class ProxyError(ValueError):
    """What came first is no header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who has connected, and to what; None where the proxy speaks for itself (a health check) or does not know."""

    size: int
    source: End | None = None
    destination: End | None = None


def read_header(data: bytes) -> Header | None:
    """The header at the beginning of `data`; None while it is not complete.

    Raises `ProxyError` as soon as no further bytes could make it a header.
    """
    if data.startswith(_V2[: len(data)]):
        return _version_2(data)
    if data.startswith(_V1[: len(data)]):
        return _version_1(data)
    raise ProxyError("there is no header of the PROXY protocol")


def _version_1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(data) >= _LONGEST_V1:
            raise ProxyError("the header is too long")
        return None
    try:
        words = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("the header is not ASCII") from None
    size = end + 2
    match words:
        case ["PROXY", "UNKNOWN", *_]:
            return Header(size)
        case ["PROXY", ("TCP4" | "TCP6") as family, source, destination, source_port, destination_port]:
            version = 4 if family == "TCP4" else 6
            return Header(
                size,
                (_host(source, version), _port(source_port)),
                (_host(destination, version), _port(destination_port)),
            )
        case _:
            raise ProxyError("the header is malformed")


def _host(text: str, version: int) -> str:
    try:
        host = ip_address(text)
    except ValueError:
        raise ProxyError("the header has no valid address") from None
    if host.version != version or "%" in text:
        raise ProxyError("the header has an address of another family")
    return _plain(host)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 0xFFFF):
        raise ProxyError("the header has no valid port")
    return int(text)


def _version_2(data: bytes) -> Header | None:
    if len(data) < _HEAD_V2:
        return None
    version_and_command, family, length = struct.unpack_from(">BBH", data, len(_V2))
    command = version_and_command & 0x0F
    if version_and_command >> 4 != 2 or command > 1:
        raise ProxyError("the header has an unknown version or command")
    if length > _LONGEST_BODY:
        raise ProxyError("the header is too long")
    size = _HEAD_V2 + length
    if len(data) < size:
        return None
    body = data[_HEAD_V2:size]
    if command == 0 or family == 0x00:  # LOCAL, or a family that the proxy has no word for
        return Header(size)
    match family:
        case 0x11 if length >= 12:
            source, destination, source_port, destination_port = struct.unpack_from(">4s4sHH", body)
            ends = IPv4Address(source), IPv4Address(destination)
            return Header(size, (_plain(ends[0]), source_port), (_plain(ends[1]), destination_port))
        case 0x21 if length >= 36:
            source, destination, source_port, destination_port = struct.unpack_from(">16s16sHH", body)
            hosts = IPv6Address(source), IPv6Address(destination)
            return Header(size, (_plain(hosts[0]), source_port), (_plain(hosts[1]), destination_port))
        case 0x31 if length >= 216:  # a unix socket of the proxy's machine
            return Header(size)
        case _:
            raise ProxyError("the header is of a family that is no stream, or too short for it")


def _plain(host: IPv4Address | IPv6Address) -> str:
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return str(mapped or host)
