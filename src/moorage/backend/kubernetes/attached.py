"""The agent's stream over a container's own standard streams: an attach, once, for as long as the guest lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from moorage.agent.link import AgentLink
from moorage.backend.kubernetes.websocket import STDERR, STDOUT, Streams
from moorage.codes import Code
from moorage.net.stream import RawStream

_SAID_LIMIT: Final = 2048
"""Bytes of an agent's standard error, and of the server's own words, that go to the log, in all."""

_PING_SECONDS: Final = 30.0
"""Servers and balancers on the way cut connections that are silent for some minutes."""


class AttachedAgent:
    """Joins a link to an attached container.  What the agent prints on standard error goes to the log, bounded."""

    def __init__(self, stream: RawStream, link: AgentLink, *, protocol: str, ends_with_input: bool = False) -> None:
        """`ends_with_input`: closing ends the agent's input and waits for the server to say that it has ended."""
        self._link = link
        self._said = b""
        self._is_ending = False
        self._streams = Streams(stream, self, protocol=protocol)
        self._loop = asyncio.get_running_loop()
        self._ping = self._loop.call_later(_PING_SECONDS, self._pinged)
        link.connection_made(_EndedByInput(self._streams, self._ending) if ends_with_input else self._streams)
        self._streams.begin()

    def stream_received(self, stream: int, data: bytes) -> None:
        if stream == STDOUT:
            if not self._is_ending:  # what it says of what it ends is no longer asked for
                self._link.data_received(data)
        elif stream >= STDERR:  # its standard error, and how the server says that it is over
            self._said += data[: _SAID_LIMIT - len(self._said)]

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def ended(self, cause: Exception | None) -> None:
        self._ping.cancel()
        if self._said:
            text = self._said.decode("utf-8", "replace")
            structlog.get_logger().debug(
                "The stream of a guest has ended with words", code=Code.KUBERNETES_AGENT_LOG, untrusted=text
            )
        self._link.connection_lost(cause)

    def _ending(self) -> None:
        self._is_ending = True

    def _pinged(self) -> None:
        self._streams.ping()
        self._ping = self._loop.call_later(_PING_SECONDS, self._pinged)


class _EndedByInput:
    """What a link writes to, where the other end is to be gone when the stream is."""

    def __init__(self, streams: Streams, ending: Callable[[], None]) -> None:
        self._streams = streams
        self._ending = ending
        self.write = streams.write
        self.abort = streams.abort

    def close(self) -> None:
        if self._streams.can_end_input:
            self._ending()
            self._streams.write_eof()
        else:
            self._streams.close()
