"""Logging in: who is asked what, what counts, and what ends a connection."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String
from tests.unit.auth.certificates.security_key import SecurityKey
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway

from moorage.ssh.auth import MAX_REQUESTS, key_line, usable_key


async def test_a_password_reaches_the_gateway_as_it_was_typed(serve: Serve, tmp_path: Path) -> None:
    # SASLprep would make other passwords of these
    for password in ("pass\u00adword", "\u2168", " blank ", "ｆｕｌｌ"):
        served = await serve(FakeGateway(users={"alice": password.encode()}))
        result = await _by_password(served, password, tmp_path)
        assert (result[0], result[1]) == (0, b"in\n"), result
        assert served.gateway.passwords == [("alice", password.encode())]


async def _by_password(served: Served, password: str, directory: Path, *options: str) -> tuple[int, bytes, bytes]:
    ask = directory / "ask"
    ask.write_text("#!/bin/sh\nprintf '%s\\n' \"$SECRET\"\n")
    ask.chmod(0o700)
    process = await asyncio.create_subprocess_exec(
        "ssh",
        *("-F", "none", "-p", str(served.port), "-o", "StrictHostKeyChecking=no"),
        *("-o", f"UserKnownHostsFile={directory}/known", "-o", "LogLevel=INFO"),
        *("-o", "PubkeyAuthentication=no", *options, "alice@localhost", "echo in"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
            "SECRET": password,
            "LC_ALL": "C.UTF-8",
        },
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out, err


async def test_too_many_failures_end_the_connection_with_the_reason(served: Served, tmp_path: Path) -> None:
    code, _, err = await _by_password(served, "wrong", tmp_path, "-o", "NumberOfPasswordPrompts=20")
    assert code == 255
    assert b"Too many authentication failures" in err
    assert len(served.gateway.passwords) == 6


async def test_only_the_gateways_methods_are_on_offer(serve: Serve) -> None:
    for methods in (("publickey",), ("password",), ("password", "publickey")):
        served = await serve(FakeGateway(methods=methods))
        result = await served.ssh("-o", "PreferredAuthentications=none", "localhost")
        assert f"Permission denied ({','.join(methods)}).".encode() in result.err


async def test_a_banner_is_sent_once(serve: Serve, tmp_path: Path) -> None:
    served = await serve(banner="Be nice.\nAll is recorded.\n")
    _, _, err = await _by_password(served, "wrong", tmp_path)
    assert err.replace(b"\r", b"").count(b"Be nice.\nAll is recorded.\n") == 1


async def test_the_server_is_named_as_configured(serve: Serve) -> None:
    served = await serve(server_version="SSH-2.0-Custom_1.0 with comment")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    assert await reader.readline() == b"SSH-2.0-Custom_1.0 with comment\r\n"
    writer.close()


async def test_the_gateway_learns_the_clients_version(served: Served) -> None:
    async with served.client(client_version="Tester_7"):
        assert served.gateway.connections[0].version == "SSH-2.0-Tester_7"


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"])
async def test_keys_are_asked_as_one_line_and_decided_after_the_signature(served: Served, algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    line = " ".join(key.export_public_key().decode().split()[:2])
    served.gateway.keys.add(line)
    async with served.client(password=None, client_keys=[key]) as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"
    assert set(served.gateway.keys_asked) == {("alice", line)}
    assert served.gateway.keys_verified == [("alice", line)]


async def test_sha1_signatures_are_refused(served: Served) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    served.gateway.keys.add(" ".join(key.export_public_key().decode().split()[:2]))
    with pytest.raises(asyncssh.PermissionDenied):
        await served.client(password=None, client_keys=[key], signature_algs=["ssh-rsa"])
    assert served.gateway.keys_verified == []


class _Manual(asyncssh.SSHClient):
    """A client that is authenticated by hand."""

    connection: Any

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn


async def _manual(served: Served) -> tuple[Any, list[tuple[int, bytes]]]:
    """An unauthenticated connection and the user authentication packets that it receives."""
    received: list[tuple[int, bytes]] = []
    client = _Manual()

    async def connect() -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            await served.client(client_factory=lambda: client, password=None)

    task = asyncio.create_task(connect())
    async with asyncio.timeout(5):
        while not (served.gateway.connections and hasattr(client, "connection")):
            await asyncio.sleep(0.001)
        connection = client.connection

        def keep(_self: Any, kind: int, _number: int, packet: Any) -> None:
            received.append((kind, packet.get_remaining_payload()))

        connection._packet_handlers = {**connection._packet_handlers, 51: keep, 52: keep}
        connection.try_next_auth = lambda **_: None
        while not connection._auth_in_progress:
            await asyncio.sleep(0.001)
    connection.manual_task = task
    return connection, received


def _request(connection: Any, username: bytes, method: str, *rest: bytes, service: str = "ssh-connection") -> None:
    connection.send_packet(50, String(username), String(service), String(method), *rest)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_pipelined_requests_are_each_answered_in_order(served: Served) -> None:
    connection, received = await _manual(served)
    for password in (b"one", b"two", b"three"):
        _request(connection, b"alice", "password", Boolean(False), String(password))
    _request(connection, b"alice", "password", Boolean(False), String(b"secret"))
    await _until(lambda: len(received) == 4)
    assert [kind for kind, _ in received] == [51, 51, 51, 52]
    assert [password for _, password in served.gateway.passwords] == [b"one", b"two", b"three", b"secret"]
    connection.abort()
    await connection.manual_task


async def test_a_login_name_may_change_and_the_last_one_counts(served: Served) -> None:
    connection, received = await _manual(served)
    _request(connection, b"mallory", "password", Boolean(False), String(b"secret"))
    _request(connection, b"alice", "password", Boolean(False), String(b"secret"))
    await _until(lambda: len(received) == 2)
    assert [kind for kind, _ in received] == [51, 52]
    assert served.gateway.connections[0].username == "alice"
    connection.abort()
    await connection.manual_task


@pytest.mark.parametrize(
    "make",
    [
        lambda c: _request(c, b"alice", "hostbased", b"whatever"),
        lambda c: _request(c, b"alice", "\u00ff"),
        lambda c: _request(c, b"\xff\xfe", "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"", "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"a" * 300, "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"a" * 10_000, "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"alice\0", "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"alice\nroot", "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"alice\x1b[2J", "password", Boolean(False), String(b"secret")),
        lambda c: _request(c, b"alice", "password", Boolean(True), String(b"secret"), String(b"new")),
        lambda c: _request(c, b"alice", "publickey", Boolean(False), String(b"ssh-dss"), String(b"junk")),
        lambda c: _request(c, b"alice", "publickey", Boolean(False), String(b"ssh-ed25519"), String(b"junk")),
    ],
)
async def test_requests_that_nobody_need_be_asked_about_count_too(served: Served, make: Any) -> None:
    connection, received = await _manual(served)
    for _ in range(7):
        make(connection)
    cause = await asyncio.wait_for(served.gateway.connections[0].end, 5)
    await connection.manual_task
    assert [kind for kind, _ in received] == [51] * 5
    assert served.gateway.passwords == []
    assert cause is None


async def test_the_first_none_is_free_and_others_count(served: Served) -> None:
    connection, received = await _manual(served)
    for _ in range(7):
        _request(connection, b"alice", "none")
    await asyncio.wait_for(served.gateway.connections[0].end, 5)
    await connection.manual_task
    assert len(received) == 6


async def test_accepted_key_queries_are_free_but_not_endless(served: Served) -> None:
    connection, received = await _manual(served)
    key = asyncssh.generate_private_key("ssh-ed25519")
    served.gateway.keys.add(key_line(key.public_data))

    class Welcome(asyncssh.packet.SSHPacketHandler):
        logger = connection.logger

        def process_packet(self, pkttype: int, pktid: int, packet: Any) -> bool:
            received.append((pkttype, b""))
            return True

        def cancel(self) -> None:
            """Nothing is under way."""

    connection._auth = Welcome()
    for _ in range(MAX_REQUESTS + 5):
        _request(connection, b"alice", "publickey", Boolean(False), String(b"ssh-ed25519"), String(key.public_data))
    await asyncio.wait_for(served.gateway.connections[0].end, 5)
    await connection.manual_task
    assert received == [(60, b"")] * (MAX_REQUESTS - 1)
    assert len(served.gateway.keys_asked) == MAX_REQUESTS


async def test_a_forged_signature_fails(served: Served) -> None:
    connection, received = await _manual(served)
    key = asyncssh.generate_private_key("ssh-ed25519")
    served.gateway.keys.add(key_line(key.public_data))
    forged = String(b"ssh-ed25519") + String(bytes(64))
    parts = (Boolean(True), String(b"ssh-ed25519"), String(key.public_data), String(forged))
    _request(connection, b"alice", "publickey", *parts)
    await _until(lambda: received)
    assert received[0][0] == 51
    assert served.gateway.keys_verified == []
    connection.abort()
    await connection.manual_task


@pytest.mark.parametrize(
    "make",
    [
        lambda c: _request(c, b"alice", "password", Boolean(False)),
        lambda c: _request(c, b"alice", "password", Boolean(False), String(b"secret"), b"surplus"),
        lambda c: _request(c, b"alice", "password", service="ssh-other"),
        lambda c: c.send_packet(90, b"channel open before login"),
        lambda c: c.send_packet(80, String(b"global request"), Boolean(True)),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(served: Served, make: Any) -> None:
    connection, _ = await _manual(served)
    connection._auth_complete = True  # or the client would hold the last two back
    make(connection)
    assert isinstance(await asyncio.wait_for(served.gateway.connections[0].end, 5), asyncssh.DisconnectError)
    await connection.manual_task


async def test_a_client_that_leaves_ends_the_question(serve: Serve) -> None:
    cancelled = asyncio.Event()

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    served = await serve(FakeGateway(before_answer=hold))
    connection, _ = await _manual(served)
    _request(connection, b"alice", "password", Boolean(False), String(b"secret"))
    (mine,) = served.server.connections
    await _until(lambda: mine._recv_handler != mine._recv_pkthdr)
    connection.abort()
    async with asyncio.timeout(5):
        await cancelled.wait()
        await served.gateway.connections[0].end
    await connection.manual_task


# -- certificates ---------------------------------------------------------------------------------

CA = asyncssh.generate_private_key("ssh-ed25519")
USER = asyncssh.generate_private_key("ssh-ed25519")


def _certificate(**options: Any) -> asyncssh.SSHCertificate:
    return CA.generate_user_certificate(USER, "id", **options)


async def test_a_certificate_is_shown_to_the_gateway_whole(served: Served) -> None:
    certificate = _certificate(principals=["alice"])
    line = certificate.export_certificate().decode().strip()
    served.gateway.keys.add(line)
    async with served.client(password=None, client_keys=[(USER, certificate)]):
        assert served.gateway.keys_verified == [("alice", line)]
    assert line.startswith("ssh-ed25519-cert-v01@openssh.com AAAA")


@pytest.mark.parametrize("is_ecdsa", [False, True], ids=["ed25519", "ecdsa"])
@pytest.mark.parametrize("is_certified", [False, True], ids=["key", "certificate"])
@pytest.mark.parametrize("flags", [0, 1, 5])
async def test_what_a_security_key_has_seen_reaches_the_gateway(
    served: Served, tmp_path: Path, is_ecdsa: bool, is_certified: bool, flags: int
) -> None:
    key = SecurityKey(is_ecdsa)
    line, blob, name = key.line, key.blob, key.name
    if is_certified:
        line = _certified(key, tmp_path)
        blob, name = base64.b64decode(line.split()[1]), line.split()[0].encode()
    served.gateway.keys.add(line)
    connection, received = await _manual(served)
    parts = (Boolean(True), String(name), String(blob))
    request = bytes([50]) + b"".join(map(String, (b"alice", b"ssh-connection", b"publickey"))) + b"".join(parts)
    signature = key.sign(String(connection._session_id) + request, flags)
    _request(connection, b"alice", "publickey", *parts, String(signature))
    await _until(lambda: received)
    assert received[0][0] == 52
    assert served.gateway.keys_verified == [("alice", line)]
    assert served.gateway.presences == [(bool(flags & 1), bool(flags & 4))]
    connection.abort()
    await connection.manual_task


def _certified(key: SecurityKey, directory: Path) -> str:
    (directory / "key.pub").write_text(key.line)
    CA.write_private_key(directory / "ca", "openssh")
    (directory / "ca").chmod(0o600)
    command = ["ssh-keygen", "-q", "-s", f"{directory}/ca", "-I", "id", "-n", "alice", f"{directory}/key.pub"]
    subprocess.run(command, check=True)
    return " ".join((directory / "key-cert.pub").read_text().split()[:2])


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_the_key_that_a_certificate_is_about_is_the_one_that_signs(kind: str) -> None:
    user = asyncssh.generate_private_key(kind)
    certificate = CA.generate_user_certificate(user, "id", principals=["somebody-else"])
    for algorithm in user.sig_algorithms[:2]:
        name = b"ssh-ed25519-cert-v01@openssh.com" if kind == "ssh-ed25519" else algorithm + b"-cert-v01@openssh.com"
        if name != b"ssh-rsa-cert-v01@openssh.com":
            key = usable_key(name, certificate.public_data)
            assert key is not None
            assert key.public_data == user.public_data


def test_sha1_has_no_way_in_by_certificate_either() -> None:
    user = asyncssh.generate_private_key("ssh-rsa")
    certificate = CA.generate_user_certificate(user, "id")
    assert usable_key(b"ssh-rsa-cert-v01@openssh.com", certificate.public_data) is None


def test_what_is_no_certificate_is_no_key() -> None:
    whole = _certificate().public_data
    for blob in (whole[:-1], whole + b"x", USER.public_data, b""):
        assert usable_key(b"ssh-ed25519-cert-v01@openssh.com", blob) is None


def test_a_key_must_be_of_the_announced_type() -> None:
    assert usable_key(b"ecdsa-sha2-nistp256", USER.public_data) is None
    assert usable_key(b"ssh-ed25519", USER.public_data) is not None
