"""A fresh guest for every program: session mode, made of whatever opens one guest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from moorage.backend.contract import CleanUps, lost
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Accepted, Guest, Listener, Process, ProcessReceiver, Receiver, Transport
from moorage.gateway.model import ListenSpec, Program, Target


class SessionGuest:
    """Starts each program in a guest of its own, which ends with it; implements `Guest`.

    There is no common guest, so nothing can be forwarded.
    """

    def __init__(self, open_one: Callable[[], Awaitable[Guest]], clean_ups: CleanUps) -> None:
        self._open_one = open_one
        self._clean_ups = clean_ups
        self._guests: set[Guest] = set()
        self._opening: set[asyncio.Task[Guest]] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Open a guest and start `program` in it; see `Guest.start`."""
        guest = await self._open()
        try:
            process = await guest.start(program, receiver)
        except BaseException:
            await self._clean_ups.finish(self._close_one(guest, "the program did not start"), name="session/undo")
            raise
        end = self._clean_ups.begin(self._close_after(process, guest), name="session/end")
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        return process

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """Refused: see the class."""
        if self._closed.done():
            raise lost(None)
        raise _no_forwarding()

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Refused: see the class."""
        if self._closed.done():
            raise lost(None)
        raise _no_forwarding()

    async def lost(self) -> BaseException | None:
        """Returns after `close`: a guest that is lost concerns only its program."""
        await asyncio.shield(self._closed)
        return None

    async def close(self, reason: str) -> None:
        """End all programs and their guests; see `Guest.close`."""
        if not self._closed.done():
            self._closed.set_result(None)
        for task in tuple(self._opening):
            task.cancel()
        while self._opening or self._guests or self._ends:
            closing = [
                self._clean_ups.begin(self._close_one(guest, reason), name="session/close") for guest in self._guests
            ]
            await asyncio.wait({*self._opening, *self._ends, *closing})

    async def _open(self) -> Guest:
        if self._closed.done():
            raise lost(None)
        task = asyncio.ensure_future(self._open_one())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        try:
            guest = await task
        except asyncio.CancelledError as cause:
            current = asyncio.current_task()
            if self._closed.done() and current is not None and not current.cancelling():
                raise lost(None) from cause
            raise
        self._guests.add(guest)
        return guest

    async def _close_after(self, process: Process, guest: Guest) -> None:
        with contextlib.suppress(BackendError):  # whoever waits for the process hears of it
            await process.wait()
        await self._close_one(guest, "the program has ended")

    async def _close_one(self, guest: Guest, reason: str) -> None:
        await guest.close(reason)
        self._guests.discard(guest)


def _no_forwarding() -> Refused:
    return Refused(
        "forwarding needs a guest that all programs share (mode: connection)",
        user_text="Forwarding is not available in this environment.",
    )
