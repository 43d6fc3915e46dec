"""Events as the messages of a recording: pure, one object for each connection.

Where the format has no message for a fact, it goes into one that every reader takes: a global request (200)
whose type is ``NAME@moorage``, with what there is to say beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from moorage.audit.codec import Entry
from moorage.gateway import events
from moorage.gateway.model import (
    AgentSocket,
    ExitStatus,
    ListenSpec,
    ProgramKind,
    Pty,
    TcpTarget,
    UnixTarget,
    X11Display,
)
from moorage.metrics import Country

CLIENT: Final = "client@moorage"
"""What the client's program is; beside it stand its version, HASSH and algorithms."""

GAP: Final = "gap@moorage"
"""Messages are missing here; beside it stands how many."""

_OURS: Final = "@moorage"
"""How the types end that only we write: a client that uses one must not be taken for us."""

_PROGRAMS: Final = {ProgramKind.EXEC: (403, "program"), ProgramKind.SUBSYSTEM: (407, "subsystem")}
_OPENED: Final = {TcpTarget: "direct-tcpip", UnixTarget: "direct-streamlocal@openssh.com"}
_ACCEPTED: Final = {
    TcpTarget: "forwarded-tcpip",
    UnixTarget: "forwarded-streamlocal@openssh.com",
    X11Display: "x11",
    AgentSocket: "auth-agent@openssh.com",
}


def text(value: bytes) -> str:
    """A text of the client's, whatever its encoding."""
    return value.decode("utf-8", "surrogateescape")


def nanoseconds(at: float) -> int:
    """A moment as the format has it."""
    return max(0, round(at * 1e6) * 1000)


