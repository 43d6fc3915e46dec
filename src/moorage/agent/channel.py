"""One channel of a link: windows both ways, half-close, and what is kept while a reader pauses.

A channel is the `Transport` that the gateway's `splice` writes to.  Bytes go straight through: a DATA
frame becomes one ``data_received`` call, a ``write`` becomes frames on the stream.  Bytes wait in two
places only, and both are bounded by a window: what the agent sent while its reader pauses (`Kept`), and
what was written beyond the agent's window or while the stream is full (the writer is told to pause).
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from moorage.agent.frames import CLOSE, DATA, EOF, MAX_DATA, MAX_WINDOW, STDERR, ProtocolError
from moorage.agent.kept import Kept
from moorage.gateway.contract import Receiver
from moorage.gateway.model import ExitStatus

WINDOW_SIZE: Final = 1_048_576
"""What an agent may send on a channel before we have handed it on; the bound of `Kept`."""

GIVE_BACK: Final = WINDOW_SIZE // 2
"""How much is handed on before the agent is told that it may send it again."""


class Stream(Protocol):
    """What a channel needs of its link."""

    is_full: bool
    """The stream holds enough: only control frames may go out."""

    def send_data(self, number: int, data: bytes | memoryview) -> None:
        """Send one DATA frame of at most `MAX_DATA` bytes."""

    def send_control(self, kind: int, number: int) -> None:
        """Send a frame without a payload."""

    def send_json(self, kind: int, number: int, value: Mapping[str, Any]) -> None:
        """Send a frame of JSON."""

    def send_window(self, number: int, credit: int) -> None:
        """Give the agent `credit` bytes more."""

    def closing(self, channel: Channel) -> None:
        """CLOSE was sent; the agent's answer is awaited, with a deadline."""

    def forget(self, channel: Channel) -> None:
        """Both sides have sent CLOSE."""

    def settled(self, channel: Channel) -> None:
        """Nothing will ever be delivered on the channel again."""


class State(enum.Enum):
    """Where a channel stands, seen from our side."""

    OPENING = "OPEN sent, no answer yet"
    ABANDONED = "OPEN sent, and its opener has gone away"
    OPEN = "open"
    FLUSHING = "closed by us, while what was written is still being sent"
    CLOSING = "CLOSE sent, no answer yet"
    CLOSED = "closed by both sides, refused, or lost"


class Silent:
    """A receiver for channels that deliver nothing of interest."""

    def data_received(self, data: bytes) -> None:
        """Nothing is expected."""

    def stderr_received(self, data: bytes) -> None:
        """Nothing is expected."""

    def eof_received(self) -> None:
        """Nothing follows from it."""

    def pause_writing(self) -> None:
        """All was written at once and waits in the channel."""

    def resume_writing(self) -> None:
        """All was written at once."""

    def connection_lost(self, cause: Exception | None) -> None:
        """The end is awaited elsewhere."""


