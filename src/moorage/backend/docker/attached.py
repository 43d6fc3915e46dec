"""The agent's stream over a container's own standard streams: frames of the engine around frames of the agent."""

from __future__ import annotations

from typing import Final

import structlog

from moorage.agent.link import AgentLink
from moorage.backend.docker.demux import STDERR, Demux, FramingError
from moorage.codes import Code
from moorage.net.stream import RawStream

_SAID_LIMIT: Final = 2048
"""Bytes of an agent's standard error that go to the log, in all."""


class AttachedAgent:
    """Joins a link to an attached container.  What the agent prints on standard error goes to the log, bounded."""

    def __init__(self, stream: RawStream, link: AgentLink) -> None:
        self._stream = stream
        self._link = link
        self._demux = Demux()
        self._said = b""
        link.connection_made(stream)
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        try:
            for stream, piece in self._demux.feed(data):
                if stream == STDERR:
                    self._said += piece[: _SAID_LIMIT - len(self._said)]
                else:
                    self._link.data_received(piece)
        except FramingError:
            self._stream.abort()

    def eof_received(self) -> None:
        self._link.eof_received()
        self._stream.close()

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def connection_lost(self, cause: Exception | None) -> None:
        if self._said:
            text = self._said.decode("utf-8", "replace")
            structlog.get_logger().warning(
                "The agent in a guest has said something", code=Code.DOCKER_AGENT_LOG, untrusted=text
            )
        self._link.connection_lost(cause)
