"""The supervisor: order of start and stop, signals, deadlines, failures."""

import asyncio
import os
import signal
from dataclasses import dataclass, field

import pytest

from moorage.service import Supervisor


@dataclass
class Recorded:
    """A service that writes down what happens to it."""

    name: str
    told: list[str]
    failure: Exception | None = None
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self.told.append(f"start {self.name}")
        if self.failure is not None:
            raise self.failure

    async def drain(self, timeout: float) -> None:
        self.told.append(f"drain {self.name} {timeout}")
        await self.drained.wait()

    async def stop(self) -> None:
        self.told.append(f"stop {self.name}")


def pair(told: list[str]) -> tuple[Recorded, Recorded]:
    return Recorded("a", told), Recorded("b", told)


async def test_services_start_in_order_and_end_in_reverse() -> None:
    told: list[str] = []
    a, b = pair(told)
    a.drained.set()
    b.drained.set()
    supervisor = Supervisor([a, b], drain_timeout=7)
    async with asyncio.timeout(5):
        await supervisor.run(ready=supervisor.ask_to_stop)
    assert told == ["start a", "start b", "drain b 7", "drain a 7", "stop b", "stop a"]


async def test_a_second_request_cuts_the_draining_short() -> None:
    told: list[str] = []
    a, b = pair(told)
    supervisor = Supervisor([a, b], drain_timeout=3600)

    def twice() -> None:
        supervisor.ask_to_stop()
        asyncio.get_running_loop().call_soon(supervisor.ask_to_stop)

    async with asyncio.timeout(5):
        await supervisor.run(ready=twice)
    assert told == ["start a", "start b", "drain b 3600", "stop b", "stop a"]


async def test_a_service_that_cannot_start_takes_down_those_that_could() -> None:
    told: list[str] = []
    a, b = pair(told)
    b.failure = OSError("the port is taken")
    with pytest.raises(OSError, match="taken"):
        await Supervisor([a, b], drain_timeout=1).run()
    assert told == ["start a", "start b", "stop b", "stop a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_ask_to_stop(number: signal.Signals) -> None:
    told: list[str] = []
    a, _ = pair(told)
    a.drained.set()
    async with asyncio.timeout(5):
        await Supervisor([a], drain_timeout=1).run(ready=lambda: os.kill(os.getpid(), number))
    assert told == ["start a", "drain a 1", "stop a"]


async def test_hup_reloads_and_goes_on() -> None:
    told: list[str] = []
    a, _ = pair(told)
    a.drained.set()

    def reload() -> None:
        told.append("reload")
        supervisor.ask_to_stop()

    supervisor = Supervisor([a], drain_timeout=1, reload=reload)
    async with asyncio.timeout(5):
        await supervisor.run(ready=lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert told == ["start a", "reload", "drain a 1", "stop a"]


async def test_the_service_manager_is_told_how_we_are() -> None:
    told: list[str] = []
    said: list[tuple[str, ...]] = []
    a, _ = pair(told)
    a.drained.set()

    def reload() -> None:
        told.append("reload")
        supervisor.ask_to_stop()

    supervisor = Supervisor([a], drain_timeout=1, reload=reload, tell=lambda *words: said.append(words))
    async with asyncio.timeout(5):
        await supervisor.run(ready=lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert [words[0] for words in said] == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert said[1][1].startswith("MONOTONIC_USEC=")
