"""Connections are recorded as they are: by a real server, with real clients, through crashes and full disks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients import make_key
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD, Place
from tests.e2e.serving import CANARY, MOORAGE
from tests.e2e.waiting import until
from tests.parts import need

from moorage.audit.reading.source import FileSource
from moorage.audit.reading.summary import State, summary
from moorage.audit.recording import Message, read

ALL = {"stdin": True, "stdout": True, "stderr": True, "forwarding": True}


def audit(directory: Path, **changed: Any) -> dict[str, Any]:
    directory.mkdir(exist_ok=True)
    settings = {"enable": True, "format": "binary", "storage": "file", "file": {"directory": str(directory)}}
    return {**settings, "intercept": ALL, **changed}


def messages(path: Path) -> list[Message]:
    found = list(read([path.read_bytes()]))
    assert all(isinstance(one, Message) for one in found), found
    return [one for one in found if isinstance(one, Message)]


def recordings(directory: Path) -> list[list[Message]]:
    """All finished recordings of logins."""
    every = [messages(path) for path in directory.iterdir() if "." not in path.name]
    return [one for one in every if any(message.number == 199 for message in one)]


def one(directory: Path) -> list[Message]:
    """The only recording of a login, once it is finished."""
    until(lambda: len(recordings(directory)) == 1, "the recording is finished", seconds=15)
    return recordings(directory)[0]


def stream(recording: list[Message], number: int) -> bytes:
    return b"".join(
        message.payload["data"]
        for message in recording
        if message.number == 500 and message.payload["stream"] == number
    )


def test_recordings_are_encrypted_when_they_are_finished(serve: Serve, tmp_path: Path) -> None:
    identity = make_key(tmp_path / "auditor")
    directory = tmp_path / "audit"
    recipient = identity.with_suffix(".pub").read_text().strip()
    place = serve("sandbox", audit=audit(directory, recipients=[recipient]))
    assert place.user.run("echo for your eyes only").returncode == 0
    command = [str(MOORAGE), "audit", "grep", "-F", "eyes only", str(directory), "--identity", str(identity)]

    def found() -> bytes:
        return subprocess.run(command, capture_output=True, timeout=40, check=False).stdout

    until(lambda: not list(directory.glob("*.part")), "all are finished", seconds=15)
    assert found().count(b"for your eyes only") >= 1
    assert not any(b"ContainerSSH" in path.read_bytes()[:64] for path in directory.iterdir())
    sealed = [path for path in directory.iterdir() if path.suffix == ".age"]
    assert sealed
    verify = [str(MOORAGE), "audit", "verify", "--identity", str(identity), str(directory)]
    assert subprocess.run(verify, capture_output=True, timeout=40, check=False).returncode == 0
    sealed[0].write_bytes(sealed[0].read_bytes()[:-1])
    cut = subprocess.run(verify, capture_output=True, timeout=40, check=False)
    assert cut.returncode == 1
    assert b"cannot be decrypted" in cut.stderr


def test_a_server_that_was_killed_leaves_what_the_next_encrypts(serve: Serve, tmp_path: Path) -> None:
    identity = make_key(tmp_path / "auditor")
    directory = tmp_path / "audit"
    recipient = identity.with_suffix(".pub").read_text().strip()
    place = serve("sandbox", audit=audit(directory, recipients=[recipient]))
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    until(lambda: any(b"ContainerSSH" in path.read_bytes() for path in directory.glob("*.part")), "it is being written")
    place.server.process.kill()
    place.server.wait()
    client.communicate(timeout=15)
    place.server.start()
    until(lambda: list(directory.glob("*.age")), "it is encrypted")
    command = [str(MOORAGE), "audit", "ls", "--json", "--logins", "--identity", str(identity), str(directory)]
    done = subprocess.run(command, capture_output=True, timeout=40, check=True)
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["recovered"]


def test_a_command_with_input_and_output_is_recorded(serve: Serve, backend: str, tmp_path: Path) -> None:
    place = serve(backend, audit=audit(tmp_path / "audit"))
    done = place.user.run("cat; echo err >&2; exit 3", input=b"in \xff\n")
    assert (done.stdout, done.returncode) == (b"in \xff\n", 3)
    recording = one(tmp_path / "audit")
    assert [message.number for message in recording if message.number not in {402, 500}] == [
        *(0, 200, 104, 105, 199, 301, 403, 496, 499, 497, 1, 200)
    ]
    assert (stream(recording, 0), stream(recording, 1), stream(recording, 2)) == (b"in \xff\n", b"in \xff\n", b"err\n")
    by_number = {message.number: message for message in recording}
    assert by_number[0].payload["remoteAddr"] == "127.0.0.1"
    assert by_number[403].payload["program"] == "cat; echo err >&2; exit 3"
    assert by_number[499].payload["exitStatus"] == 3
    assert by_number[105].payload["key"].startswith("ssh-ed25519 AAAA")
    stamps = [message.timestamp for message in recording]
    assert stamps == sorted(stamps)
    [identity] = {message.connection_id for message in recording}
    assert (tmp_path / "audit" / identity).exists()
    assert any(record["details"].get("connectionId") == identity for record in place.server.records())


def test_a_recording_is_sealed_and_signed_with_the_server_s_key(serve: Serve, tmp_path: Path) -> None:
    key = make_key(tmp_path / "seal")
    place = serve("sandbox", audit=audit(tmp_path / "audit", signingKey=str(key)))
    assert place.user.run("echo in").stdout == b"in\n"
    one(tmp_path / "audit")
    until(lambda: not list((tmp_path / "audit").glob("*.part")), "all recordings are finished", seconds=15)
    command = [str(MOORAGE), "audit", "verify", "--key", str(key.with_suffix(".pub")), str(tmp_path / "audit")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout
    assert all(line.endswith("messages, signed") for line in done.stdout.splitlines())


def test_without_interception_facts_alone_are_recorded(serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit", intercept={}))
    assert place.user.run("cat", input=b"in").stdout == b"in"
    recording = one(tmp_path / "audit")
    assert 500 not in {message.number for message in recording}
    assert 403 in {message.number for message in recording}


@pytest.mark.parametrize("kept", [True, False])
def test_passwords_are_recorded_only_when_asked_for(serve: Serve, tmp_path: Path, kept: bool) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit", intercept={"passwords": kept}))
    pat = replace(place.user, user="pat", key=None, password=PASSWORD)
    assert pat.run("true").returncode == 0
    tried = [message for message in one(tmp_path / "audit") if message.number in {100, 101}]
    assert [message.number for message in tried] == [100, 101]
    assert {message.payload["password"] for message in tried} == {PASSWORD.encode() if kept else b""}


def test_a_terminal_s_session_is_recorded_with_its_sizes(serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit"))
    done = place.user.run("", flags=["-tt"], input=b"stty size\nexit\n")
    assert done.returncode == 0
    recording = one(tmp_path / "audit")
    numbers = [message.number for message in recording]
    assert numbers.index(404) < numbers.index(405) < numbers.index(500)
    assert b"stty size" in stream(recording, 0)
    assert b"stty size" in stream(recording, 1)


def test_a_tunnel_is_recorded_both_ways(serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit"), security={"forwarding": {"forwardingMode": "enable"}})
    with place.user.opened() as shared:
        server = shared.start("exec python3 -c '" + _ECHO + "' || exec sleep 30")
        assert server.stdout is not None
        port = server.stdout.readline().strip().decode()
        if not port.isdecimal():
            server.kill()
            server.communicate()
            pytest.fail(f"no echo server in the sandbox: {port!r}")
        done = shared.run(flags=["-W", f"127.0.0.1:{port}"], input=b"over the tunnel")
        assert done.stdout == b"OVER THE TUNNEL"
        server.communicate(timeout=20)  # it serves one connection
    recording = one(tmp_path / "audit")
    [asked] = [message for message in recording if message.number == 303]
    data = [m.payload for m in recording if m.number == 500 and m.channel == asked.channel]
    sent = b"".join(part["data"] for part in data if part["stream"] == 1)
    received = b"".join(part["data"] for part in data if part["stream"] == 0)
    assert (sent, received) == (b"over the tunnel", b"OVER THE TUNNEL")


_ECHO = (
    'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); '
    "c, _ = s.accept(); d = c.recv(99); c.sendall(d.upper()); c.close()"
)


def test_a_recording_survives_kill_9_and_is_finished_at_the_next_start(serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit"))
    session = place.user.start("echo before; exec sleep 60")
    assert session.stdout is not None
    assert session.stdout.readline() == b"before\n"

    def part() -> list[Message]:
        every = [messages(path) for path in (tmp_path / "audit").glob("*.part")]
        return next((found for found in every if b"before\n" in stream(found, 1)), [])

    until(lambda: bool(part()), "the output is recorded", seconds=15)
    place.server.signal(signal.SIGKILL)
    place.server.wait()
    session.communicate(timeout=20)
    assert stream(part(), 1) == b"before\n"
    place.server.start()
    assert stream(one(tmp_path / "audit"), 1) == b"before\n"
    until(lambda: not list((tmp_path / "audit").glob("*.part")), "no recording is left unfinished", seconds=15)
    assert "AUDIT_RECOVERED" in {record["code"] for record in place.server.records()}
    [path] = [one for one in (tmp_path / "audit").iterdir() if b"before\n" in stream(messages(one), 1)]
    found = summary(FileSource(path))
    assert (found.state, found.is_sealed, found.altered) == (State.RECOVERED, True, "")


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    need.root()
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        need.missing(f"the right to mount ({mounted.stderr.strip()})")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def flood(place: Place, kilobytes: int) -> subprocess.CompletedProcess[bytes]:
    return place.user.run(f"head -c {kilobytes * 1024} /dev/urandom | base64")


def test_a_full_disk_turns_new_connections_away_until_there_is_room(serve: Serve, tmp_path: Path) -> None:
    with small_disk(tmp_path / "audit") as disk:
        place = serve("sandbox", audit=audit(disk))
        session = place.user.start("cat")
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"hello\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"hello\n"
        ballast = disk / "ballast.x"
        ballast.write_bytes(bytes(300_000))
        rest = b"".join(b"%064x\n" % (number * 7919**9) for number in range(8000))
        session.stdin.write(rest)
        session.stdin.flush()
        got = b""
        while len(got) < len(rest):
            got += session.stdout.read1(65536)  # type: ignore[attr-defined]
        assert got == rest

        def codes() -> list[str]:
            return [record["code"] for record in place.server.records()]

        until(lambda: "AUDIT_STORAGE_FAILED" in codes(), "the full disk is noticed", seconds=15)
        refused = place.user.run("echo in")
        assert refused.returncode == 255
        ballast.unlink()
        until(lambda: "AUDIT_STORAGE_WORKS" in codes(), "there is room again", seconds=20)
        session.communicate(b"bye\n", timeout=20)
        recording = one(disk)
        assert stream(recording, 1) == b"hello\n" + rest + b"bye\n"
        assert CANARY not in place.server.log()


def test_asciicast_has_what_was_shown(serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(tmp_path / "audit", format="asciinema"))
    assert place.user.run("echo in; echo err >&2").stdout == b"in\n"

    def casts() -> list[str]:
        files = [path for path in (tmp_path / "audit").iterdir() if "." not in path.name]
        return [text for path in files if "echo in" in (text := path.read_text())]

    until(lambda: len(casts()) == 1, "the recording is finished", seconds=15)
    header, *lines = casts()[0].splitlines()
    start = r'\{"version":2,"width":80,"height":25,"timestamp":\d+,'
    assert re.fullmatch(start + r'"command":"echo in; echo err >&2","title":"","env":\{.*\}\}', header)
    assert sorted(line.split(",", 1)[1] for line in lines) == ['"o","err\\n"]', '"o","in\\n"]']


def test_files_are_told_of_and_kept_by_hash_whatever_brings_them(serve: Serve, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    settings = audit(tmp_path / "audit", intercept={"files": True}, capture={"directory": str(kept)})
    place = serve("sandbox", audit=settings)
    content = os.urandom(3_000_000)
    digest = hashlib.sha256(content).hexdigest()
    file = tmp_path / "payload"
    file.write_bytes(content)
    back = tmp_path / "back"
    batch = f"put {file} one\nget one {back}\nrename one two\nmkdir d\nrm two\n"
    done = place.user.tool("sftp", "-b", "-", "guest", input=batch.encode())
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == content
    assert place.user.tool("scp", "-O", str(file), "guest:by-scp").returncode == 0
    assert place.user.run("cat > by-cat", input=b"dropped").returncode == 0
    until(lambda: len(recordings(tmp_path / "audit")) == 3, "all three are recorded", seconds=20)
    command = [str(MOORAGE), "audit", "files", "--json", str(tmp_path / "audit"), "--kept", str(kept)]
    out = subprocess.run([*command, "--extract", str(tmp_path / "out")], capture_output=True, timeout=30, check=True)
    facts = [json.loads(line) for line in out.stdout.splitlines()]
    told = {(fact["operation"], fact["path"].rpartition("/")[2], fact.get("sha256", "")) for fact in facts}
    dropped = hashlib.sha256(b"dropped").hexdigest()
    assert told == {
        ("upload", "one", digest),
        ("download", "one", digest),
        ("rename", "one", ""),
        ("mkdir", "d", ""),
        ("remove", "two", ""),
        ("upload", "payload", digest),
        ("stdin", "cat > by-cat", dropped),
    }
    assert all(fact["result"] == "ok" for fact in facts)
    assert {path.name for path in kept.iterdir()} == {digest, dropped}
    assert {path.read_bytes() for path in (tmp_path / "out").iterdir()} == {content, b"dropped"}
    assert all(500 not in {message.number for message in found} for found in recordings(tmp_path / "audit"))
