"""Listeners in the guest on the client's behalf, displays, the user's agent: with the real client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import RawChannel, Serve, Served
from tests.unit.ssh.fakes import FakeGateway

from moorage.gateway.model import AgentSocket, TcpTarget, UnixTarget, X11Display

SUCCESS, FAILURE = 81, 82
DEADLINE = 15


@contextlib.asynccontextmanager
async def echoing(path: Path | None = None) -> AsyncIterator[int]:
    """A server on the client's side that greets, and returns what it got when its input ends."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello ")
        with contextlib.suppress(ConnectionError):
            writer.write(await reader.read())
            writer.write_eof()
            await writer.drain()
        writer.close()

    if path is not None:
        server: asyncio.Server = await asyncio.start_unix_server(greet, path)
        port = 0
    else:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    async with server:
        yield port


async def ask(port: int | Path, question: bytes = b"you") -> bytes:
    """Connect inside the guest, send, half-close and read to the end."""
    async with asyncio.timeout(DEADLINE):
        if isinstance(port, Path):
            reader, writer = await asyncio.open_unix_connection(port)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(question)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def ask_often(port: int) -> bool:
    """Twenty at once, each with an answer of its own."""
    answers = await asyncio.gather(*(ask(port, b"%d" % number) for number in range(20)))
    return answers == [b"hello %d" % number for number in range(20)]


