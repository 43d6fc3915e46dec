"""Tunnels, displays and the user's agent, in the guest's own network and file system, with OpenSSH's client."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.megabytes import IS_NIGHTLY, MB, block, digest_of
from tests.e2e.places import Place
from tests.e2e.serving import free_port
from tests.e2e.waiting import until

KINDS = ("forwardingMode", "socketForwardingMode", "reverseForwardingMode", "socketListenMode")
ALL: dict[str, Any] = dict.fromkeys((*KINDS, "x11ForwardingMode", "agentForwardingMode"), "enable")
MUCH = 1024 if IS_NIGHTLY else 100
"""Megabytes through one tunnel."""
PORT = 7070
"""A port in guests; each has all of them to itself."""

# What Debian's smallest installation can run.  Both greet first and send back what they get until its end.
TCP_SERVER = """perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 256, LocalAddr => "127.0.0.1",
LocalPort => %d, ReuseAddr => 1) or die "no socket"; $SIG{CHLD} = "IGNORE"; syswrite STDOUT, "ready\\n";
while ($c = $s->accept) { if (fork) { close $c; next } syswrite $c, "hello "; while (sysread $c, $b, 65536)
{ for ($o = 0; $o < length $b; $o += syswrite $c, $b, length($b) - $o, $o) {} } exit }'"""
UNIX_SERVER = """perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Listen => 5, Local => "%s") or die "no socket";
syswrite STDOUT, "ready\\n"; while ($c = $s->accept) { syswrite $c, "hello "; while (sysread $c, $b, 65536)
{ syswrite $c, $b } close $c }'"""
TCP_CLIENT = """perl -MIO::Socket::INET -e '$c = IO::Socket::INET->new(PeerAddr => "127.0.0.1:%d") or die "refused";
syswrite $c, "from the guest"; shutdown $c, 1; while (sysread $c, $b, 65536) { print $b }'"""
UNIX_CLIENT = """perl -MIO::Socket::UNIX -e '$c = IO::Socket::UNIX->new(Peer => "%s") or die "refused";
syswrite $c, "from the guest"; shutdown $c, 1; while (sysread $c, $b, 65536) { print $b }'"""
ASK_AGENT = """perl -MIO::Socket::UNIX -e '$c = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die "none";
syswrite $c, pack("NC", 1, 11); sysread $c, $b, 65536; print $b'"""
ASK_DISPLAY = """perl -MIO::Socket::INET -e '
open F, $ENV{XAUTHORITY} || "$ENV{HOME}/.Xauthority" or die "no file"; binmode F; local $/; $f = <F>;
($n) = $ENV{DISPLAY} =~ /:(\\d+)/ or die "no display"; $o = 2;
while ($o < length $f) { @p = (); for (1..4) { $l = unpack "n", substr $f, $o; push @p, substr $f, $o + 2, $l;
$o += 2 + $l } $o += 2; @q = @p if $p[1] eq $n } @q or die "no cookie";
$c = IO::Socket::INET->new(PeerAddr => "127.0.0.1:" . (6000 + $n)) or die "refused";
syswrite $c, pack("a1xvvvvxx", "l", 11, 0, length $q[2], length $q[3])
. $q[2] . "\\0" x (-length($q[2]) % 4) . $q[3] . "\\0" x (-length($q[3]) % 4);
sysread $c, $b, 99; print "$b from $ENV{DISPLAY}"'"""


@pytest.fixture
def open_place(serve: Serve, backend: str) -> Place:
    """A server that forwards everything."""
    return serve(backend, security={"forwarding": ALL})


@contextmanager
def running(place: Place, program: str, *flags: str, ready: bytes = b"ready\n", **variables: str) -> Iterator[Any]:
    """A client with forwards, its program having said that it is ready."""
    command = place.user.command(program, flags=["-o", "ExitOnForwardFailure=yes", *flags])
    pipe = subprocess.PIPE
    environment = {**place.user.environment, **variables}
    client = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    try:
        assert client.stdout is not None
        said = client.stdout.read(len(ready))
        assert said == ready, client.communicate(timeout=10)
        yield client
    finally:
        client.kill()
        client.communicate()


