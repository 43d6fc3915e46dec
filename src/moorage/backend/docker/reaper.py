"""Removes what dead gateways have left on an engine: nothing that a living one may still want.

A container with a lease is a leftover when

* it was created and never started, and nobody can still be launching it (any gateway's);
* it has ended, and was not removed (any gateway's, after the same time);
* its owner was a process of this machine's gateway `instance` that is dead: in whatever state it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.backend.docker.removal import remove_container
from moorage.backend.lease import INSTANCE, Lease
from moorage.codes import Code

if TYPE_CHECKING:
    from moorage.backend.docker.launch import Site

INTERVAL: Final = 300.0
"""Seconds between two looks at an engine."""

_CALL_SECONDS: Final = 30.0
_REMOVE_SECONDS: Final = 60.0


class Reaper:
    """Looks at one engine when it is first used, and then every `INTERVAL` seconds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name="docker/reaper")

    async def close(self) -> None:
        """Stop.  Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """Look for ever; an engine that does not answer is asked again the next time."""
        while True:
            try:
                await self.look()
            except (EngineError, EngineUnreachableError, OSError) as cause:
                structlog.get_logger().info(
                    "Could not look for leftover containers", code=Code.GUEST_REAPED, error=str(cause)
                )
            await asyncio.sleep(INTERVAL)

    async def look(self) -> int:
        """Remove the leftovers of this moment; how many there were."""
        engine, reaped = self._site.engine, 0
        for found in await engine.containers([INSTANCE], timeout=_CALL_SECONDS):
            if self._is_leftover(found, time.time()):
                container = str(found.get("Id", ""))
                if await remove_container(engine, container, seconds=_REMOVE_SECONDS):
                    reaped += 1
                    structlog.get_logger().info(
                        "A leftover container was removed", code=Code.GUEST_REAPED, container=container[:12]
                    )
        return reaped

    def _is_leftover(self, container: Mapping[str, Any], now: float) -> bool:
        labels = container.get("Labels")
        lease = Lease.read(labels) if isinstance(labels, dict) else None
        if lease is None:
            return False
        if lease.instance == self._site.instance and not self._site.owner.is_alive(lease.owner):
            return True
        return container.get("State") in ("created", "exited", "dead") and lease.launch_is_over(now)
