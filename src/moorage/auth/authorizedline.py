"""One line of an authorized_keys file (sshd(8), AUTHORIZED_KEYS FILE FORMAT): its options and its key.  Pure.

What cannot be honoured is refused with the line, never skipped: an option that is ignored would
let its user do more than its author meant.
"""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any, Final

from moorage.auth.keys import KEY_TYPES, PublicKey, parse_key
from moorage.config.targets import parse_pattern
from moorage.gateway.model import Metadata, Restrictions, TextValue

_OPTION: Final = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|(?=[ \t])|$)')
_EXPIRY: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?(Z)?")
_SWITCHES: Final = {
    "pty": "terminal",
    "port-forwarding": "forwarding",
    "x11-forwarding": "x11_forwarding",
    "agent-forwarding": "agent_forwarding",
    "user-rc": "",  # guests have no such file that we would run
}
_REFUSED: Final = {
    "cert-authority": "authorities stand in auth.publicKey.certificates.authorities",
    "principals": "principals stand in auth.publicKey.certificates",
    "tunnel": "there are no tunnel devices here",
}
_MOST_TARGETS: Final = 256


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A key, and when, from where and for what it is good."""

    key: PublicKey
    sources: tuple[str, ...] = ()
    """Patterns of addresses, ``!`` before those that are excluded; empty: everywhere."""
    expires: float | None = None
    """Seconds since the epoch."""
    restrictions: Restrictions = field(default_factory=Restrictions)
    metadata: Metadata = field(default_factory=Metadata)

    def refusal(self, host: str, now: float) -> str:
        """Why the key is not good from `host` at `now`; empty if it is."""
        if self.expires is not None and now >= self.expires:
            return "the key has expired (expiry-time)"
        if self.sources and not _comes_from(self.sources, host):
            return f"the key is not for logins from {host} (from)"
        return ""


def parse_line(line: str) -> AuthorizedKey:
    """The key of one line with its options; raises `ValueError` for what cannot be honoured."""
    line = line.strip()
    if line.split(None, 1)[0] in KEY_TYPES:
        return AuthorizedKey(parse_key(line))
    given, rest = _split_options(line)
    read = AuthorizedKey(parse_key(rest))
    environment: dict[str, TextValue] = {}
    targets: list[str] = []
    listeners: list[str] = []
    seen: set[str] = set()
    for name, value in given:
        option = name.lower()
        if option in seen and option not in {"environment", "permitopen", "permitlisten"}:
            raise ValueError(f"the option {name} stands there twice")
        seen.add(option)
        match option:
            case "environment":
                variable, found, content = _valued(name, value).partition("=")
                if not found or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
                    raise ValueError('an environment option is written environment="NAME=value"')
                environment.setdefault(variable, TextValue(content))
            case "permitopen":
                targets.append(_target(name, _valued(name, value)))
            case "permitlisten":
                text = _valued(name, value)
                listeners.append(_target(name, text if ":" in text else f"localhost:{text}"))
            case _:
                read = _with_option(read, name, option, value)
    if max(len(targets), len(listeners)) > _MOST_TARGETS:
        raise ValueError(f"there are more than {_MOST_TARGETS} permitopen or permitlisten options")
    restrictions = replace(
        read.restrictions,
        targets=tuple(targets) if targets else None,
        listeners=tuple(listeners) if listeners else None,
    )
    return replace(read, restrictions=restrictions, metadata=Metadata(environment=environment))


def _split_options(line: str) -> tuple[list[tuple[str, str | None]], str]:
    given: list[tuple[str, str | None]] = []
    at = 0
    while True:
        match = _OPTION.match(line, at)
        if match is None:
            raise ValueError("its options cannot be read; a value stands in double quotes")
        value = match[2]
        given.append((match[1], value.replace('\\"', '"') if value is not None else None))
        at = match.end()
        if line[at - 1 : at] != ",":
            return given, line[at:].lstrip()


def _with_option(read: AuthorizedKey, name: str, option: str, value: str | None) -> AuthorizedKey:
    held = read.restrictions
    if option in _REFUSED:
        raise ValueError(f"the option {name} is not honoured here; {_REFUSED[option]}")
    if option == "from":
        return replace(read, sources=_sources(_valued(name, value)))
    if option == "expiry-time":
        return replace(read, expires=_expiry(_valued(name, value)))
    if option == "command":
        return replace(read, restrictions=replace(held, force_command=_valued(name, value)))
    if value is not None:
        raise ValueError(f"the option {name[:40]} is not known, or takes no value")
    if option == "restrict":
        changes: dict[str, Any] = dict.fromkeys(filter(None, _SWITCHES.values()), False)
    elif option in _SWITCHES or option.removeprefix("no-") in _SWITCHES:
        part = _SWITCHES[option.removeprefix("no-")]
        changes = {part: not option.startswith("no-")} if part else {}
    elif option == "no-touch-required":
        changes = {"touch_required": False}
    elif option == "verify-required":
        changes = {"verify_required": True}
    else:
        raise ValueError(f"the option {name[:40]} is not known")
    return replace(read, restrictions=replace(held, **changes))


def _valued(name: str, value: str | None) -> str:
    if value is None:
        raise ValueError(f'the option {name} needs a value: {name}="…"')
    return value


def _target(name: str, text: str) -> str:
    host, found, port = text.rpartition(":")
    if not found or not host or host.startswith("/") or not (port == "*" or (port.isascii() and port.isdigit())):
        raise ValueError(f'{name} is written {name}="host:port"')
    try:
        parse_pattern(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return text


def _sources(text: str) -> tuple[str, ...]:
    patterns = tuple(part.strip() for part in text.split(","))
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if not bare:
            raise ValueError("from holds an empty pattern")
        if "/" in bare:
            ip_network(bare)  # its own error says what is wrong
        elif not re.fullmatch(r"[0-9A-Fa-f:.*?]+", bare):
            raise ValueError(f"from names a host ({bare[:60]}); write addresses: names of clients are not looked up")
    return patterns


def _comes_from(patterns: tuple[str, ...], host: str) -> bool:
    """OpenSSH's rule: one pattern fits, and none with ``!`` does."""
    fits = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if _fits(bare, host):
            if bare != pattern:
                return False
            fits = True
    return fits


def _fits(pattern: str, host: str) -> bool:
    try:
        address = ip_address(host)
        if "/" in pattern:
            return address in ip_network(pattern)
        return ip_address(pattern) == address
    except ValueError:
        return fnmatchcase(host.lower(), pattern.lower())


def _expiry(text: str) -> float:
    match = _EXPIRY.fullmatch(text)
    if match is None:
        raise ValueError("expiry-time is written YYYYMMDD or YYYYMMDDHHMM[SS], with Z behind it for UTC")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if (
        not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1])
        or hour > 23
        or minute > 59
    ):
        raise ValueError("expiry-time is no date")
    parts = (year, month, day, hour, minute, min(second, 59), 0, 0, -1)
    return float(calendar.timegm(parts)) if match[7] else time.mktime(parts)
