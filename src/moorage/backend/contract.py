"""What a backend supplies when its guests have an agent: a `Launcher`.  The rest is `moorage.agent.guest.open_guest`.

A backend is made as ``Class(state_directory=…, instance=…)`` by the registry and touches
nothing outside of the process before `Backend.open` or `prepare`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from moorage.agent.link import AgentLink
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import BackendError
from moorage.gateway.contract import Backend, Progress


class Launcher(Protocol):
    """One fresh guest with an agent in it, and a duplex byte stream to that agent."""

    async def launch(self, link: AgentLink, progress: Progress) -> None:
        """Make the guest and connect `link` to its agent; called once.

        Raises `BackendError`.  The caller sets the deadline, and calls `destroy` if this raises or is cancelled.
        """

    async def destroy(self, reason: str) -> None:
        """Remove the guest, in whatever state it is.  Idempotent; bounded in time; raises nothing.

        Returns when nothing is left, or when its own deadline has passed and that was logged.
        """


class BackendFactory(Protocol):
    """How the registry makes a backend."""

    def __call__(self, *, state_directory: Path, instance: str) -> Backend:
        """A backend that keeps its files below `state_directory` and marks what it creates with `instance`."""


class Prepares(Protocol):
    """A backend that has something to do before the first login, such as removing leftovers."""

    async def prepare(self, config: AppConfig) -> None:
        """Start what runs beside the guests.  Returns at once; failures are logged, never raised."""


class Reconfigurable(Protocol):
    """A backend for which it matters what the configuration of coming logins is, such as one with a pool."""

    def reconfigure(self, config: AppConfig) -> None:
        """The configuration was read again.  Returns at once; failures are logged, never raised."""


class CleanUps:
    """Work that must be finished although the one who asked for it is cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Do `work` to its end; cancelling the wait does not cancel the work."""
        await asyncio.shield(self.begin(work, name=name))

    def begin(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Do `work` while the caller goes on."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Returns when all work that was begun has ended."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


def lost(cause: BaseException | None) -> BackendError:
    """The failure for whoever still uses a guest that has ended."""
    return BackendError(
        f"the guest was lost: {cause}", user_text="The connection to your environment was lost.", code=Code.GUEST_LOST
    )