class Entries:
    """The messages of one connection, and the numbers of its channels and requests."""

    def __init__(self, country: Country) -> None:
        self._country = country
        self._channels = itertools.count()
        self._session_channels: dict[int, int] = {}
        self._forward_channels: dict[int, int] = {}
        self._requests: dict[int, Iterator[int]] = {}
        self._programs: dict[int, int] = {}
        self._listeners: dict[int, ListenSpec] = {}
        self._global_requests = itertools.count()
        self._has_logged_in = False

    def session_channel(self, number: int) -> int:
        """The recording's number of a session's channel."""
        return _numbered(self._session_channels, number, self._channels)

    def forward_channel(self, number: int) -> int:
        """The recording's number of a forwarded connection's channel."""
        return _numbered(self._forward_channels, number, self._channels)

    def of(self, event: events.Event) -> Iterator[Entry]:
        """The messages for `event`; most have one or none."""
        at = nanoseconds(event.at)
        match event:
            case events.ConnectionOpened():
                host = event.remote_address.host
                yield Entry(0, at, {"remoteAddr": host, "country": self._country(host)})
            case events.ClientIdentified():
                about = {"version": event.version, "hassh": event.hassh, "algorithms": event.algorithms}
                yield Entry(200, at, {"requestType": CLIENT}, extra=about)
            case events.AuthAttempted():
                yield from _attempt(event, at)
            case events.QuestionsAsked():
                prompts = [{"question": prompt.text, "echo": prompt.echo} for prompt in event.round.prompts]
                shown = {"username": event.username, "instruction": event.round.instruction, "questions": prompts}
                yield Entry(108, at, shown)
            case events.QuestionsAnswered():
                pairs = zip(event.round.prompts, event.answers, strict=False)
                answers = [{"question": prompt.text, "answer": answer} for prompt, answer in pairs]
                yield Entry(109, at, {"username": event.username, "answers": answers})
            case events.LoginAccepted():
                yield from self._logged_in(event.login.username, at)
            case events.GuestFailed():
                yield from self._logged_in("", at)
                yield Entry(198, at, {"reason": event.reason})
            case events.HandshakeFailed():
                yield Entry(198, at, {"reason": event.reason})
            case events.ConnectionClosed():
                yield Entry(1, at)
            case events.ForwardOpened() | events.ForwardRefused() | events.ForwardClosed():
                yield from self._forward(event, at)
            case events.ListenerOpened() | events.ListenerRefused() | events.ListenerClosed():
                yield from self._listener(event, at)
            case _:
                yield from self._session(event, at)

    def _logged_in(self, username: str, at: int) -> Iterator[Entry]:
        if not self._has_logged_in:
            self._has_logged_in = True
            yield Entry(199, at, {"username": username})

    # -- sessions

    def _session(self, event: events.Event, at: int) -> Iterator[Entry]:
        match event:
            case events.SessionOpened():
                channel = self.session_channel(event.channel)
                self._requests[channel] = itertools.count()
                yield Entry(301, at, {"channelType": "session"}, channel)
            case events.ProgramAsked():
                channel = self.session_channel(event.channel)
                number, name = _PROGRAMS.get(event.kind, (405, ""))
                request = self._programs[channel] = self._request(channel)
                payload = {"requestId": request, **({name: text(event.command)} if name else {})}
                yield Entry(number, at, payload, channel)
            case events.RequestDecided():
                yield from self._decided(event, at)
            case events.RequestNotUnderstood():
                yield self._not_understood(event, at)
            case events.TerminalResized():
                channel = self.session_channel(event.channel)
                size = event.size
                yield Entry(
                    408,
                    at,
                    {
                        "requestId": self._request(channel),
                        "columns": size.columns,
                        "rows": size.rows,
                        "width": size.width,
                        "height": size.height,
                    },
                    channel,
                )
            case events.ProgramExited():
                channel = self.session_channel(event.channel)
                yield Entry(496, at, channel=channel)
                yield _exit(event.status, at, channel)
            case events.SessionClosed():
                channel = self.session_channel(event.channel)
                self._session_channels.pop(event.channel, None)
                self._requests.pop(channel, None)
                self._programs.pop(channel, None)
                yield Entry(497, at, channel=channel)
            case _:
                pass

    def _request(self, channel: int) -> int:
        return next(self._requests.setdefault(channel, itertools.count()))

    def _decided(self, event: events.RequestDecided, at: int) -> Iterator[Entry]:
        channel = self.session_channel(event.channel)
        if event.request in {"shell", "exec", "subsystem"}:
            request = self._programs.get(channel, 0)
        else:
            request = self._request(channel)
            yield _asked(event, request, at, channel)
        if not event.granted:
            yield Entry(501, at, {"requestId": request, "reason": event.reason}, channel)

    def _not_understood(self, event: events.RequestNotUnderstood, at: int) -> Entry:
        name = f"client:{event.request}" if event.request.endswith(_OURS) else event.request
        payload: dict[str, object] = {"requestType": name, "payload": event.payload, "reason": event.reason}
        if event.channel is not None:
            channel = self.session_channel(event.channel)
            payload["requestId"] = self._request(channel)
            return Entry(401 if event.reason else 400, at, payload, channel)
        payload["requestId"] = next(self._global_requests)
        return Entry(201 if event.reason else 200, at, payload)

    # -- forwarding

    def _forward(self, event: events.Event, at: int) -> Iterator[Entry]:
        match event:
            case events.ForwardOpened():
                channel = self.forward_channel(event.forward)
                is_dialled = event.listener is None
                asked = _channel_asked(event.target, event.peer, at, channel, is_dialled=is_dialled)
                if asked is not None:
                    yield asked
                kind = (_OPENED if is_dialled else _ACCEPTED)[type(event.target)]
                yield Entry(301, at, {"channelType": kind}, channel)
            case events.ForwardRefused():
                channel = next(self._channels)
                asked = _channel_asked(event.target, event.peer, at, channel, is_dialled=True)
                if asked is not None:
                    yield asked
                yield Entry(302, at, {"channelType": _OPENED[type(event.target)], "reason": event.reason}, channel)
            case events.ForwardClosed():
                channel = self.forward_channel(event.forward)
                self._forward_channels.pop(event.forward, None)
                yield Entry(497, at, channel=channel, extra={"sent": event.sent, "received": event.received})
            case _:
                pass

    def _listener(self, event: events.Event, at: int) -> Iterator[Entry]:
        match event:
            case events.ListenerOpened():
                self._listeners[event.listener] = event.spec
                yield from _listen(event.spec, at, 202)
            case events.ListenerRefused():
                yield from _listen(event.spec, at, 202, event.reason)
            case events.ListenerClosed():
                spec = self._listeners.pop(event.listener, None)
                if spec is not None:
                    yield from _listen(spec, at, 203)
            case _:
                pass


