"""Penalties for sources that misbehave: they add up, decay with time and are forgotten."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


class Cause(enum.StrEnum):
    """What a source is penalised for."""

    AUTH_FAILED = "failed authentication"
    NO_AUTH = "no attempt to authenticate"
    GRACE_EXCEEDED = "too slow authentication"
    PROTOCOL_ERROR = "broken handshake"
    INTERNAL_ERROR = "internal error"


@dataclass(frozen=True, slots=True)
class Penalty:
    """Refused for `seconds` more, for the last `cause`."""

    cause: Cause
    seconds: float


class Penalties:
    """Each source's penalty, as the moment at which it has decayed.

    A penalty is enforced only after it has reached `least` seconds and is never longer than
    `most`.  At most `size` sources are remembered; the one that was penalised longest ago goes first.
    """

    def __init__(self, *, clock: Callable[[], float], size: int) -> None:
        self._clock = clock
        self._size = size
        self._until: OrderedDict[str, tuple[float, Cause, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, source: str, cause: Cause, seconds: float, *, least: float, most: float) -> Penalty | None:
        """Penalise `source`; what is enforced from now on, or None while that is nothing."""
        if seconds <= 0:
            return None
        now = self._clock()
        until, _, is_enforced = self._until.pop(source, (now, cause, False))
        if until <= now:
            until, is_enforced = now, False
        until = min(until + seconds, now + most)
        is_enforced = is_enforced or until - now >= min(least, most)
        self._until[source] = (until, cause, is_enforced)
        while len(self._until) > self._size:
            self._until.popitem(last=False)
        return Penalty(cause, until - now) if is_enforced else None

    def of(self, source: str) -> Penalty | None:
        """What is enforced against `source` now."""
        until, cause, is_enforced = self._until.get(source, (0.0, Cause.NO_AUTH, False))
        left = until - self._clock()
        if left <= 0:
            self._until.pop(source, None)
            return None
        return Penalty(cause, left) if is_enforced else None