@contextlib.asynccontextmanager
async def running(served: Served, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """OpenSSH's client with these arguments, until the block ends."""
    process = await served.spawn("-o", "ExitOnForwardFailure=yes", *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def allocated(process: asyncio.subprocess.Process) -> int:
    """The port that the client says was allocated."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while line := await process.stderr.readline():
            if found := re.search(rb"Allocated port (\d+)", line):
                return int(found[1])
    raise AssertionError("no port was allocated")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def loopback() -> FakeGateway:
    return FakeGateway(may_dial=True, is_loopback=True)


async def test_local_forwards_reach_servers_that_speak_first_and_last(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    port = free_port()
    async with echoing() as target:
        result = await served.ssh("-W", f"127.0.0.1:{target}", "localhost", input=b"there")
        assert (result.code, result.out) == (0, b"hello there")
        async with running(served, "-v", "-N", "-L", f"{port}:127.0.0.1:{target}", "localhost") as client:
            await line_with(client, b"Entering interactive session")
            assert await asyncio.gather(*(ask(port, b"%d" % n) for n in range(20))) == [
                b"hello %d" % n for n in range(20)
            ]


async def line_with(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while line := await process.stderr.readline():
            if text in line:
                return line
    raise AssertionError(f"the client never said {text!r}")


async def test_a_connection_that_fails_says_why(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with served.client() as client:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.open_connection("127.0.0.1", free_port())
        assert (caught.value.code, caught.value.reason) == (asyncssh.OPEN_CONNECT_FAILED, "Connection refused.")


async def test_socks(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    port = free_port()
    async with echoing() as target, running(served, "-v", "-N", "-D", str(port), "localhost") as client:
        await line_with(client, b"Entering interactive session")
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x05\x01\x00")
            assert await reader.readexactly(2) == b"\x05\x00"
            writer.write(b"\x05\x01\x00\x01" + bytes([127, 0, 0, 1]) + target.to_bytes(2, "big") + b"me")
            writer.write_eof()
            assert (await reader.readexactly(10))[:2] == b"\x05\x00"
            assert await reader.read() == b"hello me"
            writer.close()


async def test_jumping_through_us(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    jump = f"ssh -F none -i {served.key} -p {served.port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    result = await served.ssh(
        "-o", f"ProxyCommand={jump} -l alice -W 127.0.0.1:{served.port} localhost", "localhost", "echo far"
    )
    assert (result.code, result.out) == (0, b"far\n")


async def test_a_reverse_forward_with_a_port_of_the_guests_choice(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with (
        echoing() as target,
        running(served, "-v", "-N", "-R", f"0:127.0.0.1:{target}", "localhost") as client,
    ):
        port = await allocated(client)
        assert await ask_often(port)
    assert loopback.listened == [TcpTarget("localhost", 0)]


async def test_several_listeners_and_a_megabyte_each(serve: Serve, loopback: FakeGateway, tmp_path: Path) -> None:
    served = await serve(loopback)
    port, path = free_port(), tmp_path / "in-guest"
    theirs = tmp_path / "at-client"
    data = os.urandom(1 << 20)
    async with (
        echoing() as target,
        echoing(theirs),
        running(
            served,
            *("-v", "-N", "-R", f"{port}:127.0.0.1:{target}", "-R", f"{path}:{theirs}", "localhost"),
        ) as client,
    ):
        await line_with(client, b"forward success")
        await line_with(client, b"forward success")
        answers = await asyncio.gather(ask(port, data), ask(path, data))
        assert set(answers) == {b"hello " + data}
    assert set(loopback.listened) == {TcpTarget("localhost", port), UnixTarget(os.fsencode(path))}


async def test_a_unix_socket_in_the_guest(serve: Serve, loopback: FakeGateway, tmp_path: Path) -> None:
    served = await serve(loopback)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    async with echoing(theirs), running(served, "-v", "-N", "-L", f"{ours}:{theirs}", "localhost") as client:
        await line_with(client, b"Entering interactive session")
        assert await ask(ours) == b"hello you"


async def test_a_connection_that_the_client_refuses_is_closed_alone(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with echoing() as target:
        nobody = free_port()
        async with running(
            served,
            *("-v", "-N", "-R", f"{free_port()}:127.0.0.1:{nobody}", "-R", f"0:127.0.0.1:{target}", "localhost"),
        ) as client:
            port = await allocated(client)
            dead = next(spec.port for spec in loopback.listened if isinstance(spec, TcpTarget) and spec.port)
            assert await ask(dead) == b""
            assert await ask(port) == b"hello you"


async def request(client: Any, name: bytes, *payload: bytes) -> tuple[int, bytes]:
    async with asyncio.timeout(DEADLINE):
        kind, packet = await client._make_global_request(name, *payload)
        return kind, packet.get_remaining_payload()


async def test_global_requests_that_nobody_understands_are_told_of_with_their_payload(served: Served) -> None:
    async with served.client() as client:
        for name, payload in (
            (b"no-such@example.com", b"\1\2\3"),
            (b"tcpip-forward", b"\0\0"),
            (b"cancel-streamlocal-forward@openssh.com", b""),
            (b"hostkeys-prove-00@openssh.com", b"\0\0\0\x09x"),
            (b"keepalive@openssh.com", b""),
            (b"y" * 3000, b"z" * 30_000),
        ):
            kind, _ = await request(client, name, payload)
            assert kind == asyncssh.constants.MSG_REQUEST_FAILURE
        [connection] = served.gateway.connections
        unknown, *malformed, long = connection.misunderstood
        assert unknown == (None, "no-such@example.com", b"\1\2\3", "")
        assert [(channel, name, payload) for channel, name, payload, _ in malformed] == [
            (None, "tcpip-forward", b"\0\0"),
            (None, "cancel-streamlocal-forward@openssh.com", b""),
            (None, "hostkeys-prove-00@openssh.com", b"\0\0\0\x09x"),
        ]
        assert all(reason for *_, reason in malformed)
        assert long == (None, "y" * 256, b"z" * 4096, "")


async def test_cancel_ends_the_listener_and_not_its_connections(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with echoing() as target, served.client() as client:
        listener = await client.forward_remote_port("", 0, "127.0.0.1", target)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        assert await reader.readexactly(6) == b"hello "
        listener.close()
        await asyncio.wait_for(loopback.listeners[0].is_closed.wait(), DEADLINE)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", listener.get_port())
        writer.write(b"still here")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b"still here"
        writer.close()


async def test_a_listener_twice_and_the_cancelling_of_none_are_refused(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    port = free_port()
    where = (String("localhost"), UInt32(port))
    async with served.client() as client:
        assert await request(client, b"tcpip-forward", *where) == (SUCCESS, b"")
        assert (await request(client, b"tcpip-forward", *where))[0] == FAILURE
        assert (await request(client, b"cancel-tcpip-forward", String(""), UInt32(port)))[0] == FAILURE
        assert (await request(client, b"cancel-tcpip-forward", *where))[0] == SUCCESS
        assert (await request(client, b"cancel-tcpip-forward", *where))[0] == FAILURE
        assert (await request(client, b"tcpip-forward", *where))[0] == SUCCESS
        assert (await request(client, b"cancel-streamlocal-forward@openssh.com", String("/x")))[0] == FAILURE
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"
    assert len(loopback.listened) == 2


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        (b"tcpip-forward", b""),
        (b"tcpip-forward", String("localhost")),
        (b"tcpip-forward", String("localhost") + UInt32(70000)),
        (b"tcpip-forward", String(b"\xff\n") + UInt32(70)),
        (b"tcpip-forward", String("a" * 256) + UInt32(70)),
        (b"tcpip-forward", String("localhost") + UInt32(0) + b"more"),
        (b"cancel-tcpip-forward", b"\xff\xff\xff\xff"),
        (b"streamlocal-forward@openssh.com", String("")),
        (b"streamlocal-forward@openssh.com", String(b"/a\0b")),
        (b"streamlocal-forward@openssh.com", String(b"/" * 5000)),
        (b"hostkeys-prove-00@openssh.com", b""),
        (b"hostkeys-prove-00@openssh.com", String("no key of ours")),
        (b"hostkeys-prove-00@openssh.com", b"\0\0\1"),
    ],
)
async def test_malformed_requests_are_refused(serve: Serve, loopback: FakeGateway, name: bytes, payload: bytes) -> None:
    served = await serve(loopback)
    async with served.client() as client:
        assert (await request(client, name, payload))[0] == FAILURE
        assert (await request(client, b"tcpip-forward", String("localhost"), UInt32(0)))[0] == SUCCESS
    assert loopback.listened == [TcpTarget("localhost", 0)]


async def test_answers_come_in_the_order_of_the_requests(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    loopback.before_listen = wait
    async with served.client() as client:
        first = asyncio.create_task(request(client, b"tcpip-forward", String("localhost"), UInt32(0)))
        second = asyncio.create_task(request(client, b"keepalive@openssh.com"))
        assert (await client.run("echo meanwhile", encoding=None)).stdout == b"meanwhile\n"
        assert not first.done()
        assert not second.done()
        gate.set()
        assert (await first)[0] == SUCCESS
        assert (await second)[0] == FAILURE


async def test_too_many_unanswered_requests_end_the_connection(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)

    async def wait() -> None:
        await asyncio.Event().wait()

    loopback.before_listen = wait
    async with served.client() as client:
        for _ in range(300):
            client.send_packet(80, String("tcpip-forward"), Boolean(False), String("localhost"), UInt32(0))
        await asyncio.wait_for(client.wait_closed(), DEADLINE)


async def test_a_client_that_answers_no_offer_claims_a_bounded_number(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback, max_channels=8)
    async with served.client() as client:
        kind, answer = await request(client, b"tcpip-forward", String("localhost"), UInt32(0))
        assert kind == SUCCESS
        client._process_forwarded_tcpip_open = hang
        ends = [await asyncio.open_connection("127.0.0.1", int.from_bytes(answer, "big")) for _ in range(12)]
        closed = {asyncio.create_task(reader.read()) for reader, _ in ends}
        for _ in range(4):
            done, closed = await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE)
            assert done
            if len(closed) == 8:
                break
        assert len(closed) == 8
        client.abort()
        await asyncio.wait_for(asyncio.wait(closed), DEADLINE)
        for _, writer in ends:
            writer.close()


def hang(packet: Any) -> Any:
    """What asyncssh's client does with an offer: it never answers."""
    packet.get_remaining_payload()

    class Channel:
        def process_open(self, *_: object) -> None: ...

    return Channel(), None


async def test_requests_on_forwarded_channels_are_refused(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with echoing() as target, served.client() as client:
        _, writer = await client.open_connection("127.0.0.1", target, encoding=None)
        assert not await writer.channel._make_request(b"keepalive@openssh.com")
        writer.close()
        assert (await client.run("echo fine", encoding=None)).stdout == b"fine\n"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running ssh-agent with one key."""
    key = tmp_path / "agent-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "my key", "-f", key], check=True)
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    environment = {"SSH_AUTH_SOCK": path}
    subprocess.run(["ssh-add", "-q", key], check=True, env={**os.environ, **environment})
    yield environment
    process.kill()
    process.communicate()


async def test_the_users_agent(serve: Serve, loopback: FakeGateway, agent: dict[str, str]) -> None:
    served = await serve(loopback)
    process = await served.spawn("-A", "localhost", "run ssh-add -l", environment=agent)
    out, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 0
    assert b"my key" in out
    assert loopback.listened == [AgentSocket()]
    assert (await served.ssh("-a", "localhost", "run echo ${SSH_AUTH_SOCK:-none}")).out == b"none\n"


async def ask_channel(client: Any, *requests: tuple[bytes, bytes]) -> tuple[RawChannel, list[bool]]:
    channel = RawChannel(client)
    await channel.open()
    return channel, [await channel.ask(name, payload) for name, payload in requests]


def display(
    *, single: bool = False, cookie: bytes = b"00ff", protocol: bytes = b"MIT-MAGIC-COOKIE-1"
) -> tuple[bytes, bytes]:
    return b"x11-req", Boolean(single) + String(protocol) + String(cookie) + UInt32(0)


def hello_to(offered: X11Display) -> bytes:
    """The first bytes of an X11 client that knows the cookie."""
    name, cookie = offered.protocol, bytes.fromhex(offered.cookie.decode())
    lengths = len(name).to_bytes(2, "little") + len(cookie).to_bytes(2, "little")
    return b"l\0\x0b\0\0\0" + lengths + b"\0\0" + name + bytes(-len(name) % 4) + cookie + bytes(-len(cookie) % 4)


async def test_x11_with_the_real_client(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.readexactly(12))
        writer.write(b"welcome")
        writer.close()

    async with await asyncio.start_server(show, "127.0.0.1", 0) as screen:
        number = screen.sockets[0].getsockname()[1] - 6000
        display = {"DISPLAY": f"127.0.0.1:{number}"}
        process = await served.spawn("-Y", "localhost", "stuck", environment=display)
        try:
            await until(lambda: loopback.listeners)
            (offered,) = loopback.listened
            assert isinstance(offered, X11Display)
            (variable,) = await until(lambda: [p.session.variables.get(b"DISPLAY", b"") for p in loopback.processes])
            port = int(variable.split(b":")[1].split(b".")[0]) + 6000
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(hello_to(offered))
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b"welcome"
            writer.close()
            assert (await got.get())[:4] == b"l\0\x0b\0"
        finally:
            process.kill()
            await process.communicate()


async def until(look: Any) -> Any:
    """What `look` sees, once it sees anything."""
    async with asyncio.timeout(DEADLINE):
        while not (seen := look()):
            await asyncio.sleep(0.01)
    return seen


async def test_displays_have_their_own_cookies(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with served.client() as client:
        for cookie in (b"00aa", b"00bb"):
            _, answers = await ask_channel(client, display(cookie=cookie), (b"exec", String("env")))
            assert answers == [True, True]
    assert loopback.listened == [
        X11Display(b"MIT-MAGIC-COOKIE-1", b"00aa"),
        X11Display(b"MIT-MAGIC-COOKIE-1", b"00bb"),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        display(cookie=b""),
        display(cookie=b"0"),
        display(cookie=b"no hex"),
        display(cookie=b"00" * 4000),
        display(protocol=b""),
        display(protocol=b"a b"),
        (b"x11-req", b"\x01"),
        (b"auth-agent-req@openssh.com", b"more"),
    ],
)
async def test_malformed_requests_for_displays_and_agents(serve: Serve, loopback: FakeGateway, asked: Any) -> None:
    served = await serve(loopback)
    async with served.client() as client:
        _, answers = await ask_channel(client, asked, (b"exec", String("echo fine")))
        assert answers == [False, True]
    assert loopback.listened == []


async def test_a_display_for_a_single_connection(serve: Serve, loopback: FakeGateway) -> None:
    served = await serve(loopback)
    async with served.client() as client:
        channel, answers = await ask_channel(client, display(single=True), (b"exec", String("stuck")))
        assert answers == [True, True]
        client._process_x11_open = hang
        (variable,) = [process.session.variables[b"DISPLAY"] for process in loopback.processes]
        port = int(variable.split(b":")[1].split(b".")[0]) + 6000
        first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert await asyncio.wait_for(second[0].read(), DEADLINE) == b""
        assert not first[0].at_eof()
        channel.close()
        for _, writer in (first, second):
            writer.close()


@pytest.mark.parametrize(
    ("known_first", "algorithms"),
    [(0, "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512"), (2, "rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp256")],
)
async def test_host_keys_are_announced_and_proved(
    serve: Serve, loopback: FakeGateway, known_first: int, algorithms: str
) -> None:
    keys = [asyncssh.generate_private_key(name) for name in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")]
    lines = [key.export_public_key().decode().strip() for key in keys]
    served = await serve(loopback, keys=keys)
    known = served.directory / "known"
    known.write_text(f"[127.0.0.1]:{served.port} {lines[known_first]}\n")
    learning = "-o", "UpdateHostKeys=yes", "-o", f"HostKeyAlgorithms={algorithms}", "127.0.0.1", "cat"
    wanted = {line.split()[1] for line in lines}
    async with running(served, *learning):
        await until(lambda: {line.split()[2] for line in known.read_text().splitlines()} == wanted)


async def test_proofs_are_not_given_without_end(serve: Serve, loopback: FakeGateway) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    served = await serve(loopback, keys=[key])
    blob = String(key.public_data)
    name = b"hostkeys-prove-00@openssh.com"
    async with served.client() as client:
        assert (await request(client, name, blob, blob))[0] == FAILURE
        answers = [(await request(client, name, blob))[0] for _ in range(6)]
        assert answers == [SUCCESS] * 3 + [FAILURE] * 3


async def test_a_program_starts_after_the_listeners_that_were_asked_for_before_it(serve: Serve) -> None:
    may_listen = asyncio.Event()

    async def hold() -> None:
        await may_listen.wait()

    gateway = FakeGateway(is_loopback=True, before_listen=hold)
    served = await serve(gateway)
    async with served.client() as client:

        async def listen() -> Any:
            return await client.forward_remote_port("127.0.0.1", 0, "127.0.0.1", served.port)

        listening = asyncio.create_task(listen())
        while not gateway.listened:
            await asyncio.sleep(0.002)
        running = asyncio.create_task(client.run("echo in", encoding=None))
        await asyncio.wait({running}, timeout=0.1)
        assert gateway.processes == []
        may_listen.set()
        async with asyncio.timeout(10):
            (await listening).close()
            assert (await running).stdout == b"in\n"
