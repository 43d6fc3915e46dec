"""Lets strangers in by rules, to see what they do.

The one provider whose answers depend on earlier attempts, and on purpose: it counts the tries of each source, and
what has let a source in lets it in again.  Passwords are kept as keyed hashes only, and only as long as the
server runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Final

from moorage.codes import Code
from moorage.config.sections.honeypot import HoneypotConfig
from moorage.errors import ConfigError
from moorage.gateway.model import Attempt, Verdict

MOST_SOURCES: Final = 65536
"""Sources that are remembered; the one that was heard of longest ago goes first."""

MOST_PAIRS: Final = 16
"""Names and passwords that have let one source in."""

LARGEST_FILE: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class _Source:
    """What is known of one address."""

    tries: int = 0
    pairs: list[bytes] = field(default_factory=list)


class Honeypot:
    """A provider of passwords and of public keys."""

    def __init__(self, config: HoneypotConfig, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Raises `ConfigError` if the file of passwords cannot be read."""
        self._config = config
        self._sleep = sleep
        self._accept = _patterns(config.accept)
        self._refuse = _patterns(config.refuse)
        self._secret = os.urandom(16)
        self._listed = frozenset(self._hash(line) for line in _lines(config.accept_file))
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        """Does a pattern fit, and is it late enough?"""
        await self._sleep(self._config.delay.total_seconds())
        source = self._source(attempt.remote_address.host)
        source.tries += 1
        pair = attempt.username.encode("utf-8", "surrogateescape") + b":" + password
        known = self._hash(pair)
        if known in source.pairs:
            return Verdict(True)
        if source.tries < self._config.from_try or not self._fits(pair, known):
            return Verdict(False)
        if len(source.pairs) == MOST_PAIRS:
            source.pairs.pop(0)
        source.pairs.append(known)
        return Verdict(True)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        """By `acceptKeys` alone."""
        del attempt, key
        await self._sleep(self._config.delay.total_seconds())
        return Verdict(self._config.accept_keys)

    async def close(self) -> None:
        """Forget everything.  Idempotent."""
        self._sources.clear()

    def _fits(self, pair: bytes, known: bytes) -> bool:
        text = pair.decode("utf-8", "surrogateescape")
        if any(pattern.fullmatch(text) for pattern in self._refuse):
            return False
        return known in self._listed or any(pattern.fullmatch(text) for pattern in self._accept)

    def _source(self, host: str) -> _Source:
        source = self._sources.pop(host, None) or _Source()
        self._sources[host] = source
        if len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)
        return source

    def _hash(self, pair: bytes) -> bytes:
        return hashlib.blake2b(pair, key=self._secret, digest_size=16).digest()


def _patterns(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(translate(text), re.DOTALL) for text in texts)


def _lines(path: str) -> list[bytes]:
    if not path:
        return []
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"auth.honeypot.acceptFile: {error.strerror or error}", code=Code.AUTH_CONFIG_ERROR
        ) from error
    if len(content) > LARGEST_FILE:
        raise ConfigError("auth.honeypot.acceptFile: is larger than 64 MiB", code=Code.AUTH_CONFIG_ERROR)
    return [line for line in content.splitlines() if b":" in line]
