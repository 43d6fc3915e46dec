"""Conformance, fifth part: connections into the guest and out of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from moorage.errors import Refused
from moorage.gateway.contract import Backend, Guest, Listener, Receiver, Transport
from moorage.gateway.model import Address, AgentSocket, ListenSpec, Target, TcpTarget, UnixTarget, X11Display
from moorage.testing.streams import DEADLINE, Recorder
from moorage.testing.suite import Suite, command, ended, given_up, needs, resident_bytes, run, start
from moorage.testing.suite_terminal import terminal

MUCH = 200_000_000
"""Bytes of a large transfer."""

PATIENCE = 60.0
"""Seconds for a large transfer."""

MEMORY = 48_000_000
"""What a stuck tunnel may cost this process: windows, kernel buffers' copies, and the allocator's slack."""

MANY = 200
"""Tunnels at once."""

LOCAL = "127.0.0.1"

COOKIE = b"00112233445566778899aabbccddeeff"


@dataclass
class Incoming:
    """A connection that was accepted in the guest."""

    peer: Address | None
    transport: Transport
    recorder: Recorder


@dataclass
class Door:
    """Accepts connections and keeps them, in order."""

    greeting: bytes = b""
    keep: bool = True
    came: list[Incoming] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, peer: Address | None, transport: Transport) -> Receiver:
        self.came.append(Incoming(peer, transport, Recorder(keep=self.keep)))
        if self.greeting:
            transport.write(self.greeting)
        self._news.set()
        return self.came[-1].recorder

    async def until(self, count: int) -> Incoming:
        """The connection with this number, from 1."""
        async with asyncio.timeout(DEADLINE):
            while len(self.came) < count:
                self._news.clear()
                await self._news.wait()
        return self.came[count - 1]


class Echo(Recorder):
    """Sends back what comes, its end too."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(keep=False)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._transport.write(data)

    def eof_received(self) -> None:
        super().eof_received()
        self._transport.write_eof()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._transport.resume_reading()


def _chunks(total: int) -> Iterator[bytes]:
    """`total` bytes that repeat themselves nowhere near, cut unevenly."""
    chance = random.Random(total)
    block = chance.randbytes(1_000_003)
    while total > 0:
        at = chance.randrange(0, 900_000)
        chunk = block[at : at + min(total, chance.randrange(1, 100_000))]
        total -= len(chunk)
        yield chunk


async def _send(transport: Transport, recorder: Recorder, chunks: Iterable[bytes]) -> bytes:
    """Write `chunks` no faster than they are taken, then EOF; says their digest."""
    digest = hashlib.sha256()
    for chunk in chunks:
        if recorder.is_writing_paused:
            await recorder.until(lambda: not recorder.is_writing_paused, PATIENCE)
        digest.update(chunk)
        transport.write(chunk)
        await asyncio.sleep(0)
    transport.write_eof()
    return digest.digest()


async def dial(guest: Guest, target: Target, recorder: Recorder | None = None) -> tuple[Transport, Recorder]:
    """A connection, and what comes from it."""
    recorder = recorder or Recorder()
    return await asyncio.wait_for(guest.dial(target, recorder), DEADLINE), recorder


@contextlib.asynccontextmanager
async def listening(
    guest: Guest, spec: ListenSpec, accepted: Callable[[Address | None, Transport], Receiver]
) -> AsyncIterator[Listener]:
    """A listener, closed at the end."""
    listener = await asyncio.wait_for(guest.listen(spec, accepted), DEADLINE)
    try:
        yield listener
    finally:
        await asyncio.wait_for(listener.close(), DEADLINE)


async def _eof(recorder: Recorder) -> None:
    await recorder.until(lambda: "eof_received" in recorder.calls)


async def _lost(recorder: Recorder) -> None:
    await recorder.until_lost()
    assert recorder.cause is None


def _is_ended(recorder: Recorder) -> bool:
    """Whether the other end sends no more."""
    return bool({"eof_received", "connection_lost"} & set(recorder.calls))


BOTH = pytest.mark.parametrize("network", ["tcp", "unix"])