class Channel:
    """A duplex byte channel on a link; implements `Transport`."""

    takes_stderr = False

    def __init__(self, stream: Stream, number: int, receiver: Receiver) -> None:
        self.number = number
        self.state = State.OPENING
        self.answer: asyncio.Future[None] | None = None
        """Who waits for OPENED; belongs to the link."""
        self.opening: Mapping[str, Any] = {}
        """What OPENED said."""
        self.close_timer: asyncio.TimerHandle | None = None
        """The deadline for the answering CLOSE; belongs to the link."""
        self._stream = stream
        self._receiver = receiver
        self._begun = False
        """Whoever opened the channel holds it, and the receiver may be called."""
        self._lost_by: Exception | None = None

        self._granted = WINDOW_SIZE
        """What the agent may still send."""
        self._owed = 0
        """What was handed on and not yet given back as window."""
        self._paused = False
        self._held = True
        """Nothing may be delivered now: paused, or not begun."""
        self._delivering = False
        self._kept = Kept()
        self._remote_eof = False
        self._eof_delivered = False
        self._remote_closed = False
        """The agent has ended the channel, and the receiver does not know yet."""

        self._credit = 0
        """What we may still send."""
        self._queue: deque[memoryview] = deque()
        """Written and not yet sent.  Its writer has been told to pause."""
        self._is_full = False
        """The writer has been told to pause."""
        self._eof_wanted = False
        self._eof_sent = False

    # ---- life, called by the link

    def opened(self, credit: int) -> None:
        """The agent accepts: `credit` bytes may be sent."""
        self.state = State.OPEN
        self._credit = credit

    def attach(self, receiver: Receiver) -> None:
        """Deliver to `receiver`; before `begin` only."""
        self._receiver = receiver

    def begin(self) -> None:
        """Start delivering: whoever opened the channel holds it now."""
        self._begun = True
        if self._lost_by is not None:
            self._receiver.connection_lost(self._lost_by)
        self.stream_changed()
        if not self._paused:
            self.resume_reading()

    def lost(self, cause: Exception) -> None:
        """The stream has ended, and not by an orderly end of this channel."""
        was_open = self.state in (State.OPEN, State.FLUSHING)
        self.state = State.CLOSED
        self._drop()
        self._ended_early(cause)
        if was_open and self._begun:
            self._receiver.connection_lost(cause)
        elif was_open:
            self._lost_by = cause

    # ---- frames from the agent

    def data(self, kind: int, data: bytes) -> None:
        """DATA or STDERR arrived."""
        if self._remote_eof:
            raise ProtocolError(f"channel {self.number}: data after EOF")
        if kind == STDERR and not self.takes_stderr:
            raise ProtocolError(f"channel {self.number}: STDERR on a channel that has none")
        self._granted -= len(data)
        if self._granted < 0:
            raise ProtocolError(f"channel {self.number}: {-self._granted} bytes more than its window")
        if self.state is not State.OPEN:
            return
        if self._held:
            self._kept.add(kind, data)
        else:
            self._hand_on(kind, data)

    def eof(self) -> None:
        """EOF arrived."""
        if self._remote_eof:
            raise ProtocolError(f"channel {self.number}: EOF twice")
        self._remote_eof = True
        self._deliver()

    def window(self, credit: int) -> None:
        """WINDOW arrived."""
        self._credit += credit
        if self._credit > MAX_WINDOW:
            raise ProtocolError(f"channel {self.number}: a window of more than {MAX_WINDOW} bytes")
        self.flush()
        self.stream_changed()

    def exit(self, status: ExitStatus) -> None:
        """EXIT arrived."""
        raise ProtocolError(f"channel {self.number}: EXIT on a channel that has none")

    def closed(self) -> None:
        """CLOSE arrived: answer it, unless it is the answer."""
        if self.state is State.OPEN:
            self._check_close()
            self._answer_close()
            self._remote_closed = True
            self._deliver()
            return
        if self.state is State.FLUSHING:
            self._answer_close()
            self._receiver.connection_lost(None)
        else:
            self.state = State.CLOSED
            self._stream.forget(self)
        self._ended_early(None)
        self._stream.settled(self)

    # ---- Transport: reading

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; what arrives is kept, within the window."""
        self._paused = self._held = True

    def resume_reading(self) -> None:
        """Deliver again, first what was kept."""
        self._paused = False
        if self._begun:
            self._held = False
            self._deliver()
            self._give_back()

    def _hand_on(self, kind: int, data: bytes) -> None:
        if kind == DATA:
            self._receiver.data_received(data)
        else:
            self._stderr_received(data)
        self._owed += len(data)
        if self._owed >= GIVE_BACK:
            self._give_back()

    def _give_back(self) -> None:
        """Let the agent send again what was handed on, in large portions, unless its reader pauses."""
        if self._owed >= GIVE_BACK and not self._held and not self._remote_eof and self.state is State.OPEN:
            self._granted += self._owed
            self._stream.send_window(self.number, self._owed)
            self._owed = 0

    def _deliver(self) -> None:
        """Hand on what was kept while the reader wants it, then the ends that follow it."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._kept and not self._held:
                self._hand_on(*self._kept.take())
            if self._held or not (self.state is State.OPEN or self._remote_closed):
                return
            if self._remote_eof and not self._eof_delivered:
                self._eof_delivered = True
                self._receiver.eof_received()
            if self._remote_closed:
                self._remote_closed = False
                self._ended_in_order()
                self._receiver.connection_lost(self._cause_of_end())
                self._stream.settled(self)
        finally:
            self._delivering = False

    # ---- Transport: writing

    def write(self, data: bytes) -> None:
        """Send `data`; beyond the window, or while the stream is full, it waits here."""
        if self.state is not State.OPEN or self._eof_wanted or not data:
            return
        size = len(data)
        if size <= MAX_DATA and size < self._credit and not self._queue and not self._stream.is_full:
            self._credit -= size
            self._stream.send_data(self.number, data)
            return
        self._queue.append(memoryview(data))
        self.flush()
        self._update_fullness()

    def write_eof(self) -> None:
        """Send EOF after all that was written."""
        if self.state is State.OPEN and not self._eof_wanted:
            self._eof_wanted = True
            self.flush()

    def close(self) -> None:
        """End both directions, after what was written is sent."""
        if self.state is State.OPEN and self._queue:
            self.state = State.FLUSHING
            self._kept.clear()
        elif self.state is not State.FLUSHING:
            self.abort()

    def abort(self) -> None:
        """End both directions now; what waits in either of them is dropped."""
        if self.state in (State.OPEN, State.FLUSHING):
            self._hang_up()
        elif self._remote_closed:
            self._remote_closed = False
            self._drop()
            self._ended_in_order()
            asyncio.get_running_loop().call_soon(self._receiver.connection_lost, None)
            self._stream.settled(self)

    def discard(self) -> None:
        """Close a channel that nobody wants any more; its receiver hears nothing."""
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self._drop()
            self._stream.send_control(CLOSE, self.number)
            self._stream.closing(self)
        else:
            self._stream.settled(self)

    def flush(self) -> None:
        """Send what waits, as far as the window and the stream allow."""
        queue, stream = self._queue, self._stream
        while queue and self._credit and not stream.is_full:
            head = queue[0]
            size = min(len(head), self._credit, MAX_DATA)
            if size == len(head):
                queue.popleft()
            else:
                queue[0] = head[size:]
            self._credit -= size
            stream.send_data(self.number, head[:size])
        if queue or self.state not in (State.OPEN, State.FLUSHING):
            return
        if self._eof_wanted and not self._eof_sent:
            self._eof_sent = True
            stream.send_control(EOF, self.number)
        if self.state is State.FLUSHING:
            self._hang_up()

    def stream_changed(self) -> None:
        """The stream has become full, or has room again."""
        if self._begun:
            self._update_fullness()

    def _update_fullness(self) -> None:
        full = self._stream.is_full or bool(self._queue) or not self._credit
        if full == self._is_full or self.state is not State.OPEN:
            return
        self._is_full = full
        if full:
            self._receiver.pause_writing()
        else:
            self._receiver.resume_writing()

    # ---- ends

    def _hang_up(self) -> None:
        self.state = State.OPEN
        self.discard()
        asyncio.get_running_loop().call_soon(self._receiver.connection_lost, None)

    def _answer_close(self) -> None:
        self.state = State.CLOSED
        self._queue.clear()
        self._stream.send_control(CLOSE, self.number)
        self._stream.forget(self)

    def _drop(self) -> None:
        self._kept.clear()
        self._queue.clear()

    def _stderr_received(self, data: bytes) -> None:
        """Deliver error output; comes only where `takes_stderr`."""

    def _check_close(self) -> None:
        """Raise `ProtocolError` if the agent may not close now."""

    def _cause_of_end(self) -> Exception | None:
        """Why the agent has closed; None: in order."""
        return None

    def _ended_in_order(self) -> None:
        """The agent has closed, and all that it sent was delivered."""

    def _ended_early(self, cause: Exception | None) -> None:
        """We closed, or the stream was lost for `cause`."""
