"""Conformance, fourth part: how a guest begins, ends and is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Backend, Guest, Receiver, Transport
from moorage.gateway.model import Address, TcpTarget
from moorage.testing.streams import DEADLINE, Recorder
from moorage.testing.suite import Suite, command, ended, run, start


class LifeTests(Suite):
    """Sentences of `Backend.open`, `Guest.lost`, `Guest.close`, `Guest.dial` and `Guest.listen`."""

    async def test_an_open_guest_is_ready_for_programs(self, backend: Backend) -> None:
        async with self.opened(backend) as guest:
            assert (await run(guest, "echo ready")).stdout == b"ready\n"

    async def test_guests_are_apart(self, backend: Backend) -> None:
        async with self.opened(backend) as first:
            second = await backend.open(self.login(), lambda line: None)
            process, recorder = await start(first, "cat")
            assert (await run(second, "exit 3")).status.code == 3
            await asyncio.wait_for(second.close("over"), DEADLINE)
            process.write(b"on\n")
            await recorder.until_output(b"on\n")
            process.write_eof()
            assert (await ended(process)).code == 0

    async def test_close_ends_all_processes_and_leaves_nothing(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        texts = ("cat", "sleep 62", "trap '' HUP TERM; echo ready; sleep 62; sleep 62", "sleep 62 & sleep 62")
        started = [await start(guest, text) for text in texts]
        await started[2][1].until_output(b"ready")
        await asyncio.wait_for(guest.close("over"), DEADLINE)
        assert await self.leftovers(backend) == []
        for process, recorder in started:
            await recorder.until_lost()
            with pytest.raises(BackendError):
                await ended(process)

    async def test_close_is_idempotent(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        await asyncio.wait_for(asyncio.gather(guest.close("one"), guest.close("two")), DEADLINE)
        await asyncio.wait_for(guest.close("three"), DEADLINE)
        assert await self.leftovers(backend) == []

    async def test_close_is_carried_through_though_its_caller_is_cancelled(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        await start(guest, "sleep 62")
        closing = asyncio.create_task(guest.close("one"))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.wait_for(guest.close("two"), DEADLINE)
        assert await self.leftovers(backend) == []

    @pytest.mark.parametrize("steps", [0, 1, 2, 4])
    async def test_close_during_start_ends_the_start(self, backend: Backend, steps: int) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        starting = asyncio.create_task(guest.start(command("sleep 62"), Recorder()))
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.wait_for(guest.close("over"), DEADLINE)
        (outcome,) = await asyncio.wait_for(asyncio.gather(starting, return_exceptions=True), DEADLINE)
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, BackendError), repr(outcome)
            assert outcome.user_text
        assert await self.leftovers(backend) == []

    async def test_a_closed_guest_starts_nothing(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        await guest.close("over")
        with pytest.raises(BackendError):
            await asyncio.wait_for(guest.start(command("true"), Recorder()), DEADLINE)
        with pytest.raises(BackendError):
            await asyncio.wait_for(guest.dial(TcpTarget("127.0.0.1", 9), Recorder()), DEADLINE)

    async def test_lost_returns_none_after_close(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        waiting = asyncio.create_task(guest.lost())
        await asyncio.sleep(0)
        assert not waiting.done()
        await guest.close("over")
        assert await asyncio.wait_for(waiting, DEADLINE) is None
        assert await asyncio.wait_for(guest.lost(), DEADLINE) is None

    async def test_a_lost_guest_says_so_everywhere(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        try:
            process, recorder = await start(guest, "echo ready; cat")
            await recorder.until_output(b"ready")
            await self.lose(backend, guest)
            assert isinstance(await asyncio.wait_for(guest.lost(), DEADLINE), BaseException)
            with pytest.raises(BackendError) as caught:
                await ended(process)
            assert caught.value.user_text
            await recorder.until_lost()
            assert recorder.cause is not None
            with pytest.raises(BackendError):
                await asyncio.wait_for(guest.start(command("true"), Recorder()), DEADLINE)
        finally:
            await asyncio.wait_for(guest.close("lost"), DEADLINE)
        assert await self.leftovers(backend) == []

    async def test_a_process_that_had_ended_keeps_its_status_when_the_guest_is_lost(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        try:
            process, recorder = await start(guest, "exit 3")
            await recorder.until_lost()
            await self.lose(backend, guest)
            await asyncio.wait_for(guest.lost(), DEADLINE)
            assert (await ended(process)).code == 3
        finally:
            await asyncio.wait_for(guest.close("lost"), DEADLINE)

    async def test_cancelling_open_at_once_leaves_nothing(self, backend: Backend) -> None:
        for steps in range(12):
            opening = asyncio.create_task(backend.open(self.login(), lambda line: None))
            for _ in range(steps):
                await asyncio.sleep(0)
            await self._cancel(backend, opening)

    async def test_cancelling_open_at_any_moment_leaves_nothing(self, backend: Backend) -> None:
        began = time.monotonic()
        async with self.opened(backend):
            duration = time.monotonic() - began
        for point in range(self.cancel_points):
            opening = asyncio.create_task(backend.open(self.login(), lambda line: None))
            await asyncio.wait((opening,), timeout=duration * point / self.cancel_points)
            await self._cancel(backend, opening)
        async with self.opened(backend) as guest:
            assert (await run(guest, "echo on")).stdout == b"on\n"

    async def test_many_guests_open_at_once(self, backend: Backend) -> None:
        guests = await asyncio.gather(*(backend.open(self.login(), lambda line: None) for _ in range(5)))
        results = await asyncio.gather(*(run(guest, f"exit {i}") for i, guest in enumerate(guests)))
        assert [result.status.code for result in results] == [0, 1, 2, 3, 4]
        await asyncio.wait_for(asyncio.gather(*(guest.close("over") for guest in guests)), DEADLINE)
        assert await self.leftovers(backend) == []

    async def test_connections_inside_the_guest_are_made_or_refused(self, guest: Guest) -> None:
        if not self.has_forwarding:
            with pytest.raises(Refused) as caught:
                await guest.dial(TcpTarget("127.0.0.1", 9), Recorder())
            assert caught.value.user_text
            with pytest.raises(Refused):
                await guest.listen(TcpTarget("127.0.0.1", 0), lambda peer, transport: Recorder())
            return
        accepted: list[tuple[Address | None, Transport, Recorder]] = []

        def accept(peer: Address | None, transport: Transport) -> Receiver:
            accepted.append((peer, transport, Recorder()))
            transport.write(b"welcome")
            return accepted[-1][2]

        listener = await guest.listen(TcpTarget("127.0.0.1", 0), accept)
        near = Recorder()
        transport = await guest.dial(TcpTarget("127.0.0.1", listener.port), near)
        await near.until_output(b"welcome")
        transport.write(b"thanks")
        transport.write_eof()
        await accepted[0][2].until_output(b"thanks")
        await accepted[0][2].until(lambda: "eof_received" in accepted[0][2].calls)
        accepted[0][1].write(b"bye")
        accepted[0][1].close()
        await near.until_output(b"bye")
        await listener.close()
        await listener.close()
        with pytest.raises(Refused):
            await guest.dial(TcpTarget("127.0.0.1", listener.port), Recorder())

    async def _cancel(self, backend: Backend, opening: asyncio.Task[Guest]) -> None:
        opening.cancel()
        (outcome,) = await asyncio.wait_for(asyncio.gather(opening, return_exceptions=True), DEADLINE)
        if not isinstance(outcome, BaseException):
            await asyncio.wait_for(outcome.close("too late to cancel"), DEADLINE)
        else:
            assert isinstance(outcome, asyncio.CancelledError), repr(outcome)
        assert await self.leftovers(backend) == []