class ForwardTests(Suite):
    """Sentences of `Guest.dial`, `Guest.listen`, `Listener`, and of `Transport` where it is a tunnel.

    A class without `has_forwarding` has none of these tests: what it says instead is in `LifeTests`.
    """

    def __init_subclass__(cls) -> None:
        if not cls.has_forwarding:
            for name in vars(ForwardTests):
                if name.startswith("test_"):
                    setattr(cls, name, None)

    @contextlib.asynccontextmanager
    async def _door(self, guest: Guest, network: str, door: Door) -> AsyncIterator[Target]:
        """Where `door` listens: on the loopback, or on a path."""
        spec: Target = TcpTarget(LOCAL, 0) if network == "tcp" else UnixTarget(self.path("socket").encode())
        async with listening(guest, spec, door) as listener:
            assert listener.environment == {}
            assert (listener.port > 0) == (network == "tcp")
            yield TcpTarget(LOCAL, listener.port) if network == "tcp" else spec

    # ---- bytes and their ends

    @BOTH
    async def test_the_client_of_a_tunnel_may_speak_first(self, guest: Guest, network: str) -> None:
        """And end its direction first."""
        door = Door()
        async with self._door(guest, network, door) as target:
            transport, near = await dial(guest, target)
            transport.write(b"question")
            transport.write_eof()
            far = await door.until(1)
            await far.recorder.until_output(b"question")
            await _eof(far.recorder)
            far.transport.write(b"late ")
            far.transport.write(b"answer")
            far.transport.write_eof()
            await _lost(near)
            await _lost(far.recorder)
            assert near.stdout == b"late answer"
            assert far.recorder.stdout == b"question"

    @BOTH
    async def test_the_server_of_a_tunnel_may_speak_first(self, guest: Guest, network: str) -> None:
        """And end its direction first."""
        door = Door(b"welcome")
        async with self._door(guest, network, door) as target:
            transport, near = await dial(guest, target)
            await near.until_output(b"welcome")
            far = await door.until(1)
            far.transport.write_eof()
            await _eof(near)
            transport.write(b"still here")
            transport.write_eof()
            await _lost(far.recorder)
            await _lost(near)
            assert far.recorder.stdout == b"still here"

    @BOTH
    async def test_closing_a_tunnel_still_delivers_what_was_written(self, guest: Guest, network: str) -> None:
        door = Door()
        async with self._door(guest, network, door) as target:
            transport, near = await dial(guest, target)
            transport.write(bytes(1_000_000))
            transport.close()
            far = await door.until(1)
            await _eof(far.recorder)
            assert far.recorder.count == 1_000_000
            far.transport.close()
            await _lost(near)

    @BOTH
    async def test_much_passes_a_tunnel_unchanged(self, guest: Guest, network: str) -> None:
        """Into the guest by one tunnel and out of it by another."""
        door = Door(keep=False)
        async with self._door(guest, network, door) as target:
            transport, near = await dial(guest, target)
            digest = await _send(transport, near, _chunks(MUCH))
            far = (await door.until(1)).recorder
            await far.until(lambda: "eof_received" in far.calls, PATIENCE)
            assert far.count == MUCH
            assert far.sha256.digest() == digest
            transport.close()

    async def test_who_connects_is_told(self, guest: Guest) -> None:
        for network in ("tcp", "unix"):
            door = Door()
            async with self._door(guest, network, door) as target:
                transport, _ = await dial(guest, target)
                peer = (await door.until(1)).peer
                assert (peer.host if peer else None) == (LOCAL if network == "tcp" else None)
                transport.close()

    # ---- many, and stuck ones

    @BOTH
    async def test_many_tunnels_at_once(self, guest: Guest, network: str) -> None:
        def echo(peer: Address | None, transport: Transport) -> Receiver:
            return Echo(transport)

        spec: Target = TcpTarget(LOCAL, 0) if network == "tcp" else UnixTarget(self.path("socket").encode())
        async with listening(guest, spec, echo) as listener:
            target = TcpTarget(LOCAL, listener.port) if network == "tcp" else spec
            tunnels = await asyncio.gather(*(dial(guest, target) for _ in range(MANY)))
            for i, (transport, _) in enumerate(tunnels):
                transport.write(b"%d:" % i + bytes(10_000))
            for i, (transport, near) in enumerate(tunnels):
                await near.until(lambda near=near, i=i: near.count == 10_001 + len(str(i)))  # type: ignore[misc]
                transport.write_eof()
            for i, (_, near) in enumerate(tunnels):
                await _lost(near)
                assert near.stdout == b"%d:" % i + bytes(10_000)

    async def test_a_stuck_tunnel_stops_its_writer_and_nobody_else(self, guest: Guest) -> None:
        def accept(peer: Address | None, transport: Transport) -> Receiver:
            receiver = door(peer, transport)
            if len(door.came) == 1:
                transport.pause_reading()
            return receiver

        door = Door(keep=False)
        async with listening(guest, TcpTarget(LOCAL, 0), accept) as listener:
            target = TcpTarget(LOCAL, listener.port)
            stuck, near = await dial(guest, target)
            before = resident_bytes()
            written = 0
            digest = hashlib.sha256()
            quiet = 0
            while quiet < 20:  # until nothing more is taken, although everybody has had a turn
                if near.is_writing_paused:
                    quiet += 1
                    assert (await run(guest, "echo on")).stdout == b"on\n"
                    continue
                quiet = 0
                chunk = random.Random(written).randbytes(65_536)
                digest.update(chunk)
                stuck.write(chunk)
                written += len(chunk)
                await asyncio.sleep(0)
            assert resident_bytes() - before < MEMORY
            process, shell = await start(guest, command("cat", pty=terminal()))
            process.write(b"keys\n")
            await shell.until_output(b"keys\r\nkeys\r\n")
            other, other_near = await dial(guest, target)
            other.write(b"past it")
            await (await door.until(2)).recorder.until(lambda: door.came[1].recorder.count == 7)
            process.write(b"\x04")
            assert (await ended(process)).code == 0
            first = door.came[0]
            assert first.recorder.count == 0
            first.transport.resume_reading()
            stuck.write_eof()
            await _eof(first.recorder)
            assert first.recorder.count == written
            assert first.recorder.sha256.digest() == digest.digest()
            stuck.close()
            other.close()
            await _lost(other_near)

    # ---- what is given up

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 40])
    async def test_a_cancelled_dial_leaves_no_connection(self, guest: Guest, steps: int) -> None:
        door = Door()
        async with listening(guest, TcpTarget(LOCAL, 0), door) as listener:
            target, recorder = TcpTarget(LOCAL, listener.port), Recorder()
            transport = await given_up(guest.dial(target, recorder), steps)
            if transport is None:
                assert recorder.calls == []
            else:
                transport.close()
            kept, near = await dial(guest, target)
            kept.write(b"here")
            kept.write_eof()
            for number in itertools.count(1):
                one = await door.until(number)
                await one.recorder.until(partial(_is_ended, one.recorder))
                if one.recorder.stdout == b"here":
                    break
            kept.close()
            await _lost(near)

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 40])
    async def test_a_cancelled_listen_leaves_no_listener(self, guest: Guest, steps: int) -> None:
        async with listening(guest, TcpTarget(LOCAL, 0), Door()) as first:
            spec = TcpTarget(LOCAL, first.port)
        quicker = await given_up(guest.listen(spec, Door()), steps)
        if quicker is not None:
            await quicker.close()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    again = await guest.listen(spec, Door())
                except Refused:  # the address is still being given back
                    await asyncio.sleep(0.01)
                else:
                    break
        await again.close()

    # ---- refusals

    @needs("has_agent")
    async def test_a_connection_that_nobody_takes_is_refused_with_the_reason(self, guest: Guest) -> None:
        door = Door()
        async with self._door(guest, "tcp", door) as target:
            pass
        await self._is_refused(guest, target, "refused")
        await self._is_refused(guest, UnixTarget(self.path("nothing").encode()), "no such socket")
        await self._is_refused(guest, UnixTarget(b"relative"), "absolute")
        await self._is_refused(guest, UnixTarget(b"@abstract"), "absolute")
        await self._is_refused(guest, UnixTarget(b"/" + b"x" * 200), "too long")
        await self._is_refused(guest, TcpTarget("no such host", 80), "no such host")
        await self._is_refused(guest, TcpTarget(LOCAL, 0), "port")

    async def _is_refused(self, guest: Guest, target: Target, why: str) -> None:
        recorder = Recorder()
        with pytest.raises(Refused) as caught:
            await dial(guest, target, recorder)
        assert (why if self.has_agent else "") in caught.value.user_text.lower()
        assert recorder.calls == []

    @needs("has_agent")
    async def test_an_address_that_cannot_be_bound_is_refused_with_the_reason(self, guest: Guest) -> None:
        door = Door()
        path = self.path("file")
        assert (await run(guest, f"echo kept > {path}")).status.code == 0
        async with self._door(guest, "tcp", door) as target, self._door(guest, "unix", door) as there:
            specs: list[tuple[ListenSpec, str]] = [
                (target, "in use"),
                (there, "in use"),
                (UnixTarget(path.encode()), "in use"),
                (UnixTarget(path.encode() + b"/x"), "directory"),
                (TcpTarget("192.0.2.1", 0), "address"),
            ]
            for spec, why in specs:
                with pytest.raises(Refused) as caught:
                    await asyncio.wait_for(guest.listen(spec, door), DEADLINE)
                assert why in caught.value.user_text
        assert (await run(guest, f"cat {path}; rm {path}")).stdout == b"kept\n"

    async def test_a_connection_that_is_not_wanted_is_turned_away(self, guest: Guest) -> None:
        def turn_away(peer: Address | None, transport: Transport) -> Receiver:
            raise Refused("not you")

        async with listening(guest, TcpTarget(LOCAL, 0), turn_away) as listener:
            transport, near = await dial(guest, TcpTarget(LOCAL, listener.port))
            await near.until(lambda: bool({"eof_received", "connection_lost"} & set(near.calls)))
            transport.close()
            assert near.stdout == b""

    # ---- listeners

    @pytest.mark.parametrize("host", ["", "*", "0.0.0.0", "localhost", LOCAL])
    async def test_listeners_know_the_addresses_of_the_protocol(self, guest: Guest, host: str) -> None:
        async with listening(guest, TcpTarget(host, 0), Door(b"here")) as listener:
            for name in (LOCAL, "localhost"):
                transport, near = await dial(guest, TcpTarget(name, listener.port))
                await near.until_output(b"here")
                transport.close()

    @BOTH
    async def test_a_closed_listener_leaves_its_connections_and_its_address_free(
        self, guest: Guest, network: str
    ) -> None:
        door = Door()
        async with self._door(guest, network, door) as target:
            transport, near = await dial(guest, target)
            far = await door.until(1)
        await self._is_refused(guest, target, "refused" if network == "tcp" else "no such socket")
        transport.write(b"on")
        await far.recorder.until_output(b"on")
        far.transport.write(b"and on")
        await near.until_output(b"and on")
        async with listening(guest, target, Door(b"another")) as again:
            assert again.port == (target.port if isinstance(target, TcpTarget) else 0)
            _, other = await dial(guest, target)
            await other.until_output(b"another")
            await again.close()
        transport.close()
        await _lost(near)

    async def test_listeners_are_told_apart(self, guest: Guest) -> None:
        doors = [Door(b"%d." % i) for i in range(5)]
        async with contextlib.AsyncExitStack() as stack:
            listeners = [await stack.enter_async_context(listening(guest, TcpTarget(LOCAL, 0), door)) for door in doors]
            assert len({listener.port for listener in listeners}) == 5
            for i, listener in enumerate(listeners):
                _, near = await dial(guest, TcpTarget(LOCAL, listener.port))
                await near.until_output(b"%d." % i)

    async def test_a_socket_s_file_is_its_user_s_and_goes_with_it(self, guest: Guest) -> None:
        path = self.path("socket")
        async with listening(guest, UnixTarget(path.encode()), Door()):
            assert (await run(guest, f"stat -c '%a %F' {path}")).stdout == b"600 socket\n"
        assert (await run(guest, f"ls -A {path}")).status.code != 0

    # ---- displays and agents

    @contextlib.asynccontextmanager
    async def _at_home(self, backend: Backend) -> AsyncIterator[tuple[Guest, str]]:
        """A guest and the home directory that its programs know."""
        home = self.path("home")
        async with self.opened(backend, self.login(environment={"HOME": home})) as guest:
            assert (await run(guest, f"mkdir {home}")).status.code == 0
            yield guest, home
            await run(guest, f"rm -r {home}")

    @needs("has_agent")
    async def test_a_display_is_there_with_its_secret(self, backend: Backend) -> None:
        show = 'file=${XAUTHORITY:-$HOME/.Xauthority}; stat -c %a "$file" && cat "$file"'
        secret = bytes.fromhex(COOKIE.decode())
        async with self._at_home(backend) as (guest, home):
            door = Door(b"x")
            first = X11Display(b"MIT-MAGIC-COOKIE-1", COOKIE, screen=1)
            second = X11Display(b"MIT-MAGIC-COOKIE-1", COOKIE[::-1])
            async with listening(guest, first, door) as listener, listening(guest, second, Door()) as other:
                number, screen = listener.environment[b"DISPLAY"].removeprefix(b"localhost:").split(b".")
                assert (int(number) >= 10, screen, listener.port) == (True, b"1", 0)
                assert other.environment[b"DISPLAY"] != listener.environment[b"DISPLAY"]
                shown = (await run(guest, command(show, environment=listener.environment))).stdout
                assert shown.startswith(b"600\n")
                entry = b"".join(len(part).to_bytes(2) + part for part in (b"", number, b"MIT-MAGIC-COOKIE-1", secret))
                assert b"\xff\xff" + entry in shown
                assert shown.count(secret) == 2
                transport, near = await dial(guest, TcpTarget(LOCAL, 6000 + int(number)))
                await near.until_output(b"x")
                transport.close()
            await self._until_gone(guest, f"{home}/.Xauthority")

    @needs("has_agent")
    async def test_a_display_for_one_connection_takes_one(self, backend: Backend) -> None:
        async with self._at_home(backend) as (guest, _):
            door = Door(b"x")
            async with listening(guest, X11Display(b"MIT", COOKIE, single_connection=True), door) as listener:
                number = int(listener.environment[b"DISPLAY"].removeprefix(b"localhost:").split(b".")[0])
                transport, near = await dial(guest, TcpTarget(LOCAL, 6000 + number))
                await near.until_output(b"x")
                await self._is_refused(guest, TcpTarget(LOCAL, 6000 + number), "refused")
                transport.write(b"on")
                await (await door.until(1)).recorder.until_output(b"on")
                transport.close()

    @needs("has_agent")
    async def test_a_display_s_secret_leaves_the_others_alone(self, backend: Backend) -> None:
        other = b"\0\0\0\4\x7f\0\0\1\0\1" + b"5\0\3MIT\0\2ab"
        async with self._at_home(backend) as (guest, home):
            file = f"{home}/.Xauthority"
            await run(guest, f"cat > {file}", other)
            async with listening(guest, X11Display(b"MIT", COOKIE), Door()):
                assert (await run(guest, f"cat {file}")).stdout.endswith(other)
            async with asyncio.timeout(DEADLINE):
                while (await run(guest, f"cat {file}")).stdout != other:
                    pass

    @needs("has_agent")
    async def test_an_agent_s_socket_is_private_and_goes_with_its_listener(self, guest: Guest) -> None:
        door = Door()
        async with listening(guest, AgentSocket(), door) as listener:
            path = listener.environment[b"SSH_AUTH_SOCK"].decode()
            show = 'stat -c "%a %F" "$SSH_AUTH_SOCK" "$(dirname "$SSH_AUTH_SOCK")"'
            shown = await run(guest, command(show, environment=listener.environment))
            assert shown.stdout == b"600 socket\n700 directory\n"
            transport, near = await dial(guest, UnixTarget(path.encode()))
            transport.write(b"list")
            far = await door.until(1)
            await far.recorder.until_output(b"list")
            far.transport.write(b"none")
            await near.until_output(b"none")
        assert (await run(guest, f"ls -d {path}; ls -d {path.rpartition('/')[0]}")).stdout == b""
        transport.close()
        await _lost(near)

    async def _until_gone(self, guest: Guest, path: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await run(guest, f"ls -d {path}")).status.code == 0:
                pass

    # ---- the end

    async def test_a_lost_guest_ends_its_tunnels(self, backend: Backend) -> None:
        guest = await backend.open(self.login(), lambda line: None)
        try:
            door = Door()
            async with self._door(guest, "tcp", door) as target:
                _, near = await dial(guest, target)
                far = await door.until(1)
                await self.lose(backend, guest)
                for recorder in (near, far.recorder):
                    await recorder.until_lost()
                    assert recorder.cause is not None
        finally:
            await asyncio.wait_for(guest.close("lost"), DEADLINE)
        assert await self.leftovers(backend) == []
