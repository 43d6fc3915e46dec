"""Real clients reach a real server behind, and what is wrong with it is told in one honest line."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.e2e.clients import Client, make_key
from tests.e2e.conftest import Configure
from tests.e2e.places import USER, Place
from tests.e2e.serving import Server, free_port
from tests.e2e.test_failures import assert_one_honest_line
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.sshd import Sshd, sshd

ALL = dict.fromkeys(("forwardingMode", "reverseForwardingMode", "socketForwardingMode", "socketListenMode"), "enable")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """The server behind."""
    with sshd(tmp_path_factory.mktemp("sshd"), Banner=str(banner(tmp_path_factory))) as running:
        yield running


def banner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("banner") / "banner"
    path.write_text("Authorised use only.\n")
    return path


Proxy = Callable[..., Place]


@pytest.fixture
def proxy(configure: Configure, key: Path, tmp_path: Path) -> Iterator[Proxy]:
    """Starts a server of ours before the one behind."""
    started: list[Server] = []

    def start(settings: dict[str, Any], **sections: Any) -> Place:
        directory = tmp_path / f"server{len(started)}"
        config = {**configure("sandbox"), "backend": "sshproxy", "sshproxy": settings, **sections}
        started.append(Server(directory, config))
        started[-1].start()
        return Place("sshproxy", started[-1], Client(started[-1].port, USER, directory, key=key))

    yield start
    for server in started:
        server.end()


def test_programs_files_and_statuses_come_from_the_server_behind(proxy: Proxy, behind: Sshd, tmp_path: Path) -> None:
    place = proxy(behind.settings())
    done = place.user.run("id -un; cat; echo err >&2; exit 7", input=b"typed")
    assert (done.stdout, done.returncode) == (f"{behind.user}\ntyped".encode(), 7)
    assert done.stderr == b"Authorised use only.\nerr\n"
    killed = place.user.run("kill -9 $$")
    assert killed.returncode != 0
    noise = random.Random(7).randbytes(30_000_000)
    (tmp_path / "up").write_bytes(noise)
    far = f"/tmp/moorage-{os.getpid()}-sshproxy"
    put = place.user.tool("sftp", "-b", "-", "guest", input=f"put {tmp_path}/up {far}\n".encode(), timeout=50)
    assert put.returncode == 0, put.stderr
    digest = place.user.run(f"sha256sum < {far}").stdout.split()[0].decode()
    assert digest == hashlib.sha256(noise).hexdigest()
    got = place.user.tool("scp", f"guest:{far}", str(tmp_path / "down"), timeout=50)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "down").read_bytes() == noise
    assert place.user.run(f"cat; rm {far}", input=noise, timeout=50).stdout == noise
    until(lambda: not behind.sessions(), "nothing is left on the server behind")


def test_a_terminal_is_one_there(proxy: Proxy, behind: Sshd) -> None:
    place = proxy(behind.settings())
    done = place.user.run("stty size; tty", flags=["-tt"])
    assert done.returncode == 0
    assert b"Authorised use only.\r\n" in done.stdout
    assert b"/dev/pts/" in done.stdout


def test_all_programs_of_a_login_share_one_connection(proxy: Proxy, behind: Sshd) -> None:
    place = proxy(behind.settings())
    with place.user.opened() as shared:
        for number in range(3):
            assert shared.run(f"echo {number}").stdout == f"{number}\n".encode()
        assert [line for line in behind.sessions().values() if line.startswith("sshd") and "[priv]" in line] == [
            f"sshd: {behind.user} [priv]"
        ]
    until(lambda: not behind.sessions(), "the connection is gone with the login")


def test_tunnels_lead_through_the_server_behind(proxy: Proxy, behind: Sshd, tmp_path: Path) -> None:
    place = proxy(behind.settings(), security={"forwarding": ALL})
    with socket.create_server(("127.0.0.1", 0)) as echo:
        threading.Thread(target=_answer_once, args=(echo,), daemon=True).start()
        port = echo.getsockname()[1]
        through = place.user.run(flags=["-W", f"127.0.0.1:{port}"], input=b"ping")
        assert through.stdout == b"pong ping"
    there = free_port()
    with socket.create_server(("127.0.0.1", 0)) as near:
        threading.Thread(target=_answer_once, args=(near,), daemon=True).start()
        back = f"127.0.0.1:{there}:127.0.0.1:{near.getsockname()[1]}"
        client = place.user.start("echo ready; cat", flags=["-R", back])
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        with socket.create_connection(("127.0.0.1", there), 10) as connection:
            connection.sendall(b"ping")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"pong ping"
        client.communicate(timeout=15)


def _answer_once(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.sendall(b"pong " + connection.makefile("rb").read())


def test_variables_and_files_of_the_login_are_there(proxy: Proxy, behind: Sshd) -> None:
    from tests.e2e.hooks import hooks, say

    far = f"/tmp/moorage-{os.getpid()}-secret"
    with hooks() as hook:
        hook.answers["/config"] = lambda request: say(
            config={}, environment={"GREETING": {"value": "hello"}}, files={far: {"value": "c2VjcmV0"}}
        )
        place = proxy(behind.settings(), configserver={"url": f"{hook.url}/config"})
        done = place.user.run(f'echo "$GREETING"; stat -c %a {far}; cat {far}; rm {far}')
    assert done.stdout == b"hello\n600\nsecret", done


def test_a_login_may_keep_its_name(proxy: Proxy, behind: Sshd) -> None:
    settings = {**behind.settings(), "usernamePassThrough": True}
    del settings["username"]
    place = proxy(settings)
    done = place.user.run("echo in")
    assert done.returncode == 255
    assert_one_honest_line(place, done.stderr)
    assert any(record["code"] == "SSHPROXY_BACKEND_HANDSHAKE_FAILED" for record in place.server.records())


def test_a_file_of_known_hosts_vouches_too(proxy: Proxy, behind: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known"
    public = behind.host_key.with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{behind.port} {public}")
    place = proxy(behind.settings(allowedHostKeyFingerprints=[], knownHosts=str(known)))
    assert place.user.run("echo in").stdout == b"in\n"
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{behind.port} {other}")
    assert place.user.run("echo in").returncode == 255


def test_a_certificate_of_a_host_ca(proxy: Proxy, tmp_path: Path) -> None:
    authority, host_key = make_key(tmp_path / "ca"), make_key(tmp_path / "host")
    signed = ["ssh-keygen", "-q", "-s", str(authority), "-I", "behind", "-h", "-n", "127.0.0.1", f"{host_key}.pub"]
    subprocess.run(signed, check=True)
    keys = {"HostKey": str(host_key), "HostCertificate": f"{host_key}-cert.pub"}
    known = tmp_path / "known"
    with sshd(tmp_path / "sshd", **keys) as running:
        running.host_key = host_key
        for signer, says in ((authority, b"in\n"), (make_key(tmp_path / "stranger"), b"")):
            known.write_text(f"@cert-authority * {signer.with_suffix('.pub').read_text()}")
            place = proxy(running.settings(allowedHostKeyFingerprints=[], knownHosts=str(known)))
            assert place.user.run("echo in").stdout == says
        # Whoever allows the key itself is not shown the certificate.
        assert proxy(running.settings()).user.run("echo in").stdout == b"in\n"


def test_algorithms_may_be_chosen(proxy: Proxy, tmp_path: Path) -> None:
    chosen = {"ciphers": ["aes256-ctr"], "kex": ["curve25519-sha256"], "macs": ["hmac-sha2-512"]}
    only = {"Ciphers": "aes256-ctr", "KexAlgorithms": "curve25519-sha256", "MACs": "hmac-sha2-512"}
    with sshd(tmp_path / "sshd", **only) as running:
        assert proxy(running.settings(**chosen)).user.run("echo in").stdout == b"in\n"
        place = proxy(running.settings(**{**chosen, "ciphers": ["aes128-ctr"]}))
        done = place.user.run("echo in")
        assert done.returncode == 255
        assert_one_honest_line(place, done.stderr)
        assert any(record["code"] == "SSHPROXY_BACKEND_HANDSHAKE_FAILED" for record in place.server.records())


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"allowedHostKeyFingerprints": ["SHA256:" + "A" * 43]}, "SSHPROXY_INVALID_FINGERPRINT"),
        ({"username": "nobody-of-that-name"}, "SSHPROXY_BACKEND_HANDSHAKE_FAILED"),
        ({"port": 1, "timeout": "1s"}, "SSHPROXY_BACKEND_FAILED"),
        ({"server": "no-such-host.invalid"}, "SSHPROXY_BACKEND_FAILED"),
    ],
    ids=["another host key", "another user", "nobody listens", "no such host"],
)
def test_a_server_behind_that_cannot_be_used(proxy: Proxy, behind: Sshd, changed: dict[str, Any], code: str) -> None:
    place = proxy(behind.settings(**changed))
    done = place.user.run("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert_one_honest_line(place, done.stderr)
    until(lambda: any(record["code"] == code for record in place.server.records()), code)


def test_a_server_that_says_nothing_is_given_up_in_time(proxy: Proxy, behind: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = proxy(behind.settings(port=mute.getsockname()[1], timeout="1s"))
        done = place.user.run("echo in")
    assert done.returncode == 255
    assert_one_honest_line(place, done.stderr)
    assert any(record["code"] == "SSHPROXY_BACKEND_HANDSHAKE_FAILED" for record in place.server.records())


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["gone", "no text"])
def test_known_hosts_that_cannot_be_read(proxy: Proxy, behind: Sshd, tmp_path: Path, content: bytes | None) -> None:
    known = tmp_path / "known"
    known.write_text("")
    place = proxy(behind.settings(knownHosts=str(known)))
    known.unlink() if content is None else known.write_bytes(content)
    done = place.user.run("echo in")
    assert done.returncode == 255
    assert_one_honest_line(place, done.stderr)
    until(lambda: any(record["code"] == "BACKEND_CONFIG_ERROR" for record in place.server.records()), "the code")


def test_a_connection_that_is_cut_ends_the_login_with_a_line(proxy: Proxy, behind: Sshd) -> None:
    place = proxy(behind.settings())
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    behind.cut()
    out, err = client.communicate(timeout=15)
    assert out == b""
    assert client.returncode != 0
    assert_one_honest_line(place, err.removeprefix(b"Authorised use only.\n"))
    assert place.user.run("echo again").stdout == b"again\n"


def test_dropbear_behind(proxy: Proxy, tmp_path: Path) -> None:
    program, convert = need.program("dropbear", "dropbear-bin"), need.program("dropbearkey", "dropbear-bin")
    key = make_key(tmp_path / "key")
    host_keys, fingerprints = [tmp_path / "rsa", tmp_path / "ed25519"], []
    for one in host_keys:
        made = subprocess.run([convert, "-t", one.name, "-f", one], check=True, capture_output=True, text=True)
        public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-"))
        listed = subprocess.run(["ssh-keygen", "-lf", "-"], input=public, check=True, capture_output=True, text=True)
        fingerprints.append(listed.stdout.split()[1])
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh" / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    port = free_port()
    passwd = tmp_path / "passwd"
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[0] != getpass.getuser()]
    lines.append(f"{getpass.getuser()}:x:{os.getuid()}:{os.getgid()}::{home}:/bin/sh")
    passwd.write_text("\n".join(lines) + "\n")
    need.root()
    keys = [word for one in host_keys for word in ("-r", str(one))]
    command = [str(program), "-F", "-E", *keys, "-p", f"127.0.0.1:{port}", "-P", str(tmp_path / "pid")]
    mounted = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/passwd; shift; exec "$@"', "sh", str(passwd)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*mounted, *command], stdin=subprocess.DEVNULL, stderr=log)
    try:
        settings = {
            "server": "127.0.0.1",
            "port": port,
            "username": getpass.getuser(),
            "privateKey": str(key),
            "allowedHostKeyFingerprints": fingerprints,
        }
        place = proxy(settings)
        done = place.user.run("cat; exit 5", input=b"by dropbear")
        assert (done.stdout, done.returncode) == (b"by dropbear", 5), (done.stderr, (tmp_path / "log").read_text())
        assert b"/dev/pts/" in place.user.run("tty", flags=["-tt"]).stdout
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@contextmanager
def by_password(directory: Path) -> Iterator[dict[str, Any]]:
    """An asyncssh server that takes a password, in a thread of its own, and how it is reached."""
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    ready: list[int] = []
    connections: list[asyncssh.SSHServerConnection] = []

    class Door(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("mia", "open sesame")

    async def session(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(await process.stdin.read())
        process.stdout.write((process.command or "").encode())
        process.exit(9)

    async def serve() -> None:
        listening = await asyncssh.create_server(
            Door, "127.0.0.1", 0, server_host_keys=[key], process_factory=session, encoding=None
        )
        ready.append(listening.get_port())
        await over.wait()
        listening.close()
        for one in connections:
            one.abort()
            await one.wait_closed()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: ready, "it listens")
    yield {
        "server": "127.0.0.1",
        "port": ready[0],
        "usernamePassThrough": True,
        "password": "open sesame",
        "allowedHostKeyFingerprints": [key.get_fingerprint()],
    }
    loop.call_soon_threadsafe(over.set)
    thread.join(10)


def test_a_server_of_another_make_that_takes_a_password(proxy: Proxy, tmp_path: Path) -> None:
    with by_password(tmp_path) as settings:
        place = proxy(settings)
        done = place.user.run("a command", input=b"input ")
        assert (done.stdout, done.returncode) == (b"input a command", 9)
        assert "open sesame" not in place.server.log()


def test_an_sftp_jail_is_refused_there(proxy: Proxy, behind: Sshd) -> None:
    place = proxy(behind.settings(), security={"sftp": {"root": "/tmp"}})
    done = place.user.tool("sftp", "-b", "-", "guest", input=b"ls\n")
    assert done.returncode != 0
    assert b"SFTP is not available" in done.stderr + done.stdout
