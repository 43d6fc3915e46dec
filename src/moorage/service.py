"""Services: started in order, stopped in reverse, and the signals that say so.

A service is ready when `start` returns.  `drain` lets it finish what it is doing within a
deadline, `stop` ends it at once; both return when nothing of it is left.  `failed` resolves
when the service can no longer serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import structlog

from moorage.codes import Code


class Service(Protocol):
    """Something that serves between `start` and `stop`."""

    name: str

    async def start(self) -> None:
        """Returns when the service serves; raises if it cannot."""

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish within `timeout` seconds; then as `stop`."""

    async def stop(self) -> None:
        """End at once.  Idempotent; safe after a `start` that failed."""


class Supervisor:
    """Runs services until a signal says otherwise.

    INT or TERM drains them, in reverse order; a second one stops them at once.  HUP calls `reload`.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        drain_timeout: float,
        reload: Callable[[], None] | None = None,
        tell: Callable[..., None] = lambda *_: None,
    ) -> None:
        """`tell` is called with what a service manager is to know, such as ``READY=1`` (sd_notify(3))."""
        self._services = services
        self._drain_timeout = drain_timeout
        self._reload = reload
        self._tell = tell
        self._log = structlog.get_logger()
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()

    def ask_to_stop(self) -> None:
        """What INT and TERM do: drain; asked again: stop at once."""
        if self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Start the services, call `ready`, serve until asked to stop, stop.  Raises what a start raised."""
        started: list[Service] = []
        with self._signals():
            try:
                for service in self._services:
                    self._log.info("Starting", code=Code.SERVICE_STARTING, service=service.name)
                    started.append(service)
                    await service.start()
                    self._log.info("Running", code=Code.SERVICE_RUNNING, service=service.name)
                if ready is not None:
                    ready()
                self._tell("READY=1")
                await self._stop_asked.wait()
                self._tell("STOPPING=1")
                self._log.info("Draining", code=Code.SERVICE_DRAINING, seconds=self._drain_timeout)
                await self._drain(started)
            finally:
                for service in reversed(started):
                    await service.stop()
                    self._log.info("Stopped", code=Code.SERVICE_STOPPED, service=service.name)

    async def _drain(self, services: Sequence[Service]) -> None:
        async def drain() -> None:
            for service in reversed(services):
                await service.drain(self._drain_timeout)

        draining = asyncio.create_task(drain(), name="service/drain")
        urgent = asyncio.create_task(self._stop_now.wait(), name="service/stop-now")
        try:
            await asyncio.wait({draining, urgent}, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
        finally:
            for task in (draining, urgent):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _reload_and_tell(self) -> None:
        assert self._reload is not None
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._reload()
        self._tell("READY=1")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.ask_to_stop)
        loop.add_signal_handler(signal.SIGTERM, self.ask_to_stop)
        if self._reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload_and_tell)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
