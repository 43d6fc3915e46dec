"""The link, against a small agent in Python: who may say what when, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from moorage.agent import frames
from moorage.agent.channel import GIVE_BACK, WINDOW_SIZE, Channel
from moorage.agent.frames import MAX_WINDOW, Frame
from moorage.agent.link import CROWD, CROWDED_READ_SIZE, MAX_CHANNELS, READ_SIZE, AgentLink, LinkError, OpenRefused
from moorage.agent.tunnel import ListenChannel
from moorage.errors import Refused
from moorage.gateway.contract import Accepted, Receiver, Transport
from moorage.gateway.model import Address
from moorage.testing.actors import PeerAgent, ending
from moorage.testing.streams import DEADLINE, Recorder


class Hand(PeerAgent):
    """An agent led by the test: it greets, then waits to be told."""

    async def act(self) -> None:
        await self.greet()
        await asyncio.Event().wait()


@pytest.fixture
async def agents() -> AsyncIterator[list[PeerAgent]]:
    agents: list[PeerAgent] = []
    yield agents
    for agent in agents:
        await agent.close()


async def joined(agents: list[PeerAgent], agent: PeerAgent, **settings: float) -> AgentLink:
    agents.append(agent)
    link = AgentLink(**settings)
    await agent.connect(link)
    await asyncio.wait_for(link.hello(), DEADLINE)
    return link


async def opened(link: AgentLink, hand: PeerAgent, window: int = 1_048_576) -> tuple[Channel, Recorder]:
    recorder = Recorder()
    opening = asyncio.create_task(link.open({"kind": "dial"}, lambda link, number: Channel(link, number, recorder)))
    await hand.opened(window)
    return await asyncio.wait_for(opening, DEADLINE), recorder


async def over(link: AgentLink) -> Exception | None:
    return await asyncio.wait_for(link.ended(), DEADLINE)


async def test_hello_tells_who_is_there(agents: list[PeerAgent]) -> None:
    link = await joined(agents, PeerAgent())
    hello = await link.hello()
    assert (hello.version, hello.os, hello.arch) == (1, "linux", "amd64")
    assert hello.features == {"process", "sftp", "file"}
    link.close()
    assert await over(link) is None


async def test_an_error_in_place_of_hello_is_told(agents: list[PeerAgent]) -> None:
    class Older(PeerAgent):
        async def act(self) -> None:
            await self.send(frames.encode_json(frames.ERROR, 0, {"code": "version", "message": "I speak 7"}))
            await self.take_all()

    with pytest.raises(LinkError, match="I speak 7"):
        await joined(agents, Older())


async def test_closing_before_there_is_a_stream_ends_the_link(agents: list[PeerAgent]) -> None:
    link = AgentLink()
    link.close()
    assert await over(link) is None
    with pytest.raises(LinkError):
        await link.hello()
    agent = PeerAgent()
    agents.append(agent)
    await agent.connect(link)
    assert agent.task is not None
    await asyncio.wait_for(agent.task, DEADLINE)


async def test_close_is_idempotent_and_ends_every_channel(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    _, recorder = await opened(link, hand)
    link.close()
    link.close()
    assert await over(link) is None
    await recorder.until_lost()
    with pytest.raises(LinkError):
        await link.open({}, lambda link, number: Channel(link, number, Recorder()))


async def test_numbers_are_odd_and_ascending(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    assert [(await opened(link, hand))[0].number for _ in range(3)] == [1, 3, 5]


async def test_a_refusal_is_told_and_the_link_goes_on(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    opening = asyncio.create_task(link.open({}, lambda link, number: Channel(link, number, Recorder())))
    await hand.receive_type(frames.OPEN)
    await hand.send(frames.encode_json(frames.REFUSED, 1, {"code": "not-found", "message": "No such program."}))
    with pytest.raises(OpenRefused) as caught:
        await asyncio.wait_for(opening, DEADLINE)
    assert (caught.value.refusal.code, caught.value.refusal.message) == ("not-found", "No such program.")
    assert (await opened(link, hand))[0].number == 3


async def test_no_more_channels_than_the_protocol_allows(agents: list[PeerAgent]) -> None:
    link = await joined(agents, PeerAgent())
    for _ in range(MAX_CHANNELS):
        await link.open({}, lambda link, number: Channel(link, number, Recorder()))
    with pytest.raises(OpenRefused) as caught:
        await link.open({}, lambda link, number: Channel(link, number, Recorder()))
    assert caught.value.refusal.code == "limit"


async def test_the_receiver_is_called_only_once_the_opener_has_the_channel(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    recorder = Recorder()

    async def all_at_once() -> None:
        await hand.receive_type(frames.OPEN)
        await hand.send(
            frames.encode_json(frames.OPENED, 1, {"window": 0}),
            frames.encode(frames.DATA, 1, b"early"),
            frames.encode(frames.EOF, 1),
            frames.encode(frames.CLOSE, 1),
        )

    answering = asyncio.create_task(all_at_once())
    channel = await link.open({}, lambda link, number: Channel(link, number, recorder))
    assert not recorder.stdout
    assert recorder.calls == []
    channel.pause_reading()
    await answering
    await hand.receive_type(frames.CLOSE)
    assert not recorder.stdout
    channel.resume_reading()
    await recorder.until_lost()
    assert recorder.stdout == b"early"
    assert recorder.calls == ["eof_received", "connection_lost"]


async def test_a_full_stream_is_told_only_once_the_opener_has_the_channel(
    agents: list[PeerAgent],
) -> None:
    link = await joined(agents, PeerAgent())
    recorder = Recorder()
    opening = asyncio.create_task(link.open({}, lambda link, number: Channel(link, number, recorder)))
    while not opening.done():
        link.pause_writing()
        assert recorder.calls == []
        link.resume_writing()
        await asyncio.sleep(0)
    link.pause_writing()
    await recorder.until(lambda: recorder.is_writing_paused)
    assert recorder.calls == ["pause_writing"]


async def test_a_cancelled_open_is_closed_when_the_agent_accepts(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    recorder = Recorder()
    opening = asyncio.create_task(link.open({}, lambda link, number: Channel(link, number, recorder)))
    await hand.receive_type(frames.OPEN)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await hand.send(frames.encode_json(frames.OPENED, 1, {"window": 10}), frames.encode(frames.DATA, 1, b"x"))
    await hand.receive_type(frames.CLOSE)
    await hand.send(frames.encode(frames.CLOSE, 1))
    assert (await opened(link, hand))[0].number == 3
    assert recorder.calls == []


async def test_writes_keep_to_the_agent_s_window(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand, window=100_000)
    channel.write(b"a" * 60_000)
    assert not recorder.is_writing_paused
    channel.write(b"b" * 90_000)
    assert recorder.is_writing_paused
    channel.write_eof()
    got = b""
    while len(got) < 100_000:
        got += (await hand.receive_type(frames.DATA)).payload
    assert len(got) == 100_000
    await hand.send(frames.encode_window(1, 20_000))
    while len(got) < 120_000:
        got += (await hand.receive_type(frames.DATA)).payload
    assert recorder.is_writing_paused
    await hand.send(frames.encode_window(1, 1_000_000))
    while (frame := await hand.receive()).type == frames.DATA:
        got += frame.payload
    assert frame.type == frames.EOF
    assert got == b"a" * 60_000 + b"b" * 90_000
    assert not recorder.is_writing_paused


async def test_frames_are_small_enough_to_take_turns(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, _ = await opened(link, hand, window=MAX_WINDOW)
    received = asyncio.create_task(hand.receive_type(frames.EOF))
    channel.write(bytes(1_000_000))
    channel.write_eof()
    await asyncio.wait_for(received, DEADLINE)
    # The agent's decoder hands pieces on: a piece is never longer than its frame.
    assert max(len(frame.payload) for frame in hand.received) <= frames.MAX_DATA


async def test_a_window_is_given_back_in_large_portions_for_what_was_taken(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    piece = frames.encode(frames.DATA, 1, bytes(1024))
    await hand.send(piece * (GIVE_BACK // 1024))
    assert (await hand.receive_type(frames.WINDOW)).payload == GIVE_BACK.to_bytes(4, "big")
    channel.pause_reading()
    await hand.send(piece * (WINDOW_SIZE // 1024))
    await hand.send(frames.encode(frames.PING, 0))
    await hand.receive_type(frames.PONG)
    assert [frame.type for frame in hand.received].count(frames.WINDOW) == 1
    channel.resume_reading()
    for _ in range(WINDOW_SIZE // GIVE_BACK):
        assert (await hand.receive_type(frames.WINDOW)).payload == GIVE_BACK.to_bytes(4, "big")
    assert recorder.count == GIVE_BACK + WINDOW_SIZE


async def test_a_reader_that_pauses_in_the_middle_of_a_portion_gives_nothing_back(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    recorder.on_data = lambda data: channel.pause_reading() if recorder.count >= GIVE_BACK else None
    await hand.send(frames.encode(frames.DATA, 1, bytes(65_536)) * (GIVE_BACK // 65_536), frames.encode(frames.PING, 0))
    assert (await hand.receive()).type == frames.PONG
    recorder.on_data = None
    channel.resume_reading()
    assert await hand.receive() == (frames.WINDOW, 1, GIVE_BACK.to_bytes(4, "big"))


async def test_after_many_tiny_frames_the_next_read_is_short(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    _, recorder = await opened(link, hand)
    assert len(link.get_buffer(-1)) == READ_SIZE
    link.data_received(frames.encode(frames.DATA, 1, b"x") * (CROWD + 1))
    assert len(link.get_buffer(-1)) == CROWDED_READ_SIZE
    link.data_received(frames.encode(frames.DATA, 1, bytes(1000)))
    assert len(link.get_buffer(-1)) == READ_SIZE
    assert recorder.count == CROWD + 1001


async def test_closing_drops_what_a_paused_reader_has_not_taken(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    channel.pause_reading()
    await hand.send(frames.encode(frames.DATA, 1, b"x"), frames.encode(frames.EOF, 1), frames.encode(frames.CLOSE, 1))
    await hand.receive_type(frames.CLOSE)
    channel.close()
    channel.close()
    await recorder.until_lost()
    channel.resume_reading()
    link.settle()
    assert recorder.calls == ["connection_lost"]
    assert not recorder.stdout


async def test_what_a_paused_reader_has_not_taken_outlives_the_link(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    channel.pause_reading()
    await hand.send(frames.encode(frames.DATA, 1, b"x"), frames.encode(frames.EOF, 1), frames.encode(frames.CLOSE, 1))
    await hand.receive_type(frames.CLOSE)
    await hand.close()
    assert await over(link) is not None
    channel.resume_reading()
    assert recorder.stdout == b"x"
    assert recorder.calls == ["eof_received", "connection_lost"]
    assert recorder.cause is None


async def test_a_full_stream_pauses_every_writer_once_and_resumes_all(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    pairs = [await opened(link, hand, window=MAX_WINDOW) for _ in range(5)]
    total = 0
    while not link.is_full:
        pairs[0][0].write(bytes(60_000))
        total += 60_000
        assert total < 20_000_000
    assert all(recorder.is_writing_paused for _, recorder in pairs)
    for channel, _ in pairs:
        channel.write(b"beyond")
        channel.write_eof()
    ends = 0
    while ends < 5:
        ends += (await hand.receive()).type == frames.EOF
    assert all(recorder.calls == ["pause_writing", "resume_writing"] for _, recorder in pairs)
    assert sum(len(frame.payload) for frame in hand.received if frame.type == frames.DATA) == total + 5 * len(b"beyond")


async def test_busy_channels_take_turns(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    pairs = [await opened(link, hand, window=MAX_WINDOW) for _ in range(3)]
    for channel, _ in pairs:
        channel.write(bytes(3_000_000))
    counts = {channel.number: 0 for channel, _ in pairs}
    while 3_000_000 not in counts.values():
        frame = await hand.receive_type(frames.DATA)
        counts[frame.channel] += len(frame.payload)
    assert min(counts.values()) > 500_000


async def test_close_sends_what_was_written_and_abort_does_not(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    for leave, sent in ((Channel.close, 300_000), (Channel.abort, 100_000)):
        channel, recorder = await opened(link, hand, window=100_000)
        hand.received.clear()
        channel.write(bytes(300_000))
        leave(channel)
        channel.close()
        if sent == 300_000:
            assert recorder.calls == ["pause_writing"]
            await hand.send(frames.encode_window(channel.number, 300_000))
        await hand.receive_type(frames.CLOSE)
        await recorder.until_lost()
        assert recorder.cause is None
        assert sum(len(frame.payload) for frame in hand.received if frame.type == frames.DATA) == sent
        await hand.send(frames.encode(frames.CLOSE, channel.number))


async def test_after_close_nothing_more_is_sent_on_a_channel(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, _ = await opened(link, hand, window=10)
    channel.write(bytes(100))
    channel.write_eof()
    channel.abort()
    await hand.receive_type(frames.CLOSE)
    await hand.send(frames.encode_window(1, 1000), frames.encode(frames.CLOSE, 1))
    link.pause_writing()
    link.resume_writing()
    await hand.send(frames.encode(frames.PING, 0))
    assert (await hand.receive()).type == frames.PONG


async def test_a_channel_of_bytes_ends_when_the_agent_closes(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    await hand.send(frames.encode(frames.DATA, 1, b"x"), frames.encode(frames.CLOSE, 1))
    await recorder.until_lost()
    assert recorder.stdout == b"x"
    channel.write(b"late")
    channel.write_eof()
    channel.close()
    await hand.receive_type(frames.CLOSE)
    assert recorder.calls == ["connection_lost"]


async def test_what_arrives_between_close_and_its_answer_is_dropped(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    channel, recorder = await opened(link, hand)
    channel.close()
    await hand.receive_type(frames.CLOSE)
    await hand.send(frames.encode(frames.DATA, 1, b"x"), frames.encode_window(1, 1), *ending(1)[::2])
    await opened(link, hand)
    assert not recorder.stdout
    assert recorder.calls == ["connection_lost"]


async def test_a_silent_stream_is_pinged_and_given_up(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand, ping_interval=0.02)
    cause = await over(link)
    assert isinstance(cause, LinkError)
    assert "ping" in str(cause)
    with pytest.raises(EOFError):
        await hand.take_all()
    assert [frame.type for frame in hand.received].count(frames.PING) == 3


async def test_an_agent_that_answers_pings_is_kept(agents: list[PeerAgent]) -> None:
    class Counting(PeerAgent):
        pings = 0
        pinged = asyncio.Event()

        async def answer(self, frame: Frame) -> None:
            await super().answer(frame)
            self.pings += frame.type == frames.PING
            if self.pings == 10:
                self.pinged.set()

    agent = Counting()
    link = await joined(agents, agent, ping_interval=0.01)
    await asyncio.wait_for(agent.pinged.wait(), DEADLINE)
    assert link.is_alive


async def test_the_agent_s_pings_are_answered(agents: list[PeerAgent]) -> None:
    hand = Hand()
    await joined(agents, hand)
    await hand.send(frames.encode(frames.PING, 0, b"abc"))
    assert (await hand.receive_type(frames.PONG)).payload == b"abc"


async def test_an_agent_s_error_ends_the_link_with_its_words(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    _, recorder = await opened(link, hand)
    await hand.send(frames.encode_json(frames.ERROR, 0, {"code": "protocol", "message": "frame of unknown type"}))
    assert "frame of unknown type" in str(await over(link))
    assert "frame of unknown type" in str(recorder.cause)


async def test_the_finder_of_an_error_says_so_before_it_ends(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    await hand.send(frames.encode(frames.EOF, 9))
    error = frames.decode_json(await hand.receive_type(frames.ERROR))
    assert error["code"] == "protocol"
    assert "channel 9" in error["message"]
    assert "channel 9" in str(await over(link))


async def listening(link: AgentLink, hand: Hand, accepted: Accepted) -> ListenChannel:
    opening = asyncio.create_task(link.open({"kind": "listen"}, lambda at, number: ListenChannel(at, number, accepted)))
    await hand.opened(window=0)
    return await asyncio.wait_for(opening, DEADLINE)


def connection(number: int, listener: int = 1, **more: Any) -> bytes:
    return frames.encode_json(
        frames.OPEN, number, {"kind": "accepted", "listener": listener, "window": 100, "peer": "127.0.0.1:77"} | more
    )


async def test_connections_that_a_listener_accepts_become_channels(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    near = Recorder()
    peers: list[Address | None] = []

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        if peers:
            raise Refused("one is enough")
        peers.append(peer)
        transport.write(b"hello")
        return near

    await listening(link, hand, accepted)
    await hand.send(connection(2), connection(4))
    assert (await hand.receive()).type == frames.OPENED
    assert (await hand.receive()).payload == b"hello"
    await hand.send(frames.encode(frames.DATA, 2, b"hi"))
    await near.until_output(b"hi")
    assert await hand.receive_type(frames.CLOSE) == (frames.CLOSE, 4, b"")
    assert peers == [Address("127.0.0.1", 77)]
    await hand.send(connection(2))
    assert "channel 2" in str(await over(link))


async def test_connections_wait_until_their_listener_is_held(agents: list[PeerAgent]) -> None:
    """They come with the very bytes that say that it listens, and one has ended by then."""
    hand = Hand()
    link = await joined(agents, hand)
    held: list[bool] = []
    recorders = [Recorder(), Recorder()]

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        assert opening.done()
        held.append(True)
        return recorders[len(held) - 1]

    opening = asyncio.create_task(link.open({"kind": "listen"}, lambda at, number: ListenChannel(at, number, accepted)))
    await hand.receive_type(frames.OPEN)
    await hand.send(
        frames.encode_json(frames.OPENED, 1, {"window": 0}),
        connection(2),
        frames.encode(frames.DATA, 2, b"first"),
        connection(4),
        frames.encode(frames.DATA, 4, b"second"),
        frames.encode(frames.EOF, 4),
        frames.encode(frames.CLOSE, 4),
    )
    await asyncio.wait_for(opening, DEADLINE)
    await recorders[0].until_output(b"first")
    await recorders[1].until_lost()
    assert recorders[1].stdout == b"second"
    assert recorders[1].cause is None
    assert not recorders[0].is_lost


async def test_an_opener_that_has_gone_away_leaves_no_connection(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        raise AssertionError("nobody listens")

    opening = asyncio.create_task(link.open({"kind": "listen"}, lambda at, number: ListenChannel(at, number, accepted)))
    await hand.receive_type(frames.OPEN)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await hand.send(frames.encode_json(frames.OPENED, 1, {"window": 0}), connection(2))
    assert await hand.receive_type(frames.CLOSE) == (frames.CLOSE, 1, b"")
    refused = await hand.receive_type(frames.REFUSED)
    assert refused.channel == 2
    await hand.send(frames.encode(frames.CLOSE, 1), connection(4))
    assert "listener 1" in str(await over(link))


async def test_what_a_closed_listener_still_accepts_is_refused(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    recorder = Recorder()
    listener = await listening(link, hand, lambda peer, transport: recorder)
    await hand.send(connection(2))
    assert (await hand.receive_type(frames.OPENED)).channel == 2
    listener.close()
    await hand.send(connection(4))
    assert await hand.receive_type(frames.CLOSE) == (frames.CLOSE, 1, b"")
    assert (await hand.receive_type(frames.REFUSED)).channel == 4
    await hand.send(frames.encode(frames.CLOSE, 1), frames.encode(frames.DATA, 2, b"goes on"))
    await recorder.until_output(b"goes on")


async def test_a_connection_that_breaks_has_a_cause(agents: list[PeerAgent]) -> None:
    hand = Hand()
    link = await joined(agents, hand)
    recorder = Recorder()
    await listening(link, hand, lambda peer, transport: recorder)
    await hand.send(connection(2), frames.encode(frames.DATA, 2, b"part"), frames.encode(frames.CLOSE, 2))
    await recorder.until_lost()
    assert recorder.stdout == b"part"
    assert isinstance(recorder.cause, ConnectionResetError)


async def test_a_link_speaks_over_anything_that_writes(agents: list[PeerAgent]) -> None:
    """`data_received` in place of `get_buffer`, as a transport that is not asyncio's calls it."""

    class Wire:
        def __init__(self) -> None:
            self.sent = b""
            self.ends: list[str] = []

        def write(self, data: bytes) -> None:
            self.sent += data

        def close(self) -> None:
            self.ends.append("close")

        def abort(self) -> None:
            self.ends.append("abort")

    link, wire = AgentLink(), Wire()
    link.connection_made(wire)
    hello = frames.encode_json(frames.HELLO, 0, {"version": 1})
    for byte in hello:
        link.data_received(bytes((byte,)))
    assert (await link.hello()).version == 1
    link.close()
    assert wire.ends == ["close"]
    link.abort()
    assert wire.ends == ["close", "abort"]
    link.connection_lost(None)
    assert await over(link) is None
    assert wire.sent.startswith(b"\x01")
