"""Hostile and broken agents: each costs its own link, in time and without memory, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from moorage.agent import frames
from moorage.agent.channel import WINDOW_SIZE
from moorage.agent.guest import AgentGuest, open_guest
from moorage.agent.link import MAX_CHANNELS, AgentLink
from moorage.errors import BackendError
from moorage.gateway.contract import Receiver, Transport
from moorage.gateway.model import Address, ExitStatus, FileValue, Program, ProgramKind, TcpTarget
from moorage.testing.actors import (
    ClingingAgent,
    CrumblingAgent,
    DeafAgent,
    DribblingAgent,
    DyingAgent,
    FloodingAgent,
    GarbageAgent,
    MuteAgent,
    PeerAgent,
    PrintingAgent,
    ScriptedAgent,
    SilentAgent,
    ending,
)
from moorage.testing.streams import DEADLINE, Recorder
from moorage.testing.suite import command, resident_bytes

SOON = 0.1
"""A short deadline for what a hostile agent lets wait for ever."""

FLAT = 16_000_000
"""Growth of this process that counts as none: a channel's window, the read buffer, and the allocator's slack."""

PROGRAM = command("anything")


def echo(data: bytes = b"x") -> bytes:
    return frames.encode(frames.DATA, 1, data)


EOF, CLOSE = frames.encode(frames.EOF, 1), frames.encode(frames.CLOSE, 1)
EXIT = frames.encode_json(frames.EXIT, 1, {"code": 0})

OUT_OF_ORDER = {
    "data after EOF": EOF + echo(),
    "error data after EOF": EOF + frames.encode(frames.STDERR, 1, b"x"),
    "EOF twice": EOF + EOF,
    "EXIT before EOF": EXIT,
    "EXIT twice": EOF + EXIT + EXIT,
    "CLOSE without EXIT": EOF + CLOSE,
    "CLOSE at once": CLOSE,
    "frames after CLOSE": EOF + EXIT + CLOSE + echo(),
    "CLOSE twice": EOF + EXIT + CLOSE + CLOSE,
    "OPENED twice": frames.encode_json(frames.OPENED, 1, {"window": 1}),
    "REFUSED after OPENED": frames.encode_json(frames.REFUSED, 1, {"code": "x"}),
    "OPENED of a channel that nobody opens": frames.encode_json(frames.OPENED, 3, {"window": 1}),
    "data on a channel that is not open": frames.encode(frames.DATA, 3, b"x"),
    "data on an even channel": frames.encode(frames.DATA, 2, b"x"),
    "window for a channel that is not open": frames.encode_window(3, 1),
    "EXIT of a channel that is not open": frames.encode_json(frames.EXIT, 3, {"code": 0}),
    "a second HELLO": frames.encode_json(frames.HELLO, 0, {"version": 1}),
    "RESIZE": frames.encode_json(frames.RESIZE, 1, {"columns": 1}),
    "SIGNAL": frames.encode_json(frames.SIGNAL, 1, {"name": "TERM"}),
    "OPEN of a process": frames.encode_json(frames.OPEN, 2, {"kind": "process", "window": 1}),
    "OPEN for no listener": frames.encode_json(frames.OPEN, 2, {"kind": "accepted", "listener": 1, "window": 1}),
    "OPEN with an odd number": frames.encode_json(frames.OPEN, 7, {"kind": "accepted", "listener": 1, "window": 1}),
    "a window too large": frames.encode_window(1, frames.MAX_WINDOW),
    "an EXIT that lies": EOF + frames.encode_json(frames.EXIT, 1, {"code": 256}),
    "an EXIT that is no object": EOF + frames.encode(frames.EXIT, 1, b"[]"),
    "nested JSON": EOF + frames.encode(frames.EXIT, 1, b'{"code":' + b"[" * 16_000),
    "a length beyond the limit": frames.header(frames.DATA, 1, frames.MAX_PAYLOAD + 1),
    "the longest length": frames.header(frames.OPEN, 2, 2**32 - 1),
    "an unknown type": frames.header(0x55, 1, 0),
    "text": b"bash: warning: setlocale: LC_ALL: cannot change locale\n",
}

REFUSES_BADLY = {
    "data before OPENED": echo(),
    "EXIT before OPENED": EXIT,
    "CLOSE before OPENED": CLOSE,
    "OPENED without a window": frames.encode_json(frames.OPENED, 1, {}),
    "OPENED with a window of text": frames.encode_json(frames.OPENED, 1, {"window": "1"}),
    "OPENED with too large a window": frames.encode_json(frames.OPENED, 1, {"window": frames.MAX_WINDOW + 1}),
    "OPENED with a negative window": frames.encode_json(frames.OPENED, 1, {"window": -1}),
}


@contextlib.asynccontextmanager
async def landed(agent: PeerAgent, **settings: float) -> AsyncIterator[AgentGuest]:
    """A guest with `agent` in it; destroyed exactly once."""
    destroyed: list[str] = []

    async def destroy(reason: str) -> None:
        destroyed.append(reason)
        await agent.close()

    link = AgentLink(ping_interval=settings.get("ping_interval", 30), close_deadline=settings.get("close_deadline", 30))
    await agent.connect(link)
    await asyncio.wait_for(link.hello(), DEADLINE)
    guest = AgentGuest(link, destroy=destroy, start_deadline=settings.get("start_deadline", 10), close_grace=SOON)
    try:
        yield guest
    finally:
        await asyncio.wait_for(guest.close("over"), DEADLINE)
        await asyncio.wait_for(guest.close("again"), DEADLINE)
    assert destroyed == ["over"]


@pytest.fixture
async def neighbour() -> AsyncIterator[AgentGuest]:
    """Another guest of the same gateway, which must not notice anything."""
    async with landed(PeerAgent()) as guest:
        yield guest
        recorder = Recorder()
        process = await guest.start(PROGRAM, recorder)
        process.write(b"still fine")
        process.write_eof()
        assert await asyncio.wait_for(process.wait(), DEADLINE) == ExitStatus(code=0)
        assert recorder.stdout == b"still fine"


@contextlib.contextmanager
def flat_memory() -> Iterator[None]:
    before = resident_bytes()
    yield
    assert resident_bytes() - before < FLAT


async def lost(guest: AgentGuest) -> BaseException | None:
    return await asyncio.wait_for(guest.lost(), DEADLINE)


@pytest.mark.parametrize("script", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER.keys())
async def test_what_the_protocol_does_not_allow_ends_the_link(neighbour: AgentGuest, script: bytes) -> None:
    async with landed(ScriptedAgent(script)) as guest:
        recorder = Recorder()
        process = None
        with contextlib.suppress(BackendError):
            process = await guest.start(PROGRAM, recorder)
        assert await lost(guest) is not None
        if process is not None:
            with contextlib.suppress(BackendError):
                await asyncio.wait_for(process.wait(), DEADLINE)
            await recorder.until_lost()
        with pytest.raises(BackendError):
            await guest.start(PROGRAM, Recorder())


@pytest.mark.parametrize("script", REFUSES_BADLY.values(), ids=REFUSES_BADLY.keys())
async def test_an_open_that_is_answered_wrongly_fails(neighbour: AgentGuest, script: bytes) -> None:
    recorder = Recorder()
    async with landed(ScriptedAgent(script, accepts=False)) as guest:
        with pytest.raises(BackendError) as caught:
            await asyncio.wait_for(guest.start(PROGRAM, recorder), DEADLINE)
        assert caught.value.user_text
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"sh: moorage-agent: not found\n", "not found"), (b"\x7fELF\x02\x01", "ELF"), (b"\n", ""), (bytes(64), "")],
)
async def test_a_guest_that_prints_in_place_of_hello_is_found_out_at_once(text: bytes, told: str) -> None:
    agent = PrintingAgent(text)

    async def destroy(reason: str) -> None:
        await agent.close()

    with pytest.raises(BackendError) as caught:
        await asyncio.wait_for(open_guest(agent.connect, destroy=destroy), DEADLINE)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()
    assert "not found" not in caught.value.user_text


async def test_a_silent_agent_costs_its_deadline() -> None:
    agent = SilentAgent()
    destroyed: list[str] = []

    async def destroy(reason: str) -> None:
        destroyed.append(reason)
        await agent.close()

    with pytest.raises(BackendError):
        await asyncio.wait_for(open_guest(agent.connect, destroy=destroy, deadline=SOON), DEADLINE)
    assert len(destroyed) == 1


async def test_an_agent_that_never_answers_an_open_costs_the_start(neighbour: AgentGuest) -> None:
    async with landed(MuteAgent(), start_deadline=SOON) as guest:
        with pytest.raises(BackendError):
            await asyncio.wait_for(guest.start(PROGRAM, Recorder()), DEADLINE)


async def test_an_agent_that_falls_silent_is_given_up(neighbour: AgentGuest) -> None:
    async with landed(ScriptedAgent(echo(), EOF), ping_interval=0.02) as guest:
        recorder = Recorder()
        process = await guest.start(PROGRAM, recorder)
        with pytest.raises(BackendError):
            await asyncio.wait_for(process.wait(), DEADLINE)
        await recorder.until_lost()
        assert recorder.stdout == b"x"


async def test_an_agent_that_never_answers_close_is_given_up(neighbour: AgentGuest) -> None:
    async with landed(ClingingAgent(), close_deadline=SOON) as guest:
        process = await guest.start(PROGRAM, Recorder())
        process.write_eof()
        process.close()
        assert await lost(guest) is not None
        with pytest.raises(BackendError):
            await asyncio.wait_for(process.wait(), DEADLINE)


@pytest.mark.parametrize("seed", range(20))
async def test_noise_ends_the_link(neighbour: AgentGuest, seed: int) -> None:
    async with landed(GarbageAgent(seed)) as guest:
        with contextlib.suppress(BackendError):
            await guest.start(PROGRAM, Recorder())
        assert await lost(guest) is not None


@pytest.mark.parametrize(
    "frame",
    [
        frames.encode(frames.DATA, 1, b"x"),
        frames.encode(frames.DATA, 1, bytes(frames.MAX_PAYLOAD)),
        frames.encode(frames.STDERR, 1, b"x"),
        frames.encode(frames.PING, 0, bytes(64)),
        frames.encode_json(frames.OPEN, 2, {"kind": "accepted", "listener": 1, "window": 0}),
    ],
    ids=["tiny data", "big data", "tiny error data", "pings", "opens"],
)
async def test_a_flood_ends_the_link_and_fills_no_memory(neighbour: AgentGuest, frame: bytes) -> None:
    async with landed(FloodingAgent(frame)) as guest:
        with flat_memory():
            with contextlib.suppress(BackendError):
                process = await guest.start(PROGRAM, Recorder(keep=False))
                process.pause_reading()
            assert await lost(guest) is not None


async def test_a_flood_that_the_protocol_allows_keeps_nobody_waiting(neighbour: AgentGuest) -> None:
    """Windows of nothing, without end: they change nothing and cost no more than a share of the loop."""
    async with landed(FloodingAgent(frames.encode_window(1, 0))) as guest:
        with flat_memory():
            await guest.start(PROGRAM, Recorder())
            for _ in range(20):
                recorder = Recorder()
                process = await neighbour.start(PROGRAM, recorder)
                process.write(b"ping")
                process.write_eof()
                assert (await asyncio.wait_for(process.wait(), DEADLINE)).code == 0


async def test_a_window_of_crumbs_costs_no_more_than_a_window(neighbour: AgentGuest) -> None:
    agent = CrumblingAgent()
    async with landed(agent) as guest:
        recorder = Recorder()
        with flat_memory():
            process = await guest.start(PROGRAM, recorder)
            process.pause_reading()
            await asyncio.wait_for(agent.answered.wait(), DEADLINE)
        process.resume_reading()
        assert (await asyncio.wait_for(process.wait(), DEADLINE)).code == 0
        assert recorder.stdout == b"o" * (WINDOW_SIZE // 2)
        assert recorder.stderr == b"e" * (WINDOW_SIZE // 2)


async def test_one_byte_more_than_the_window_ends_the_link(neighbour: AgentGuest) -> None:
    whole = echo(bytes(frames.MAX_PAYLOAD)) * (WINDOW_SIZE // frames.MAX_PAYLOAD)
    async with landed(ScriptedAgent(whole, echo())) as guest:
        process = await guest.start(PROGRAM, Recorder(keep=False))
        process.pause_reading()
        assert "window" in str(await lost(guest))


async def test_an_agent_that_sends_byte_by_byte_is_understood() -> None:
    agent = DribblingAgent()

    async def destroy(reason: str) -> None:
        await agent.close()

    files = {"/etc/motd": FileValue(b"welcome")}
    guest = await asyncio.wait_for(open_guest(agent.connect, destroy=destroy, files=files), DEADLINE)
    recorder = Recorder()
    process = await guest.start(PROGRAM, recorder)
    process.write(b"slowly")
    process.write_eof()
    assert await asyncio.wait_for(process.wait(), DEADLINE) == ExitStatus(code=0)
    assert recorder.stdout == b"slowly"
    await guest.close("over")


@pytest.mark.parametrize("missing", [1, 500, 1000, 1001, 1008])
async def test_an_agent_that_dies_in_the_middle_of_a_frame_is_lost(neighbour: AgentGuest, missing: int) -> None:
    async with landed(DyingAgent(missing)) as guest:
        recorder = Recorder()
        process = await guest.start(PROGRAM, recorder)
        with pytest.raises(BackendError) as caught:
            await asyncio.wait_for(process.wait(), DEADLINE)
        assert "in the middle of a frame" in str(caught.value)
        assert len(recorder.stdout) == max(0, 1000 - missing)
        assert recorder.cause is not None


async def test_an_agent_that_does_not_read_stops_its_writers_and_can_be_closed(neighbour: AgentGuest) -> None:
    async with landed(DeafAgent()) as guest:
        recorder = Recorder()
        process = await guest.start(PROGRAM, recorder)
        with flat_memory():
            written = 0
            while not recorder.is_writing_paused:
                process.write(bytes(32_768))
                written += 32_768
                assert written < FLAT


async def test_pings_of_an_agent_that_does_not_read_are_a_flood(neighbour: AgentGuest) -> None:
    async with landed(FloodingAgent(frames.encode(frames.PING, 0, bytes(64)))) as guest:
        await guest.start(PROGRAM, Recorder())
        assert "does not read" in str(await lost(guest))


async def test_a_process_that_ended_before_the_break_keeps_its_status() -> None:
    async with landed(ScriptedAgent(*ending(1, 7), b"garbage")) as guest:
        recorder = Recorder()
        program = Program(ProgramKind.SHELL)
        try:
            process = await guest.start(program, recorder)
        except BackendError:
            return
        assert (await asyncio.wait_for(process.wait(), DEADLINE)).code == 7
        assert recorder.cause is None


def connection(number: int, listener: object = 1, **more: object) -> bytes:
    return frames.encode_json(frames.OPEN, number, {"kind": "accepted", "listener": listener, "window": 100, **more})


BREAKS_A_LISTENER = {
    "a listener that is not there": connection(2, 3),
    "a listener that is a connection": connection(2) + connection(4, 2),
    "a listener that is no number": connection(2, "1"),
    "an odd number": connection(3),
    "a number twice": connection(2) + connection(2),
    "numbers that descend": connection(4) + connection(2),
    "a window too large": connection(2, window=frames.MAX_WINDOW + 1),
    "a window below zero": connection(2, window=-1),
    "no window": connection(2, window=None),
    "a peer that is none": connection(2, peer={"host": "x"}),
    "another kind": frames.encode_json(frames.OPEN, 2, {"kind": "dial", "listener": 1, "window": 1}),
    "a connection after the end of its listener": frames.encode(frames.CLOSE, 1) + connection(2),
    "data beyond the window": connection(2) + frames.encode(frames.DATA, 2, bytes(frames.MAX_PAYLOAD)) * 5,
    "error data": connection(2) + frames.encode(frames.STDERR, 2, b"x"),
    "an exit": connection(2) + frames.encode_json(frames.EXIT, 2, {"code": 0}),
    "data after EOF": connection(2) + frames.encode(frames.EOF, 2) + frames.encode(frames.DATA, 2, b"x"),
    "data on a listener": frames.encode(frames.DATA, 1, b"x"),
}


class Listening(PeerAgent):
    """Accepts one listening socket, and then sends `script` while it reads nothing, or all."""

    def __init__(self, script: Iterable[bytes], *, reads: bool) -> None:
        super().__init__()
        self._script = script
        self._reads = reads

    async def act(self) -> None:
        await self.greet()
        await self.opened(window=0, port=4711)
        reading = asyncio.create_task(self.take_all()) if self._reads else None
        try:
            for part in self._script:
                await self.send(part)
            await asyncio.Event().wait()
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("script", BREAKS_A_LISTENER.values(), ids=BREAKS_A_LISTENER.keys())
async def test_what_a_listener_may_not_bring_ends_the_link(neighbour: AgentGuest, script: bytes) -> None:
    recorders: list[Recorder] = []

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        recorders.append(Recorder(keep=False))
        transport.pause_reading()
        return recorders[-1]

    async with landed(Listening([script], reads=True)) as guest:
        with contextlib.suppress(BackendError):
            await guest.listen(TcpTarget("", 0), accepted)
        assert await lost(guest) is not None
        for recorder in recorders:
            await recorder.until_lost()
            assert recorder.cause is not None


async def test_a_flood_of_accepted_connections_is_bounded(neighbour: AgentGuest) -> None:
    """Each is answered, and refused where there are too many; nobody else waits."""
    numbers = 5_000
    agent = Listening((connection(2 * n) for n in range(1, numbers + 1)), reads=True)
    recorders: list[Recorder] = []

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        recorders.append(Recorder())
        return recorders[-1]

    def answered() -> int:
        return sum(frame.type in (frames.OPENED, frames.REFUSED) for frame in agent.received)

    async with landed(agent) as guest:
        with flat_memory():
            await guest.listen(TcpTarget("", 0), accepted)
            async with asyncio.timeout(DEADLINE):
                while answered() < numbers:
                    await asyncio.sleep(0)
        assert len(recorders) == MAX_CHANNELS - 1


async def test_a_flood_of_connections_that_nobody_reads_ends_the_link(neighbour: AgentGuest) -> None:
    agent = Listening((connection(2 * n) for n in itertools.count(1)), reads=False)
    async with landed(agent) as guest:
        with flat_memory():
            with contextlib.suppress(BackendError):
                await guest.listen(TcpTarget("", 0), lambda peer, transport: Recorder())
            assert "does not read" in str(await lost(guest))
