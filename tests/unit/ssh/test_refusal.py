"""The time of a refusal says nothing about its reason."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ssh.conftest import Serve

from moorage.ssh.refusal import LONGEST, RefusalTimes

TIMES = RefusalTimes(0.005, b"secret")


def test_each_name_has_a_time_of_its_own_that_does_not_change() -> None:
    names = [b"user%d" % number for number in range(50)]
    times = [TIMES.least(name) for name in names]
    assert times == [TIMES.least(name) for name in names]
    assert len(set(times)) == 50
    assert all(0.005 <= least < 0.01 for least in times)


def test_another_secret_gives_other_times() -> None:
    assert TIMES.least(b"alice") != RefusalTimes(0.005, b"other").least(b"alice")


@given(st.binary(max_size=40), st.floats(0, LONGEST))
def test_all_that_it_takes_is_a_doubled_least_time(name: bytes, spent: float) -> None:
    whole = spent + TIMES.owed(name, spent)
    times = whole / TIMES.least(name)
    assert whole >= spent
    assert min(abs(times - 2**power) for power in range(12)) < 1e-3


def test_a_quick_and_a_slower_decision_take_the_same_time() -> None:
    one, other = (spent + TIMES.owed(b"alice", spent) for spent in (0.0001, 0.0049))
    assert one == pytest.approx(other)


def test_what_has_taken_long_and_what_is_switched_off_is_not_delayed() -> None:
    assert TIMES.owed(b"alice", LONGEST + 1) == 0
    assert RefusalTimes(0, b"secret").owed(b"alice", 0.001) == 0


async def test_a_refusal_is_sent_no_sooner(serve: Serve) -> None:
    served = await serve(refusal_time=timedelta(milliseconds=150))
    for name in ("alice", "nobody"):
        begun = time.monotonic()
        with pytest.raises(asyncssh.PermissionDenied):
            await served.client(username=name, password="wrong")
        assert time.monotonic() - begun >= 0.15


async def test_who_gets_in_and_who_asks_for_the_methods_waits_for_nothing(serve: Serve) -> None:
    served = await serve(refusal_time=timedelta(seconds=600))
    async with asyncio.timeout(20):
        async with served.client() as client:
            assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


async def test_leaving_while_a_refusal_waits_leaves_nothing(serve: Serve) -> None:
    served = await serve(refusal_time=timedelta(seconds=600))
    task = asyncio.create_task(asyncio.wait_for(served.client(password="wrong"), 600))
    async with asyncio.timeout(20):
        while not served.gateway.passwords:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await served.server.stop()
