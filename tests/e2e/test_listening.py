"""Where a server listens, who has opened the socket, and who stands between it and its clients."""

from __future__ import annotations

import contextlib
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.clients import Client
from tests.e2e.conftest import Configure, Serve
from tests.e2e.places import USER
from tests.e2e.processes import cpu_seconds
from tests.e2e.serving import Server, free_port
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.haproxy import SOURCE, haproxy

pytestmark = pytest.mark.sandbox

HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_a_proxy_says_who_the_client_is_and_that_counts(serve: Serve, tmp_path: Path, send: str) -> None:
    penalties = {"authFailed": "60s", "exempt": ["127.0.0.1/32", f"{SOURCE}/32"]}
    place = serve("sandbox", ssh={"proxyProtocolAllowedCIDRs": [SOURCE], "penalties": penalties})
    with haproxy(tmp_path / "haproxy", target=place.server.port, send=send) as port:
        behind = replace(place.user, port=port)
        there, elsewhere = ["-b", "127.0.0.3"], ["-b", "127.0.0.4"]
        assert behind.run("echo in; cat", flags=there, input=b"and on").stdout == b"in\nand on"
        accepted = [r for r in place.server.records() if r.get("code") == "SSH_AUTH_SUCCESSFUL"]
        assert [record["details"]["remoteAddr"] for record in accepted] == ["127.0.0.3"]
        assert behind.run("true", flags=there, options=["User=stranger"]).returncode == 255
        until(lambda: "SSH_SOURCE_PENALISED" in place.server.log(), "the client is penalised")
        refused = behind.run("true", flags=there, options=["LogLevel=DEBUG1"])
        assert b"Not allowed at this time: failed authentication." in refused.stderr
        assert behind.run("echo in", flags=elsewhere).stdout == b"in\n"
    assert place.user.run("echo in").stdout == b"in\n", "who comes directly needs no header"


def test_a_client_cannot_lie_about_its_address(serve: Serve) -> None:
    place = serve("sandbox", ssh={"proxyProtocolAllowedCIDRs": [SOURCE]})
    with socket.create_connection(("127.0.0.1", place.server.port), timeout=10) as liar:
        liar.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 22\r\n")
        with contextlib.suppress(ConnectionResetError):
            while liar.recv(4096):
                pass
    assert "192.0.2.1" not in place.server.log()


def test_several_addresses_of_both_families(serve: Serve) -> None:
    need.ipv6()
    other = free_port()
    place = serve("sandbox", ssh={"alsoListen": [f"[::1]:{other}", f"127.0.0.2:{other}"]})
    for host in ("::1", "127.0.0.2"):
        done = place.user.run("echo in", options=[f"HostName={host}", f"Port={other}"])
        assert done.stdout == b"in\n", done.stderr
    assert place.user.run("echo in").stdout == b"in\n"
    accepted = [r["details"]["remoteAddr"] for r in place.server.records() if r.get("code") == "SSH_AUTH_SUCCESSFUL"]
    assert accepted[0] == "::1"


def test_a_service_manager_hands_the_socket_over_and_hears_that_we_are_ready(
    configure: Configure, key: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        handed = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15)
        early = stack.enter_context(socket.create_connection(handed.getsockname(), timeout=15))
        config = {**configure("sandbox"), "ssh": {"listen": "127.0.0.1:1"}}
        server = Server(
            tmp_path / "server",
            config,
            port=handed.getsockname()[1],
            environment={"NOTIFY_SOCKET": str(tmp_path / "notify")},
            prefix=[sys.executable, "-c", HAND_OVER, str(handed.fileno())],
            handed=[handed.fileno()],
        )
        server.configure(config)
        with server:
            assert manager.recv(100) == b"READY=1"
            assert early.recv(4) == b"SSH-", "who came before the server was started is served"
            user = Client(server.port, USER, tmp_path, key=key)
            assert user.run("env; ls /proc/self/fd").stdout.count(b"LISTEN_") == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_too_few_descriptors_cost_no_time_and_end_nothing(configure: Configure, key: Path, tmp_path: Path) -> None:
    ssh = {"maxStartups": {"begin": 1000, "rate": 30, "full": 2000}, "maxStartupsPerSource": 0}
    scarce = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    config = {**configure("sandbox"), "ssh": ssh}
    with Server(tmp_path / "server", config, prefix=scarce) as server, ExitStack() as held:
        user = Client(server.port, USER, tmp_path, key=key)
        for _ in range(100):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        until(lambda: "SSH_ACCEPT_FAILED" in server.log(), "no more can be accepted")
        before = cpu_seconds([server.pid])
        with contextlib.suppress(TimeoutError):  # a second, in which nothing is to happen
            late = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=1))
            late.recv(4)
        assert cpu_seconds([server.pid]) - before < 0.5
        assert server.log().count("SSH_ACCEPT_FAILED") < 6, "one line a second"
        held.close()
        until(lambda: user.run("echo in").stdout == b"in\n", "the server goes on", seconds=20)
