"""Forwarding as the gateway sees it: policy before the guest, events, counts, what ends with what."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.gateway.test_connection import FakeGuest, FakeTransport, World, until, world

from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import BackendError, Refused
from moorage.gateway import events
from moorage.gateway.connection import Connection
from moorage.gateway.contract import Receiver, Transport
from moorage.gateway.forwarding import MAX_LISTENERS
from moorage.gateway.model import Address, AgentSocket, ProgramKind, TcpTarget, UnixTarget, X11Display
from moorage.testing.streams import Recorder

__all__ = ["world"]

TARGET = TcpTarget("db", 5432)
PEER = Address("127.0.0.1", 9)
DISPLAY = X11Display(b"MIT-MAGIC-COOKIE-1", b"00ff")
ALL = dict.fromkeys(
    [
        "forwardingMode",
        "socketForwardingMode",
        "reverseForwardingMode",
        "socketListenMode",
        "x11ForwardingMode",
        "agentForwardingMode",
    ],
    "enable",
)


def allow(world: World, **modes: str) -> None:
    world.source.config = AppConfig.model_validate({"backend": "docker", "security": {"forwarding": modes or ALL}})


async def guest_of(world: World) -> FakeGuest:
    await until(lambda: world.backend.guests)
    return world.backend.guests[0]


def taken(peer: Address | None, transport: Transport) -> Receiver:
    return Recorder()


async def test_policy_decides_before_the_guest_is_asked(world: World) -> None:
    connection = await world.login()
    with pytest.raises(Refused, match="forwardingMode") as caught:
        await connection.dial(TARGET, PEER, Recorder())
    assert caught.value.code is Code.SECURITY_FORWARDING_REJECTED
    with pytest.raises(Refused, match="socketListenMode"):
        await connection.listen(UnixTarget(b"/run/x"), taken)
    guest = await guest_of(world)
    assert guest.dialled == []
    assert guest.listeners == []
    (refused,) = world.heard_of(events.ForwardRefused)
    assert isinstance(refused, events.ForwardRefused)
    assert (refused.target, refused.peer, refused.code) == (TARGET, PEER, Code.SECURITY_FORWARDING_REJECTED)
    (silent,) = world.heard_of(events.ListenerRefused)
    assert isinstance(silent, events.ListenerRefused)
    assert silent.code is Code.SECURITY_REVERSE_FORWARDING_REJECTED


async def test_a_tunnel_is_told_of_and_counted(world: World) -> None:
    allow(world)
    connection = await world.login()
    recorder = Recorder()
    transport = await connection.dial(TARGET, PEER, recorder)
    guest_side = (await guest_of(world)).dialled[0]
    transport.write(b"question")
    transport.pause_reading()
    transport.resume_reading()
    transport.write_eof()
    guest_side.data_received(b"answers")
    guest_side.pause_writing()
    guest_side.resume_writing()
    guest_side.eof_received()
    assert recorder.stdout == b"answers"
    assert world.heard_of(events.ForwardClosed) == []
    guest_side.connection_lost(None)
    assert recorder.calls == ["pause_writing", "resume_writing", "eof_received", "connection_lost"]
    (opened,), (closed,) = world.heard_of(events.ForwardOpened), world.heard_of(events.ForwardClosed)
    assert opened == events.ForwardOpened(at=5.0, forward=0, target=TARGET, peer=PEER)
    assert closed == events.ForwardClosed(at=5.0, forward=0, sent=8, received=7)


async def test_the_guests_reason_is_passed_on(world: World) -> None:
    allow(world)
    connection = await world.login()
    (await guest_of(world)).refusal = Refused("nobody there", user_text="Connection refused.")
    with pytest.raises(Refused) as caught:
        await connection.dial(TARGET, PEER, Recorder())
    assert caught.value.user_text == "Connection refused."
    assert not caught.value.code.startswith("SECURITY_")
    assert len(world.heard_of(events.ForwardRefused)) == 1


async def test_without_a_guest_there_is_no_forwarding(world: World) -> None:
    allow(world)
    world.backend.failure = BackendError("no room", user_text="No room.")
    connection = await world.login()
    with pytest.raises(BackendError, match="no room"):
        await connection.dial(TARGET, PEER, Recorder())
    with pytest.raises(BackendError, match="no room"):
        await connection.listen(TARGET, taken)


async def test_accepted_connections_are_tunnels_too(world: World) -> None:
    allow(world)
    connection = await world.login()
    recorder = Recorder()
    seen: list[Transport] = []

    def accepted(peer: Address | None, transport: Transport) -> Receiver:
        assert peer == PEER
        seen.append(transport)
        transport.pause_reading()
        return recorder

    listener = await connection.listen(TARGET, accepted)
    assert listener.port == 4711
    inside, stream = (await guest_of(world)).listeners[0], FakeTransport()
    receiver = inside.accepted(PEER, stream)
    receiver.data_received(b"abc")
    seen[0].write(b"x")
    seen[0].close()
    receiver.connection_lost(None)
    assert stream.calls == ["pause_reading", "write 1", "close"]
    assert [event for event in world.heard if isinstance(event, events.ForwardOpened | events.ForwardClosed)] == [
        events.ForwardOpened(at=5.0, forward=0, target=TARGET, listener=0, peer=PEER),
        events.ForwardClosed(at=5.0, forward=0, sent=1, received=3),
    ]
    await listener.close()
    await listener.close()
    assert inside.closed == 1
    assert world.heard_of(events.ListenerClosed) == [events.ListenerClosed(at=5.0, listener=0)]


async def test_a_connection_that_is_turned_away_is_no_tunnel(world: World) -> None:
    allow(world)
    connection = await world.login()

    def turn_away(peer: Address | None, transport: Transport) -> Receiver:
        raise Refused("too many")

    await connection.listen(TARGET, turn_away)
    with pytest.raises(Refused):
        (await guest_of(world)).listeners[0].accepted(None, FakeTransport())
    assert world.heard_of(events.ForwardOpened) == []


async def test_listeners_are_counted_while_they_listen(world: World) -> None:
    allow(world)
    connection = await world.login()
    listeners = [await connection.listen(TcpTarget("", port), taken) for port in range(1, MAX_LISTENERS + 1)]
    with pytest.raises(Refused) as caught:
        await connection.listen(TARGET, taken)
    assert caught.value.code is Code.SSH_LIMIT_REACHED
    await listeners[0].close()
    await connection.listen(TARGET, taken)


async def test_a_listener_that_nobody_waits_for_any_more_is_not_counted(world: World) -> None:
    allow(world)
    connection = await world.login()
    (guest := await guest_of(world)).may_listen.clear()
    for _ in range(MAX_LISTENERS + 1):
        waiting = asyncio.create_task(connection.listen(TARGET, taken))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    guest.may_listen.set()
    await connection.listen(TARGET, taken)


async def environment_of(world: World, connection: Connection, *, display: bool, agent: bool) -> set[bytes]:
    session = await connection.open_session()
    assert not display or await session.x11(DISPLAY, taken)
    assert not agent or await session.agent(taken)
    await session.start(ProgramKind.EXEC, b"env", Recorder(), None)
    return set(world.backend.guests[0].started[-1].environment.values())


async def test_programs_find_their_display_and_the_agent(world: World) -> None:
    allow(world)
    connection = await world.login()
    assert await environment_of(world, connection, display=True, agent=False) == {b"X11Display"}
    assert await environment_of(world, connection, display=False, agent=True) == {b"AgentSocket"}
    assert await environment_of(world, connection, display=False, agent=True) == {b"AgentSocket"}
    assert await environment_of(world, connection, display=False, agent=False) == set()
    specs = [listener.spec for listener in world.backend.guests[0].listeners]
    assert specs == [DISPLAY, AgentSocket()]


async def test_a_client_cannot_point_programs_elsewhere(world: World) -> None:
    allow(world)
    connection = await world.login()
    session = await connection.open_session()
    assert await session.agent(taken)
    assert session.environment(b"FOUND_BY", b"/somewhere/else")
    await session.start(ProgramKind.EXEC, b"env", Recorder(), None)
    assert world.backend.guests[0].started[-1].environment == {b"FOUND_BY": b"AgentSocket"}


async def test_a_session_has_one_display_and_takes_it_along(world: World) -> None:
    allow(world)
    connection = await world.login()
    session = await connection.open_session()
    assert await session.x11(DISPLAY, taken)
    assert not await session.x11(DISPLAY, taken)
    (listener,) = (await guest_of(world)).listeners
    session.closed()
    session.closed()
    await until(lambda: listener.closed)
    assert listener.closed == 1
    assert world.heard_of(events.ListenerClosed) == [events.ListenerClosed(at=5.0, listener=0)]


async def test_displays_and_agents_come_before_the_program(world: World) -> None:
    allow(world)
    connection = await world.login()
    session = await connection.open_session()
    await session.start(ProgramKind.EXEC, b"true", Recorder(), None)
    assert not await session.x11(DISPLAY, taken)
    assert not await session.agent(taken)
    assert world.backend.guests[0].listeners == []


async def test_displays_and_agents_that_are_forbidden_leave_the_session_as_it_is(world: World) -> None:
    connection = await world.login()
    session = await connection.open_session()
    assert not await session.x11(DISPLAY, taken)
    assert not await session.agent(taken)
    await session.start(ProgramKind.EXEC, b"true", Recorder(), None)
    decided = [event for event in world.heard if isinstance(event, events.RequestDecided)]
    assert [(event.request, event.granted) for event in decided] == [
        ("x11-req", False),
        ("auth-agent-req@openssh.com", False),
        ("exec", True),
    ]
    assert b"00ff".decode() not in repr(world.heard)


async def test_an_agent_that_could_not_be_offered_can_be_asked_for_again(world: World) -> None:
    allow(world)
    connection = await world.login()
    session = await connection.open_session()
    guest = await guest_of(world)
    guest.refusal = Refused("no room")
    assert not await session.agent(taken)
    guest.refusal = None
    assert await session.agent(taken)
    assert len(guest.listeners) == 1


async def test_a_session_that_is_closed_meanwhile_keeps_no_display(world: World) -> None:
    allow(world)
    connection = await world.login()
    session = await connection.open_session()
    guest = await guest_of(world)
    guest.may_listen.clear()
    asked = asyncio.create_task(session.x11(DISPLAY, taken))
    await asyncio.sleep(0)
    session.closed()
    guest.may_listen.set()
    assert not await asked
    assert [listener.closed for listener in guest.listeners] == [1]