def _numbered(known: dict[int, int], number: int, numbers: Iterator[int]) -> int:
    if number not in known:
        known[number] = next(numbers)
    return known[number]


def _attempt(event: events.AuthAttempted, at: int) -> Iterator[Entry]:
    offset = 1 if event.success else 2 if event.available else 3
    payload: dict[str, object] = {"username": event.attempt.username}
    match event.method:
        case "password":
            first = 100
            payload["password"] = event.password
        case "publickey":
            first = 104
            payload["key"] = event.key
        case _:
            return
    yield Entry(first, at, payload)
    yield Entry(first + offset, at, {**payload, "reason": event.reason} if offset == 3 else payload)


def _asked(event: events.RequestDecided, request: int, at: int, channel: int) -> Entry:
    payload: dict[str, object] = {"requestId": request}
    match event.asked:
        case (bytes(name), bytes(value)):
            return Entry(402, at, {**payload, "name": text(name), "value": text(value)}, channel)
        case Pty(term, size, modes):
            payload |= {"term": text(term), "columns": size.columns, "rows": size.rows}
            payload |= {"width": size.width, "height": size.height, "modelist": _modes(modes)}
            return Entry(404, at, payload, channel)
        case X11Display() as display:
            payload |= {"singleConnection": display.single_connection, "authProtocol": text(display.protocol)}
            payload |= {"cookie": "", "screen": display.screen}  # a secret that lets others draw is of no use here
            return Entry(409, at, payload, channel)
        case _:
            pass
    if event.request == "signal":
        return Entry(406, at, {**payload, "signal": event.detail}, channel)
    return Entry(400, at, {**payload, "requestType": event.request}, channel)


def _modes(modes: object) -> bytes:
    """Terminal modes as they are encoded in a request (RFC 4254 §8)."""
    assert isinstance(modes, dict) or hasattr(modes, "items")
    pairs = b"".join(bytes([opcode]) + value.to_bytes(4, "big") for opcode, value in modes.items())
    return pairs + b"\0"


def _exit(status: ExitStatus | None, at: int, channel: int) -> Entry:
    if status is None:
        return Entry(498, at, {"signal": "KILL", "errorMessage": "the guest was lost"}, channel)
    if status.signal:
        payload = {"signal": status.signal, "coreDumped": status.core_dumped, "errorMessage": status.message}
        return Entry(498, at, payload, channel)
    return Entry(499, at, {"exitStatus": status.code or 0}, channel)


def _channel_asked(target: ListenSpec, peer: object, at: int, channel: int, *, is_dialled: bool) -> Entry | None:
    origin = {"OriginatorHost": getattr(peer, "host", ""), "OriginatorPort": getattr(peer, "port", 0)}
    match target:
        case TcpTarget(host, port) if is_dialled:
            return Entry(303, at, {"HostToConnect": host, "PortToConnect": port, **origin}, channel)
        case TcpTarget(host, port):
            return Entry(304, at, {"ConnectedHost": host, "ConnectedPort": port, **origin}, channel)
        case UnixTarget(path):
            return Entry(306 if is_dialled else 307, at, {"Path": text(path)}, channel)
        case X11Display():
            return Entry(305, at, origin, channel)
        case AgentSocket():
            return None


def _listen(spec: ListenSpec, at: int, number: int, reason: str = "") -> Iterator[Entry]:
    extra = {"reason": reason} if reason else {}
    match spec:
        case TcpTarget(host, port):
            yield Entry(number, at, {"BindHost": host, "BindPort": port}, extra=extra)
        case UnixTarget(path):
            yield Entry(number + 2, at, {"Path": text(path)}, extra=extra)
        case _:
            pass  # displays and agents are asked for by a session
