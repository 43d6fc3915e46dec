"""The link to an agent: one duplex stream, many channels.

`AgentLink` is an asyncio protocol.  It treats the agent as hostile: a frame that the protocol does not
allow, a flood, or silence ends this link and nothing else, and no buffer here grows beyond what windows
and limits allow.  There is no task, queue or future per chunk: a read becomes ``data_received`` calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import moorage
from moorage.agent import frames, messages
from moorage.agent.channel import WINDOW_SIZE, Channel, State
from moorage.agent.frames import Decoder, Frame, ProtocolError
from moorage.agent.messages import Hello, Refusal
from moorage.agent.tunnel import ListenChannel
from moorage.net.cork import Cork

READ_SIZE: Final = 524_288
"""The size of the one buffer that all links of a thread read into."""

CROWD: Final = 512
CROWDED_READ_SIZE: Final = 16_384
"""After a read with more than `CROWD` frames the next one is this small: tiny frames in plenty, from a program
or from malice, must not keep other links waiting."""

WRITE_HIGH: Final = 262_144
"""The stream counts as full when its transport holds more than this."""

MAX_CHANNELS: Final = 1_024
"""Open channels on a link (protocol §3)."""

MAX_UNREAD_CONTROL: Final = 262_144
"""What control frames may add while the stream is full; an agent that has us send more without reading floods us."""

PING_INTERVAL: Final = 30.0
"""Seconds between looks at a stream; a silent one gets a PING."""

MAX_MISSED_PINGS: Final = 3

CLOSE_DEADLINE: Final = 30.0
"""Seconds that an agent has to answer CLOSE, and a transport to send what it holds when the link closes."""

C = TypeVar("C", bound=Channel)


class StreamTransport(Protocol):
    """What a link needs of the stream below it; any asyncio transport will do.

    The transport calls the link's `connection_made`, then `data_received` (or, for a
    `asyncio.BufferedProtocol`, `get_buffer` and `buffer_updated`), `eof_received`, `pause_writing`,
    `resume_writing` and, once, `connection_lost`.
    """

    def write(self, data: bytes) -> None:
        """Send `data`, in order; calls the link's `pause_writing` when it holds too much."""

    def close(self) -> None:
        """Send what is held, then end both directions."""

    def abort(self) -> None:
        """End both directions now."""


class LinkError(Exception):
    """The link has ended, or never came to life.  The text is for the log."""


class OpenRefused(Exception):
    """The agent has refused to open a channel."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"the agent refused ({refusal.code}): {refusal.message}")
        self.refusal = refusal


class _Shared(threading.local):
    """The read buffer of a thread.

    A loop asks for the buffer and reports what it has read into it without doing anything else in
    between, and frames copy what they keep: one buffer serves all links, and an idle link costs none.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))


_shared = _Shared()


