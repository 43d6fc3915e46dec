"""The endpoint that says whether the server takes logins: ``ok`` with status 200, or ``not ok`` with 503.

The path ``/live`` is answered with ``ok`` while the server runs at all, also while it starts and drains: who
restarts what is not alive must not cut the sessions of a server that drains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moorage.codes import Code
from moorage.config.sections.health import HealthConfig
from moorage.web.server import Reply, Request, WebServer

_OFFERS: Final = ("text/plain", "application/json", "text/html")
"""What can be answered, best first."""

LIVE: Final = "/live"

_RANGES: Final = 32
"""Parts of an Accept header that are looked at."""


class Health:
    """Whether all services run.

    It is a service itself and stands last: started when all others run, and the first to be told
    that the server drains.
    """

    name = "health"

    def __init__(self) -> None:
        self.is_ok = False

    async def start(self) -> None:
        """All is well from now on."""
        self.is_ok = True

    async def drain(self, timeout: float) -> None:
        """No more logins."""
        del timeout
        self.is_ok = False

    async def stop(self) -> None:
        """No more logins.  Idempotent."""
        self.is_ok = False


class HealthServer(WebServer):
    """Tells the state of `health` at any path but `LIVE`, to any method, in the format that was asked for."""

    def __init__(self, config: HealthConfig, health: Health) -> None:
        super().__init__("health server", "health", config, self._reply, available=Code.HEALTH_AVAILABLE)
        self._health = health

    def _reply(self, request: Request) -> Reply:
        chosen = negotiated(request.accept)
        if chosen is None:
            return Reply(406, f"offered are {', '.join(_OFFERS)}\n".encode())
        is_ok = self._health.is_ok or request.path == LIVE
        text = "ok" if is_ok else "not ok"
        body = f'"{text}"' if chosen == "application/json" else text
        return Reply(200 if is_ok else 503, body.encode(), f"{chosen}; charset=utf-8")


def negotiated(accept: str) -> str | None:
    """The content type that an Accept header prefers (RFC 9110 §12.5.1); None if none of ours will do.

    A part that cannot be understood is passed over, and a header without any that can is none.
    """
    ranges = list(_ranges(accept))
    if not ranges:
        return _OFFERS[0]
    best, chosen = (0.0, 0), None
    for offer in _OFFERS:
        # The most specific range that fits an offer decides about it.
        fitting = [(_precision(name), quality) for name, quality in ranges if _fits(name, offer)]
        if fitting:
            precision, quality = max(fitting)
            if quality > 0 and (quality, precision) > best:
                best, chosen = (quality, precision), offer
    return chosen


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(",")[:_RANGES]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name.count("/") != 1:
            continue
        quality = 1.0
        try:
            for parameter in parameters:
                if parameter.startswith("q="):
                    quality = float(parameter[2:])
        except ValueError:
            continue
        if 0 <= quality <= 1:
            yield name, quality


def _fits(name: str, offer: str) -> bool:
    return name in {"*/*", offer, f"{offer.partition('/')[0]}/*"}


def _precision(name: str) -> int:
    return 0 if name == "*/*" else 1 if name.endswith("/*") else 2