def ask(where: int | Path, question: bytes) -> bytes:
    """Connect, send, half-close, and read to the end; the question may be larger than any buffer."""
    kind = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    with socket.socket(kind) as connection:
        connection.settimeout(15)
        connection.connect(str(where) if isinstance(where, Path) else ("127.0.0.1", where))

        def send() -> None:
            connection.sendall(question)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        answer = bytearray()
        while data := connection.recv(1 << 18):
            answer += data
        sender.join()
        return bytes(answer)


@contextmanager
def answering(path: Path | None = None) -> Iterator[int]:
    """A server on the client's side: greets, reads to the end, and sends back how much it was."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello ")
                while data := connection.recv(65536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield 0 if path else listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_many_local_tunnels_at_once(open_place: Place) -> None:
    port = free_port()
    with running(open_place, TCP_SERVER % PORT, "-L", f"{port}:127.0.0.1:{PORT}"), ExitStack() as stack:
        tunnels = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 15)) for _ in range(200)]
        for number, tunnel in enumerate(tunnels):
            assert tunnel.recv(6) == b"hello "
            tunnel.sendall(b"%03d" % number)
        for number, tunnel in enumerate(tunnels):
            assert tunnel.recv(3) == b"%03d" % number


@pytest.mark.timeout(1200 if IS_NIGHTLY else 120)
def test_much_goes_both_ways_through_a_tunnel(open_place: Place) -> None:
    port, digest = free_port(), hashlib.sha256()
    with (
        running(open_place, TCP_SERVER % PORT, "-L", f"{port}:127.0.0.1:{PORT}"),
        socket.create_connection(("127.0.0.1", port), 15) as tunnel,
    ):

        def send() -> None:
            for number in range(MUCH):
                tunnel.sendall(block(number))
            tunnel.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while data := tunnel.recv(MB):
            digest.update(data)
        sender.join()
    assert digest.hexdigest() == digest_of(MUCH, before=b"hello ")


def test_a_stalled_tunnel_stalls_nothing_else(open_place: Place) -> None:
    port = free_port()
    with running(open_place, TCP_SERVER % PORT, "-L", f"{port}:127.0.0.1:{PORT}"), ExitStack() as stack:
        stalled = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 1)) for _ in range(3)]
        for tunnel in stalled:
            with pytest.raises(TimeoutError):
                tunnel.sendall(bytes(64 << 20))  # it all comes back, and nobody reads it
        assert ask(port, b"x" * 500_000) == b"hello " + b"x" * 500_000


def test_tunnels_end_in_the_guests_own_network(open_place: Place) -> None:
    with answering() as ours:
        refused = open_place.user.run(flags=["-W", f"127.0.0.1:{ours}"])
    assert refused.returncode != 0
    assert b"hello" not in refused.stdout
    assert (
        b"open failed: connect failed"
        in open_place.user.run(flags=["-W", f"127.0.0.1:{ours}"], options=["LogLevel=INFO"]).stderr
    )


def test_unix_sockets_in_both_directions(open_place: Place, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "o", tmp_path / "t"
    with running(open_place, UNIX_SERVER % "/tmp/in-guest", "-L", f"{ours}:/tmp/in-guest"):
        assert ask(ours, b"to the guest") == b"hello to the guest"
    with answering(theirs):
        done = open_place.user.run(UNIX_CLIENT % "/tmp/reverse", flags=["-R", f"/tmp/reverse:{theirs}"])
    assert done.stdout == b"hello from the guest"


def test_reverse_tunnels_with_a_fixed_port_and_one_of_the_guests_choice(open_place: Place) -> None:
    with answering() as ours:
        done = open_place.user.run(TCP_CLIENT % PORT, flags=["-R", f"{PORT}:127.0.0.1:{ours}"])
        assert done.stdout == b"hello from the guest", done.stderr
        with open_place.user.opened() as shared:
            asked = shared.run(flags=["-O", "forward", "-R", f"0:127.0.0.1:{ours}"])
            port = int(asked.stdout)
            assert shared.run(TCP_CLIENT % port).stdout == b"hello from the guest"
            for verb in ("forward", "cancel"):
                assert not shared.run(flags=["-O", verb, "-R", f"{PORT}:127.0.0.1:{ours}"]).stderr
            until(lambda: b"refused" in shared.run(TCP_CLIENT % PORT).stderr, "the listener is gone")
            assert shared.run(TCP_CLIENT % port).stdout == b"hello from the guest"


@pytest.fixture
def agent(tmp_path: Path, key: Path) -> Iterator[str]:
    """The socket of a running ssh-agent that holds our key."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    until(lambda: Path(path).exists(), "the agent listens")
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env={**os.environ, "SSH_AUTH_SOCK": path})
    yield path
    process.kill()
    process.wait()


