"""Agents that fail: each in its own way, each speaking to a real link over a real socket.

`PeerAgent` is a small agent in Python, for tests that must decide what is said when.  Those below it are
broken or hostile; `connect` of any of them is what `moorage.agent.guest.open_guest` takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Any

from moorage.agent import frames
from moorage.agent.frames import Frame
from moorage.agent.link import AgentLink

WINDOW = 1_048_576
"""What the agents here give for a start."""

HELLO = {
    "version": 1,
    "agent": "test",
    "os": "linux",
    "arch": "amd64",
    "pid": 1,
    "uid": 0,
    "features": ["process", "sftp", "file"],
}


class PeerAgent:
    """A well-behaved agent whose every process echoes its input and exits 0; subclasses misbehave in `act`."""

    def __init__(self) -> None:
        self.received: list[Frame] = []
        """All that came, DATA in pieces."""
        self.task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._decoder = frames.Decoder()
        self._ready: Iterator[Frame] = iter(())

    async def connect(self, link: AgentLink) -> None:
        """Join `link` to this agent and let it act."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        self._socket = theirs
        self.task = asyncio.create_task(self._run(), name="test/agent")

    async def act(self) -> None:
        """What this agent does, from the first byte; the stream ends when it returns."""
        await self.greet()
        while True:
            await self.answer(await self.receive())

    async def close(self) -> None:
        """Be gone."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    # ---- for those who act

    async def send(self, *parts: bytes) -> None:
        """Send bytes, whatever they are."""
        assert self._socket is not None
        await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(parts))

    async def receive(self) -> Frame:
        """The next frame; `EOFError` when the stream has ended."""
        assert self._socket is not None
        while True:
            for frame in self._ready:
                self.received.append(frame)
                return frame
            data = await asyncio.get_running_loop().sock_recv(self._socket, 262_144)
            if not data:
                raise EOFError
            self._ready = self._decoder.feed(data)

    async def receive_type(self, kind: int) -> Frame:
        """The next frame of this type; others are passed over."""
        while (frame := await self.receive()).type != kind:
            pass
        return frame

    async def take_all(self) -> None:
        """Read to the end and do nothing about it."""
        while True:
            await self.receive()

    async def greet(self) -> None:
        """Exchange HELLO."""
        assert (await self.receive()).type == frames.HELLO
        await self.send(frames.encode_json(frames.HELLO, 0, HELLO))

    async def opened(self, window: int = WINDOW, **more: Any) -> int:
        """Wait for an OPEN and accept it."""
        number = (await self.receive_type(frames.OPEN)).channel
        await self.send(frames.encode_json(frames.OPENED, number, {"window": window, "pid": 7, **more}))
        return number

    async def answer(self, frame: Frame) -> None:
        """Behave."""
        number = frame.channel
        match frame.type:
            case frames.PING:
                await self.send(frames.encode(frames.PONG, 0, frame.payload))
            case frames.OPEN:
                await self.send(frames.encode_json(frames.OPENED, number, {"window": WINDOW, "pid": 7}))
            case frames.DATA:
                await self.send(
                    frames.encode(frames.DATA, number, frame.payload),
                    frames.encode_window(number, len(frame.payload)),
                )
            case frames.EOF:
                await self.send(*ending(number))
            case _:
                pass

    async def _run(self) -> None:
        assert self._socket is not None
        with self._socket, contextlib.suppress(EOFError, ConnectionError):
            await self.act()


def ending(number: int, code: int = 0) -> tuple[bytes, bytes, bytes]:
    """How a process that has exited ends its channel."""
    return (
        frames.encode(frames.EOF, number),
        frames.encode_json(frames.EXIT, number, {"code": code}),
        frames.encode(frames.CLOSE, number),
    )


class SilentAgent(PeerAgent):
    """Takes all and says nothing, not even HELLO."""

    async def act(self) -> None:
        await self.take_all()


class PrintingAgent(PeerAgent):
    """Not an agent at all: a program that prints, as an image with another entry point does."""

    def __init__(self, text: bytes = b"sh: moorage-agent: not found\n") -> None:
        super().__init__()
        self._text = text

    async def act(self) -> None:
        await self.send(self._text)
        await self.take_all()


class MuteAgent(PeerAgent):
    """Says HELLO and never another word."""

    async def act(self) -> None:
        await self.greet()
        await self.take_all()


class ScriptedAgent(PeerAgent):
    """Accepts the first OPEN (channel 1) unless told otherwise, sends `script`, and says nothing more."""

    def __init__(self, *script: bytes, accepts: bool = True) -> None:
        super().__init__()
        self._script = script
        self._accepts = accepts

    async def act(self) -> None:
        await self.greet()
        if self._accepts:
            await self.opened()
        else:
            await self.receive_type(frames.OPEN)
        await self.send(*self._script)
        await self.take_all()


class GarbageAgent(PeerAgent):
    """Says HELLO, accepts one OPEN, and then sends noise without end."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)

    async def act(self) -> None:
        await self.greet()
        await self.opened()
        while True:
            await self.send(self._chance.randbytes(self._chance.randrange(1, 5000)))


class FloodingAgent(PeerAgent):
    """Accepts one OPEN and sends `frame` without end, as fast as it can, reading nothing."""

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self._batch = frame * max(1, 65_536 // len(frame))

    async def act(self) -> None:
        await self.greet()
        await self.opened()
        while True:
            await self.send(self._batch)


class CrumblingAgent(PeerAgent):
    """Accepts one OPEN and fills its window with bytes one by one, output and error in turns; then ends in order."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        """The link has taken it all and answered CLOSE."""

    async def act(self) -> None:
        await self.greet()
        number = await self.opened()
        pair = frames.encode(frames.DATA, number, b"o") + frames.encode(frames.STDERR, number, b"e")
        for _ in range(64):
            await self.send(pair * (WINDOW // 128))
        await self.send(*ending(number))
        await self.receive_type(frames.CLOSE)
        self.answered.set()
        await self.take_all()


class DribblingAgent(PeerAgent):
    """Behaves, but lets its bytes go one at a time."""

    async def send(self, *parts: bytes) -> None:
        for byte in b"".join(parts):
            await super().send(bytes((byte,)))
            await asyncio.sleep(0)


class DyingAgent(PeerAgent):
    """Ends in the middle of a frame, `missing` bytes before its end."""

    def __init__(self, missing: int = 100) -> None:
        super().__init__()
        self._missing = missing

    async def act(self) -> None:
        await self.greet()
        number = await self.opened()
        await self.send(frames.encode(frames.DATA, number, b"x" * 1000)[: -self._missing])


class ClingingAgent(PeerAgent):
    """Behaves, but never answers CLOSE and never tells of an exit."""

    async def answer(self, frame: Frame) -> None:
        if frame.type not in (frames.CLOSE, frames.EOF):
            await super().answer(frame)


class DeafAgent(PeerAgent):
    """Accepts one OPEN and reads nothing more, nor says anything."""

    async def act(self) -> None:
        await self.greet()
        await self.opened(window=frames.MAX_WINDOW)
        await asyncio.Event().wait()
