"""The guest on a link: what is refused, what is lost, and that nothing is left behind; the rest is conformance."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable

import pytest

from moorage.agent import frames
from moorage.agent.frames import Frame
from moorage.agent.guest import AgentGuest, open_guest
from moorage.agent.link import AgentLink
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Receiver, Transport
from moorage.gateway.model import Address, AgentSocket, FileValue, Pty, Size, TcpTarget, UnixTarget, X11Display
from moorage.testing.actors import PeerAgent, SilentAgent
from moorage.testing.streams import DEADLINE, Recorder
from moorage.testing.suite import command


class Yard:
    """Destroys the guest of `agent`, and counts."""

    def __init__(self, agent: PeerAgent) -> None:
        self.agent = agent
        self.reasons: list[str] = []

    async def destroy(self, reason: str) -> None:
        await asyncio.sleep(0)
        self.reasons.append(reason)
        await self.agent.close()

    async def open(self, files: dict[str, FileValue] | None = None) -> AgentGuest:
        opening = open_guest(self.agent.connect, destroy=self.destroy, files=files)
        return await asyncio.wait_for(opening, DEADLINE)


class Answering(PeerAgent):
    """Answers each OPEN by `reply`."""

    def __init__(self, reply: Callable[[Frame], bytes]) -> None:
        super().__init__()
        self._reply = reply

    async def answer(self, frame: Frame) -> None:
        if frame.type == frames.OPEN:
            await self.send(self._reply(frame))
        else:
            await super().answer(frame)


class ClosingAgent(PeerAgent):
    """Answers CLOSE, and tells of no exit: its processes were still running."""

    async def answer(self, frame: Frame) -> None:
        if frame.type == frames.CLOSE:
            await self.send(frames.encode(frames.CLOSE, frame.channel))
        else:
            await super().answer(frame)


def refusing(code: str, message: str) -> Answering:
    return Answering(
        lambda frame: frames.encode_json(frames.REFUSED, frame.channel, {"code": code, "message": message})
    )


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        ("not-found", "exec: no such file", "The program was not found."),
        ("no-shell", "", "There is no shell in this environment."),
        ("unsupported", "unknown kind", "This environment does not support that."),
        ("start", "The program has a bad format.", "The program has a bad format."),
        ("start", "", "The program could not be started."),
        ("start", "x\x1b[2J\n" * 999, "x [2J"),
    ],
)
async def test_a_refusal_reaches_the_user_as_a_sentence(code: str, message: str, told: str) -> None:
    yard = Yard(refusing(code, message))
    guest = await yard.open()
    with pytest.raises(Refused) as caught:
        await guest.start(command("x"), Recorder())
    assert caught.value.user_text.startswith(told)
    assert caught.value.user_text.isprintable()
    assert len(caught.value.user_text) <= 500
    await guest.close("over")


async def test_files_are_written_whole_with_their_mode() -> None:
    yard = Yard(PeerAgent())
    content = bytes(range(256)) * 8192
    guest = await yard.open({"/a": FileValue(content), "/b": FileValue(b"")})
    opens = [frames.decode_json(frame) for frame in yard.agent.received if frame.type == frames.OPEN]
    assert [(message["kind"], message["path"], message["mode"]) for message in opens] == [
        ("file", "L2E=", 0o600),
        ("file", "L2I=", 0o600),
    ]
    sent = b"".join(frame.payload for frame in yard.agent.received if frame.type == frames.DATA)
    assert sent == content
    await guest.close("over")
    assert yard.reasons == ["over"]


async def test_a_file_that_cannot_be_put_in_place_fails_the_opening() -> None:
    def failing(frame: Frame) -> bytes:
        number = frame.channel
        return b"".join(
            (
                frames.encode_json(frames.OPENED, number, {"window": 10}),
                frames.encode_json(frames.EXIT, number, {"code": 1, "message": "read-only file system"}),
                frames.encode(frames.CLOSE, number),
            )
        )

    yard = Yard(Answering(failing))
    with pytest.raises(BackendError, match="read-only file system") as caught:
        await yard.open({"/etc/secret": FileValue(b"hunter2" * 100, sensitive=True)})
    assert "hunter2" not in str(caught.value) + caught.value.user_text
    assert "/etc" not in caught.value.user_text
    assert len(yard.reasons) == 1


@pytest.mark.parametrize("path", ["", "a\0b"])
async def test_a_file_without_a_possible_path_fails_the_opening(path: str) -> None:
    yard = Yard(PeerAgent())
    with pytest.raises(BackendError):
        await yard.open({path: FileValue(b"x")})
    assert len(yard.reasons) == 1


async def test_a_stream_that_cannot_be_had_fails_the_opening() -> None:
    yard = Yard(PeerAgent())

    async def connect(link: AgentLink) -> None:
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(BackendError, match="nobody listens") as caught:
        await open_guest(connect, destroy=yard.destroy)
    assert "nobody" not in caught.value.user_text
    assert len(yard.reasons) == 1


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_opening_destroys_the_guest_before_it_returns(steps: int) -> None:
    yard = Yard(SilentAgent())
    opening = asyncio.create_task(open_guest(yard.agent.connect, destroy=yard.destroy))
    for _ in range(steps):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(opening, DEADLINE)
    assert len(yard.reasons) == (1 if steps else 0)


async def test_a_bug_in_the_launcher_is_not_hidden_and_leaves_nothing() -> None:
    yard = Yard(PeerAgent())

    async def connect(link: AgentLink) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await open_guest(connect, destroy=yard.destroy)
    assert len(yard.reasons) == 1


async def test_a_guest_that_cannot_be_destroyed_says_so_to_everyone_who_closes() -> None:
    agent = PeerAgent()

    async def destroy(reason: str) -> None:
        await agent.close()
        raise BackendError("the engine is gone")

    guest = await open_guest(agent.connect, destroy=destroy)
    for _ in range(2):
        with pytest.raises(BackendError, match="the engine is gone"):
            await guest.close("over")
    assert await guest.lost() is None


async def test_a_process_that_was_closed_ends_by_hang_up() -> None:
    yard = Yard(ClosingAgent())
    guest = await yard.open()
    recorder = Recorder()
    process = await guest.start(command("x"), recorder)
    process.close()
    status = await asyncio.wait_for(process.wait(), DEADLINE)
    assert (status.code, status.signal) == (None, "HUP")
    assert recorder.calls == ["connection_lost"]
    assert recorder.cause is None
    await guest.close("over")


async def test_only_what_means_something_is_sent_to_a_process() -> None:
    yard = Yard(PeerAgent())
    guest = await yard.open()
    plain = await guest.start(command("x"), Recorder())
    on_terminal = await guest.start(command("x", pty=Pty(b"xterm", Size())), Recorder())
    plain.resize(Size(1, 2, 3, 4))
    on_terminal.resize(Size(1, 2, 3, 4))
    for name in ("TERM", "", "\0", "TERM\n", "Ä", "X" * 65):
        plain.signal(name)
    for process in (plain, on_terminal):
        process.write_eof()
        assert (await asyncio.wait_for(process.wait(), DEADLINE)).code == 0
        process.resize(Size(9, 9))
        process.signal("KILL")
    await guest.close("over")
    told = [frame for frame in yard.agent.received if frame.type in (frames.RESIZE, frames.SIGNAL)]
    assert [(frame.type, frame.channel, frames.decode_json(frame)) for frame in told] == [
        (frames.RESIZE, 3, {"columns": 1, "rows": 2, "width": 3, "height": 4}),
        (frames.SIGNAL, 1, {"name": "TERM"}),
    ]


async def test_dial_gives_a_plain_byte_channel() -> None:
    yard = Yard(PeerAgent())
    guest = await yard.open()
    near = Recorder()
    transport = await guest.dial(UnixTarget(b"/run/x"), near)
    transport.write(b"to and fro")
    await near.until_output(b"to and fro")
    transport.close()
    await near.until_lost()
    assert near.cause is None
    await guest.close("over")


def _turn_away(peer: Address | None, transport: Transport) -> Receiver:
    raise Refused("nobody is wanted")


async def test_listen_tells_the_port_and_ends_with_close() -> None:
    yard = Yard(Answering(lambda frame: frames.encode_json(frames.OPENED, frame.channel, {"window": 0, "port": 4711})))
    guest = await yard.open()
    listener = await guest.listen(TcpTarget("127.0.0.1", 0), _turn_away)
    assert listener.port == 4711
    await listener.close()
    await listener.close()
    await guest.close("over")
    assert [frame.type for frame in yard.agent.received].count(frames.CLOSE) <= 1


async def test_a_listener_without_a_port_is_an_error() -> None:
    yard = Yard(PeerAgent())
    guest = await yard.open()
    with pytest.raises(BackendError):
        await guest.listen(TcpTarget("127.0.0.1", 0), _turn_away)
    assert (await guest.listen(UnixTarget(b"/run/y"), _turn_away)).port == 0
    await guest.close("over")


@pytest.mark.parametrize(
    ("message", "told"), [("Connection refused.", "Connection refused."), ("", "The connection failed.")]
)
async def test_a_refused_connection_says_why(message: str, told: str) -> None:
    yard = Yard(refusing("refused", message))
    guest = await yard.open()
    with pytest.raises(Refused) as caught:
        await guest.dial(TcpTarget("127.0.0.1", 9), Recorder())
    assert caught.value.user_text == told
    await guest.close("over")


async def test_a_display_tells_what_programs_need() -> None:
    environment = {"DISPLAY": b64encode(b"localhost:10.0").decode()}
    yard = Yard(
        Answering(
            lambda frame: frames.encode_json(frames.OPENED, frame.channel, {"window": 0, "environment": environment})
        )
    )
    guest = await yard.open()
    listener = await guest.listen(X11Display(b"MIT-MAGIC-COOKIE-1", b"00ff"), _turn_away)
    assert (listener.port, listener.environment) == (0, {b"DISPLAY": b"localhost:10.0"})
    with pytest.raises(BackendError):
        await guest.listen(AgentSocket(), _turn_away)
    with pytest.raises(Refused) as caught:
        await guest.listen(X11Display(b"MIT-MAGIC-COOKIE-1", b"secret?"), _turn_away)
    assert "secret" not in str(caught.value) + caught.value.user_text
    await guest.close("over")