def test_the_users_agent_is_there_and_gone_with_the_connection(open_place: Place, agent: str) -> None:
    command = open_place.user.command(ASK_AGENT, flags=["-A"], options=["IdentityAgent=SSH_AUTH_SOCK"])
    environment = {**open_place.user.environment, "SSH_AUTH_SOCK": agent}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False, input=b"")
    assert done.stdout[4:9] == b"\x0c\0\0\0\1", done.stderr  # one key
    assert open_place.user.run("echo ${SSH_AUTH_SOCK:-none}").stdout == b"none\n"


def test_a_display(open_place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as screen:
        screen.settimeout(15)

        def show() -> None:
            connection, _ = screen.accept()
            with connection:
                first = connection.recv(12)
                connection.sendall(b"welcome" if first[:4] == b"l\0\x0b\0" else b"what?")

        shown = threading.Thread(target=show, daemon=True)
        shown.start()
        command = open_place.user.command(ASK_DISPLAY, flags=["-Y"])
        display = f"127.0.0.1:{screen.getsockname()[1] - 6000}"
        environment = {**open_place.user.environment, "DISPLAY": display}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False, input=b"")
        assert done.stdout.startswith(b"welcome from "), done.stderr
        shown.join(5)


def test_nothing_is_forwarded_unless_the_configuration_says_so(place: Place, tmp_path: Path) -> None:
    flags = ["-o", "ExitOnForwardFailure=no", "-A", "-Y", "-R", "0:127.0.0.1:9", "-R", f"/tmp/x:{tmp_path}/y"]
    command = place.user.command("echo ${DISPLAY:-no} ${SSH_AUTH_SOCK:-no}", flags=flags)
    environment = {**place.user.environment, "DISPLAY": "127.0.0.1:77", "SSH_AUTH_SOCK": str(tmp_path / "none")}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False, input=b"")
    assert done.stdout == b"no no\n"
    refused = place.user.run(flags=["-W", "127.0.0.1:9"], options=["LogLevel=INFO"])
    assert b"administratively prohibited" in refused.stderr


def test_a_filter_lets_through_what_it_lists(serve: Serve, backend: str) -> None:
    rules = {"forwardingMode": "filter", "allowedTargets": [f"127.0.0.0/8:{PORT}"]}
    place = serve(backend, security={"forwarding": rules})
    ports = free_port(), free_port()
    forwards = [f"{ports[0]}:127.0.0.1:{PORT}", f"{ports[1]}:127.0.0.1:{PORT + 1}"]
    with running(place, TCP_SERVER % PORT, "-L", forwards[0], "-L", forwards[1]):
        assert ask(ports[0], b"x") == b"hello x"
        with socket.create_connection(("127.0.0.1", ports[1]), 15) as connection:
            assert connection.recv(9) == b""
    refused = [record for record in place.server.records() if record.get("code") == "SECURITY_FORWARDING_REJECTED"]
    assert [record["details"]["target"] for record in refused] == [f"127.0.0.1:{PORT + 1}"]


def test_jumping_through_a_guest(serve: Serve) -> None:
    place = serve("sandbox", security={"forwarding": ALL}, sandbox={"network": "host"})
    proxy = " ".join(["ssh", *place.user.settings(), "-W", f"127.0.0.1:{place.server.port}", "127.0.0.1"])
    done = place.user.run("echo there", options=[f"ProxyCommand={proxy}"])
    assert done.stdout == b"there\n", done.stderr
