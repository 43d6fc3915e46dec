"""A connection inside the guest at the end of a channel, and the listener that such connections come from."""

from __future__ import annotations

from moorage.agent.channel import Channel, Silent, State, Stream
from moorage.agent.frames import ProtocolError
from moorage.errors import Refused
from moorage.gateway.contract import Accepted
from moorage.gateway.model import Address


class TunnelChannel(Channel):
    """A connection; implements `Transport`.  An agent that closes it without EOF says that it broke."""

    def _cause_of_end(self) -> Exception | None:
        return None if self._remote_eof else ConnectionResetError("the connection inside the guest broke off")


class ListenChannel(Channel):
    """A socket that listens in the guest; it carries no bytes, and decides on the connections that it brings.

    Connections that come before the opener holds the listener wait until it does; there are at most as many as a
    link has channels.
    """

    def __init__(self, stream: Stream, number: int, accepted: Accepted) -> None:
        super().__init__(stream, number, Silent())
        self._accepted = accepted
        self._early: list[tuple[TunnelChannel, Address | None]] = []

    def data(self, kind: int, data: bytes) -> None:
        """A listener carries no bytes."""
        raise ProtocolError(f"channel {self.number}: data on a listener")

    def begin(self) -> None:
        """The opener holds the listener now."""
        super().begin()
        early, self._early = self._early, []
        for tunnel, peer in early:
            self.offer(tunnel, peer)

    def tunnel(self, number: int) -> TunnelChannel:
        """The channel of a connection that the agent has accepted."""
        return TunnelChannel(self._stream, number, Silent())

    def offer(self, tunnel: TunnelChannel, peer: Address | None) -> None:
        """A connection was accepted: ask who listens."""
        if self.state is not State.OPEN:
            tunnel.discard()
        elif not self._begun:
            self._early.append((tunnel, peer))
        else:
            try:
                tunnel.attach(self._accepted(peer, tunnel))
            except Refused:
                tunnel.discard()
            else:
                tunnel.begin()

    def discard(self) -> None:
        """Nobody wants the listener any more, nor what it brought meanwhile."""
        early, self._early = self._early, []
        for tunnel, _ in early:
            tunnel.discard()
        super().discard()