class AgentLink(asyncio.BufferedProtocol):
    """One agent's stream.  Made unconnected; give it to a transport, then await `hello`."""

    def __init__(self, *, ping_interval: float = PING_INTERVAL, close_deadline: float = CLOSE_DEADLINE) -> None:
        self._loop = asyncio.get_running_loop()
        self._ping_interval = ping_interval
        self._close_deadline = close_deadline
        self._transport: StreamTransport | None = None
        self._decoder = Decoder()
        self._read_size = READ_SIZE
        self._first_bytes = b""
        """What came before HELLO was complete, for the log; at most a line."""

        self._hello: asyncio.Future[Hello] = self._loop.create_future()
        self._ended: asyncio.Future[Exception | None] = self._loop.create_future()
        self._closed_by_us = False
        self._cause: Exception | None = None

        self._channels: dict[int, Channel] = {}
        self._settling: set[Channel] = set()
        """Channels that both sides have closed, with output that a paused reader has not taken yet."""
        self._next_number = 1
        self._last_agent_number = 0

        self.is_full = False
        self._unread_control = 0
        self._cork = Cork(self._loop, self._write)
        self._turn = 0
        self._heard = False
        self._missed_pings = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    # ---- for the guest

    async def hello(self) -> Hello:
        """The agent's HELLO; raises `LinkError` if the stream ends or breaks the protocol first.

        The caller sets the deadline, and closes the link when it has passed.
        """
        await asyncio.wait((self._hello, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if self._hello.done():
            return self._hello.result()
        raise self.error()

    async def open(self, message: Mapping[str, Any], make: Callable[[AgentLink, int], C]) -> C:
        """Open a channel: sends OPEN with `message`, returns when the agent has accepted.

        The receiver is called only after the caller has got the channel.  Raises `OpenRefused`, `LinkError`,
        and `ValueError` for a message that is too long.  Cancelling closes what the agent may have opened.
        """
        self._check_alive()
        if len(self._channels) >= MAX_CHANNELS:
            raise OpenRefused(Refusal("limit", "too many programs and connections at once"))
        number = self._next_number
        frame = frames.encode_json(frames.OPEN, number, {**message, "window": WINDOW_SIZE})
        self._next_number += 2
        channel = make(self, number)
        channel.answer = self._loop.create_future()
        self._channels[number] = channel
        self._send(frame)
        try:
            await channel.answer
        except BaseException:
            self._abandon(channel)
            raise
        if self._ended.done() or self._cause is not None:
            raise self.error()
        self._loop.call_soon(channel.begin)
        return channel

    async def ended(self) -> Exception | None:
        """Returns when the stream has ended: None after `close`, otherwise the cause."""
        return await asyncio.shield(self._ended)

    @property
    def features(self) -> frozenset[str]:
        """What the agent can do; nothing before its HELLO."""
        return self._hello.result().features if self._hello.done() else frozenset()

    @property
    def is_alive(self) -> bool:
        """The stream has neither ended nor been told to."""
        return not self._ended.done() and not self._closed_by_us and self._cause is None

    def error(self) -> LinkError:
        """Why the link is of no more use."""
        if self._cause is not None:
            error = LinkError(str(self._cause))
            error.__cause__ = self._cause
            return error
        return LinkError("the link to the agent is closed")

    def close(self) -> None:
        """End the stream: the agent ends all its processes and exits.  Idempotent."""
        if self._ended.done() or self._closed_by_us:
            return
        self._closed_by_us = True
        if self._transport is None:
            self.connection_lost(None)
        elif self._cause is None:
            self._abort_timer = self._loop.call_later(self._close_deadline, self._transport.abort)
            self._cork.flush()
            self._transport.close()

    def abort(self) -> None:
        """End the stream without waiting for what is still to be sent.  Idempotent."""
        self.close()
        if self._transport is not None and not self._ended.done():
            self._transport.abort()

    def settle(self) -> None:
        """Finish the channels whose readers still pause although the agent is done with them."""
        for channel in tuple(self._settling):
            channel.abort()

    # ---- for the transport

    def connection_made(self, transport: Any) -> None:
        """The stream is there: HELLO goes out."""
        self._transport = transport
        if self._closed_by_us:
            # Not from inside this call: the transport is not whole before it returns.
            self._loop.call_soon(transport.abort)
            return
        if hasattr(transport, "set_write_buffer_limits"):
            transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._send(frames.encode_json(frames.HELLO, 0, messages.hello(moorage.__version__)))
        self._ping_timer = self._loop.call_later(self._ping_interval, self._look)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return _shared.buffer[: self._read_size]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` were read into the buffer."""
        self.data_received(_shared.buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Some bytes arrived; `data` may be used again after this returns."""
        if self._cause is not None or self._ended.done():
            return
        self._heard = True
        try:
            if not self._hello.done():
                self._note_first(data)
            count = 0
            for frame in self._decoder.feed(data):
                count += 1
                kind = frame[0]
                if kind in (frames.DATA, frames.STDERR):
                    self._open_channel(frame).data(kind, frame[2])
                else:
                    self._control(frame)
                if self._cause is not None:
                    return
            self._read_size = READ_SIZE if count <= CROWD else CROWDED_READ_SIZE
        except ProtocolError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """The agent has ended the stream; so do we."""
        if self._cause is None and not self._closed_by_us:
            cut = "" if self._decoder.is_between_frames else " in the middle of a frame"
            self._cause = LinkError(f"the agent ended the stream{cut}{self.said()}")

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self.is_full = True
        for channel in tuple(self._channels.values()):
            channel.stream_changed()

    def resume_writing(self) -> None:
        """The transport has room again: first what waits goes out, in turns, then writers are told."""
        self.is_full = False
        self._unread_control = 0
        channels = tuple(self._channels.values())
        self._turn = (self._turn + 1) % max(1, len(channels))
        channels = channels[self._turn :] + channels[: self._turn]
        for channel in channels:
            if self.is_full:
                return
            channel.flush()
        for channel in channels:
            channel.stream_changed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream has ended, for whatever reason: so do all channels."""
        if self._ended.done():
            return
        for timer in (self._ping_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        if self._cause is None and not self._closed_by_us:
            self._cause = exc or LinkError(f"the stream to the agent broke off{self.said()}")
        self._ended.set_result(None if self._closed_by_us else self._cause)
        for channel in tuple(self._channels.values()):
            self._release(channel)
            channel.lost(self.error())
        self._channels.clear()

    # ---- for the channels

    def send_data(self, number: int, data: bytes | memoryview) -> None:
        """Send one DATA frame of at most `frames.MAX_DATA` bytes."""
        self._send(frames.header(frames.DATA, number, len(data)), data)

    def send_control(self, kind: int, number: int) -> None:
        """Send a frame without a payload."""
        self._send_control(frames.header(kind, number, 0))

    def send_json(self, kind: int, number: int, value: Mapping[str, Any]) -> None:
        """Send a frame of JSON."""
        self._send_control(frames.encode_json(kind, number, value))

    def send_window(self, number: int, credit: int) -> None:
        """Give the agent `credit` bytes more."""
        self._send_control(frames.encode_window(number, credit))

    def closing(self, channel: Channel) -> None:
        """CLOSE was sent: the agent has so long to answer."""
        channel.close_timer = self._loop.call_later(self._close_deadline, self._close_unanswered, channel)

    def forget(self, channel: Channel) -> None:
        """Both sides have sent CLOSE: the number is free."""
        self._release(channel)
        self._channels.pop(channel.number, None)
        self._settling.add(channel)

    def settled(self, channel: Channel) -> None:
        """Nothing will ever be delivered on `channel` again."""
        self._settling.discard(channel)

    # ---- frames

    def _control(self, frame: Frame) -> None:
        if not self._hello.done():
            self._greet(frame)
            return
        match frame.type:
            case frames.PING:
                self._send_control(frames.encode(frames.PONG, 0, frame.payload))
            case frames.PONG:
                pass
            case frames.ERROR:
                refusal = messages.read_refusal(frames.decode_json(frame))
                self._fail(LinkError(f"the agent reports an error ({refusal.code}): {refusal.message}"))
            case frames.OPEN:
                self._opened_by_agent(frame)
            case frames.OPENED | frames.REFUSED:
                self._answered(frame)
            case frames.EOF:
                self._open_channel(frame).eof()
            case frames.WINDOW:
                self._open_channel(frame).window(frames.decode_window(frame))
            case frames.EXIT:
                self._open_channel(frame).exit(messages.read_exit(frames.decode_json(frame)))
            case frames.CLOSE:
                self._open_channel(frame).closed()
            case _:
                raise ProtocolError(f"{frames.FRAMES[frame.type].name} from an agent")

    def _greet(self, frame: Frame) -> None:
        if frame.type == frames.ERROR:
            refusal = messages.read_refusal(frames.decode_json(frame))
            self._fail(LinkError(f"the agent refuses to work with this gateway ({refusal.code}): {refusal.message}"))
        elif frame.type != frames.HELLO:
            raise ProtocolError(f"{frames.FRAMES[frame.type].name} before HELLO")
        else:
            self._hello.set_result(messages.read_hello(frames.decode_json(frame)))
            self._first_bytes = b""

    def _open_channel(self, frame: Frame) -> Channel:
        channel = self._channels.get(frame[1])
        if channel is None or channel.state in (State.OPENING, State.ABANDONED):
            raise ProtocolError(f"{frames.FRAMES[frame.type].name} on channel {frame.channel}, which is not open")
        return channel

    def _answered(self, frame: Frame) -> None:
        channel = self._channels.get(frame.channel)
        if channel is None or channel.state not in (State.OPENING, State.ABANDONED):
            raise ProtocolError(f"{frames.FRAMES[frame.type].name} on channel {frame.channel}, which nobody opens")
        message = frames.decode_json(frame)
        answer, abandoned = channel.answer, channel.state is State.ABANDONED
        if frame.type == frames.REFUSED:
            del self._channels[frame.channel]
            channel.state = State.CLOSED
            if answer is not None and not answer.done():
                answer.set_exception(OpenRefused(messages.read_refusal(message)))
            return
        channel.opened(messages.read_window(message))
        if abandoned or answer is None or answer.done():
            channel.discard()
        else:
            channel.opening = message
            answer.set_result(None)

    def _opened_by_agent(self, frame: Frame) -> None:
        """A listener has accepted a connection: its channel decides, unless there are too many already."""
        message = frames.decode_json(frame)
        number, (listener, peer) = frame.channel, messages.read_accepted(message)
        channel = self._channels.get(listener)
        if not isinstance(channel, ListenChannel) or channel.state in (State.OPENING, State.ABANDONED):
            raise ProtocolError(f"OPEN for a listener {listener} that does not exist")
        if number % 2 or number <= self._last_agent_number:
            raise ProtocolError(f"OPEN with channel {number}")
        self._last_agent_number = number
        credit = messages.read_window(message)
        if len(self._channels) >= MAX_CHANNELS:
            self.send_json(frames.REFUSED, number, {"code": "limit", "message": "too many channels"})
        elif channel.state is not State.OPEN:
            self.send_json(frames.REFUSED, number, {"code": "closed", "message": "the listener is closed"})
        else:
            self._channels[number] = tunnel = channel.tunnel(number)
            tunnel.opened(credit)
            self.send_json(frames.OPENED, number, {"window": WINDOW_SIZE})
            channel.offer(tunnel, peer)

    # ---- sending

    def _send(self, *pieces: bytes | memoryview) -> None:
        """Send `pieces` together with all else of this loop turn: each write also wakes the agent."""
        if self._transport is not None and self.is_alive:
            self._cork.add(*pieces)

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        if self._transport is not None and not self._ended.done():
            self._transport.write(b"".join(pieces))

    def _send_control(self, data: bytes) -> None:
        """Send a control frame: these may go out while the stream is full, and are bounded for that."""
        if self.is_full:
            self._unread_control += len(data)
            if self._unread_control > MAX_UNREAD_CONTROL:
                self._fail(LinkError("the agent does not read, and too much waits for it"))
        self._send(data)

    # ---- ends and deadlines

    def _abandon(self, channel: Channel) -> None:
        """Whoever opened `channel` has gone away: close it, now or when the agent has accepted."""
        if channel.state is State.OPENING:
            channel.state = State.ABANDONED
        else:
            channel.discard()

    def _release(self, channel: Channel) -> None:
        if channel.close_timer is not None:
            channel.close_timer.cancel()
            channel.close_timer = None
        if channel.answer is not None and not channel.answer.done():
            channel.answer.set_exception(self.error())

    def _close_unanswered(self, channel: Channel) -> None:
        self._fail(LinkError(f"the agent did not answer CLOSE on channel {channel.number}"))

    def _look(self) -> None:
        """Ping a stream that was silent, and give up when it stays so."""
        self._missed_pings = 0 if self._heard else self._missed_pings + 1
        if self._missed_pings > MAX_MISSED_PINGS:
            self._fail(LinkError(f"the agent did not answer {MAX_MISSED_PINGS} pings"))
            return
        if not self._heard:
            self._send(frames.encode(frames.PING, 0))
        self._heard = False
        self._ping_timer = self._loop.call_later(self._ping_interval, self._look)

    def _fail(self, cause: Exception) -> None:
        """End the link for `cause`."""
        if self._cause is not None or self._ended.done() or self._transport is None:
            return
        if isinstance(cause, ProtocolError):
            said = self.said()
            self._send(frames.encode_json(frames.ERROR, 0, {"code": "protocol", "message": str(cause)[:200]}))
            if said:
                cause = ProtocolError(f"{cause}{said}")
        self._cork.flush()
        self._cause = cause
        self._transport.abort()

    def _check_alive(self) -> None:
        if self._transport is None or not self.is_alive:
            raise self.error()

    def _note_first(self, data: bytes | memoryview) -> None:
        """Remember what a guest says instead of HELLO, and turn away what cannot be one at its first byte."""
        if len(self._first_bytes) < 160:
            self._first_bytes += bytes(data[:160])
        if self._first_bytes[0] not in (frames.HELLO, frames.ERROR):
            raise ProtocolError("this is not an agent's HELLO")

    def said(self) -> str:
        """What the guest said instead of HELLO, as the end of a sentence."""
        text = messages.printable(self._first_bytes)
        return f"; it said: {text}" if text else ""
