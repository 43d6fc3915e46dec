"""Removing a container for sure: by force, again and again until it is gone or the time is over."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.codes import Code

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


async def remove_container(engine: Engine, container: str, *, seconds: float) -> bool:
    """Returns True when `container` is gone, False (and a line in the log) if it is not within `seconds`."""
    cause: Exception | None = None
    try:
        async with asyncio.timeout(seconds):
            pause = _FIRST_PAUSE
            while True:
                try:
                    if await engine.remove(container, timeout=seconds):
                        return True
                except (EngineError, EngineUnreachableError) as error:
                    cause = error
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        structlog.get_logger().warning(
            "A container could not be removed in time",
            code=Code.DOCKER_CONTAINER_REMOVE_FAILED,
            container=container,
            error=str(cause or "the engine does not answer"),
        )
        return False
