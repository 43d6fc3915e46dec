"""Patterns for what may be forwarded: hosts and ports, networks, paths of unix sockets.  Pure.

A pattern is one of::

    host:port         db.internal:5432, *.internal:443, *:80-443, [::1]:*, 10.0.0.0/8:1-1024
    /path             /run/app.sock, /run/user/*/gpg, /srv/**

* A host is a name (``*`` and ``?`` stand for any characters), a literal address, a network, or ``*`` for anything at
  all.  Names match names only, and addresses and networks match literal addresses only: nothing is looked up here.
* A port is a number, a range, or ``*``.  Port 0, by which a listener lets the guest choose, is a number like others.
* In a path ``*`` and ``?`` stop at a slash; ``**`` between slashes stands for any number of parts.
  Only absolute paths without ``.``, ``..`` and double slashes match anything.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LONGEST_HOST: Final = 255
"""Characters of a host's name (RFC 1035 §2.3.4)."""

LAST_PORT: Final = 65535

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Literal = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class HostPattern:
    """Hosts, by network or by name, and a range of ports."""

    network: Network | None
    name: str
    first_port: int
    last_port: int

    def matches(self, host: str, port: int) -> bool:
        """Does `host`, exactly as a client sent it, match?"""
        if not self.first_port <= port <= self.last_port:
            return False
        if self.name == "*":
            return True
        if (literal := address_in(host)) is not None:
            return self.network is not None and literal in self.network
        return bool(self.name) and len(host) <= LONGEST_HOST and _fits(self.name, host.lower().removesuffix("."))


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Paths of unix sockets, part by part."""

    parts: tuple[str, ...]

    def matches(self, path: bytes) -> bool:
        """Does `path`, exactly as a client sent it, match?"""
        if not is_plain(path):
            return False
        parts = path.decode("utf-8", "surrogateescape").split("/")
        return _fits(self.parts, parts, "**", _fits)


Pattern = HostPattern | PathPattern


@lru_cache(maxsize=1024)
def parse_pattern(text: str) -> Pattern:
    """The pattern that `text` describes; raises `ValueError` with what is wrong with it."""
    if text.startswith("/"):
        return PathPattern(_path(text))
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("it needs a host and a port, or an absolute path")
    first, last = _ports(port)
    if host == "*":
        return HostPattern(None, host, first, last)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in host and bare == host:
        raise ValueError("an IPv6 address needs brackets")
    if (network := _network(bare)) is not None:
        return HostPattern(network, "", first, last)
    return HostPattern(None, _name(host), first, last)


def any_host(patterns: Iterable[str], host: str, port: int) -> bool:
    """Does any of `patterns` match the host and port?"""
    return any(isinstance(p, HostPattern) and p.matches(host, port) for p in map(parse_pattern, patterns))


def any_path(patterns: Iterable[str], path: bytes) -> bool:
    """Does any of `patterns` match the path?"""
    return any(isinstance(p, PathPattern) and p.matches(path) for p in map(parse_pattern, patterns))


def matches_wildcards(pattern: str, text: str) -> bool:
    """Does all of `text` fit `pattern`, where ``*`` stands for any characters and ``?`` for one?"""
    return _fits(pattern, text)


def address_in(host: str) -> Literal | None:
    """The address that `host` is, IPv4 where it is mapped into IPv6; None for a name."""
    if len(host) > LONGEST_HOST:
        return None
    try:
        literal = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    if isinstance(literal, ipaddress.IPv6Address) and literal.ipv4_mapped is not None:
        return literal.ipv4_mapped
    return literal


def is_plain(path: bytes) -> bool:
    """Is `path` absolute and free of ``.``, ``..``, double slashes and zero bytes?"""
    return path.startswith(b"/") and b"\0" not in path and posixpath.normpath(path) == path and path[1:2] != b"/"


def _ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 0, LAST_PORT
    first, dash, last = text.partition("-")
    ends = (first, last) if dash else (first, first)
    if not all(end.isascii() and end.isdecimal() and len(end) <= 5 and int(end) <= LAST_PORT for end in ends):
        raise ValueError("a port is a number up to 65535, a range such as 1-1024, or *")
    if int(ends[0]) > int(ends[1]):
        raise ValueError("the range of ports is empty")
    return int(ends[0]), int(ends[1])


def _network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "has host bits set" in str(error):
            raise ValueError("the network has host bits set") from error
        if "/" in text or ":" in text:
            raise ValueError("it is no network") from error
        return None
    return network


def _name(text: str) -> str:
    if len(text) > LONGEST_HOST or not re.fullmatch(r"[A-Za-z0-9._*?-]+", text):
        raise ValueError("it is no host name, address or network")
    if re.fullmatch(r"[0-9.*?]+", text):
        raise ValueError("an address takes no * or ?; write a network such as 10.0.0.0/8")
    return text.lower().removesuffix(".")


def _path(text: str) -> tuple[str, ...]:
    if not is_plain(text.encode("utf-8", "surrogateescape")):
        raise ValueError("the path has empty parts, . or ..")
    parts = tuple(text.split("/"))
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("** stands alone between slashes")
    return parts


def _same(pattern: str, value: str) -> bool:
    return pattern in {"?", value}


def _fits(
    pattern: Sequence[str], value: Sequence[str], star: str = "*", same: Callable[[str, str], bool] = _same
) -> bool:
    """Does `value` fit, where a `star` stands for any number of elements?

    Only the last star is ever tried again, so the work is bounded by the product of both lengths.
    """
    at = here = start = 0
    last_star = -1
    while here < len(value):
        if at < len(pattern) and pattern[at] == star:
            last_star, start, at = at, here, at + 1
        elif at < len(pattern) and same(pattern[at], value[here]):
            at, here = at + 1, here + 1
        elif last_star >= 0:
            start += 1
            at, here = last_star + 1, start
        else:
            return False
    return all(element == star for element in pattern[at:])
