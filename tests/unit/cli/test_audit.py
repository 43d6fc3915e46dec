"""``moorage audit`` as it is used: in pipes, with filters, on whole, cut and hostile recordings."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from moorage.audit.codec import Entry, Packer, encode
from moorage.audit.recorder import Binary
from moorage.gateway.model import ConnectionId

MOORAGE = Path(sys.executable).with_name("moorage")
SAMPLE = Path(__file__).parents[1] / "audit" / "samples" / "containerssh-0.4.0"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def record(path: Path, *, user: str = "mia", address: str = "192.0.2.7", at: int = 0, io: Iterable[bytes] = ()) -> Path:
    """A recording of a login that ran ``run FILE``."""
    start = START + at * SECOND
    entries = [
        Entry(0, start, {"remoteAddr": address, "country": "CH"}),
        Entry(100, start, {"username": user, "password": b"pw"}),
        Entry(199, start + SECOND, {"username": user}),
        Entry(301, start + SECOND, {"channelType": "session"}, 0),
        Entry(403, start + SECOND, {"requestId": 0, "program": "run \x1b]0;pwned\x07"}, 0),
        *(Entry(500, start + 2 * SECOND, {"stream": 1, "data": data}, 0) for data in io),
        Entry(499, start + 3 * SECOND, {"exitStatus": 0}, 0),
        Entry(1, start + 4 * SECOND),
    ]
    packer = Packer()
    path.write_bytes(packer.begin() + b"".join(packer.pack([encode(path.name, entry)]) for entry in entries))
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    record(tmp_path / "a1", io=[b"hello \x1b[6n world\n"])
    record(tmp_path / "b2", user="noa", address="2001:db8::1", at=86400)
    return tmp_path


def audit(*arguments: object, status: int = 0) -> str:
    """Standard output of ``moorage audit …``."""
    done = subprocess.run(
        [str(MOORAGE), "audit", *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


def names(*filters: object, place: Path) -> list[str]:
    return [json.loads(line)["name"] for line in audit("ls", place, "--json", *filters).splitlines()]


def test_a_list_has_a_line_for_each_and_filters(place: Path) -> None:
    assert names(place=place) == ["a1", "b2"]
    assert names("--user", "noa", place=place) == ["b2"]
    assert names("--address", "192.0.2.0/24", place=place) == ["a1"]
    assert names("--since", "2023-11-15", place=place) == ["b2"]
    assert names("--until", "2023-11-15T00:00:00Z", place=place) == ["a1"]
    assert names("--since", "2h", place=place) == []
    [row] = audit("ls", place / "a1").splitlines()
    assert row.split()[:6] == ["2023-11-14T22:13:20Z", "0:04", "a1", "mia", "192.0.2.7", row.split()[5]]
    assert "run \\e]0;pwned\\x07" in row


def test_what_is_shown_is_safe_and_complete(place: Path) -> None:
    text = audit("show", place / "a1")
    assert "\x1b" not in text
    assert "hello \\e[6n world\\n" in text
    assert "exec program=" in text
    lines = [json.loads(line) for line in audit("show", "--format", "json", place / "a1").splitlines()]
    assert [line["kind"] for line in lines] == [
        *(
            "connect",
            "auth_password",
            "handshake_successful",
            "new_channel_successful",
            "exec",
            "io",
            "exit",
            "disconnect",
        )
    ]
    assert lines[5]["payload"] == {"stream": 1, "data": "hello \x1b[6n world\n"}
    assert len(audit("show", "--kind", "exec", place / "a1").splitlines()) == 1


def test_the_reference_s_lines_are_printed_for_its_sample() -> None:
    lines = audit("show", "--format", "reference-json", SAMPLE).splitlines()
    assert len(lines) == 11
    assert lines[-1] == (
        '{"connectionId":"b55b141aab3741d7b7858db45aa129e8","timestamp":1625081031328903700,"type":1,'
        '"typeId":"disconnect","typeName":"Disconnect","payload":null,"channelId":null}'
    )


def test_a_search_tells_by_its_status(place: Path) -> None:
    assert audit("grep", "w[o]rld", place).startswith("a1 2023-11-14T22:13:22.000Z stdout: hello  world")
    assert audit("grep", "-l", "-F", "run", place).splitlines() == [str(place / "a1"), str(place / "b2")]
    assert audit("grep", "RUN", "--user", "noa", "-i", "-l", place).splitlines() == [str(place / "b2")]
    assert audit("grep", "nowhere", place, status=1) == ""
    audit("grep", "(", place, status=2)


def test_verifying_says_what_is_wrong_and_where(place: Path) -> None:
    assert audit("verify", place).count(": complete, 8 messages, without a seal") == 1
    cut = place / "c3"
    cut.write_bytes((place / "a1").read_bytes()[:-20])
    broken = bytearray((place / "a1").read_bytes())
    broken[50] |= 0x06  # a block of a type that there is none of
    (place / "d4").write_bytes(broken)
    found = {one["name"]: one for one in map(json.loads, audit("verify", "--json", place, status=1).splitlines())}
    assert {name: one["state"] for name, one in found.items()} == {
        "a1": "complete",
        "b2": "complete",
        "c3": "cut",
        "d4": "damaged",
    }
    assert "byte" in found["d4"]["troubles"][0]


def sealed(path: Path, key: Ed25519PrivateKey | None = None) -> Path:
    """A recording of 1,000 messages as the server writes it."""
    binary = Binary(ConnectionId(path.name), key)
    entries = [Entry(0, START, {"remoteAddr": "192.0.2.7", "country": "CH"})]
    entries += [Entry(500, START + n, {"stream": 1, "data": b"line %04d\n" % n}, 0) for n in range(1000)]
    path.write_bytes(binary.begin() + binary.pack([*entries, Entry(1, START + 2000)]) + binary.end())
    return path


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the messages of a recording as somebody would who knows the format."""
    body = change(zlib.decompressobj(31).decompress(path.read_bytes()[40:]))
    packer = Packer()
    path.write_bytes(packer.begin() + packer.pack([body]))


def test_a_change_of_what_was_recorded_is_found_and_so_is_a_seal_of_somebody_else(tmp_path: Path) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = tmp_path / "key.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    place = tmp_path / "recordings"
    place.mkdir()
    for name in ("good", "changed", "removed", "added"):
        sealed(place / name, key)
    sealed(place / "foreign", other)
    sealed(place / "unsigned")
    rewritten(place / "changed", lambda body: body.replace(b"line 0700", b"line 9999"))
    rewritten(place / "removed", lambda body: body[: body.rindex(b"\xa5\x6cconnectionId")])
    rewritten(place / "added", lambda body: body + encode("added", Entry(1, START)))
    lines = audit("verify", "--json", "--key", public, place, status=1).splitlines()
    found = {one["name"]: one for one in map(json.loads, lines)}
    assert {name: one["state"] for name, one in found.items()} == {
        "good": "complete",
        "changed": "altered",
        "removed": "cut",
        "added": "altered",
        "foreign": "altered",
        "unsigned": "altered",
    }
    assert "what stands before this point was changed" in found["changed"]["altered"]
    assert "not by this key" in found["foreign"]["altered"]
    without_key = {one["name"]: one for one in map(json.loads, audit("verify", "--json", place, status=1).splitlines())}
    assert [name for name, one in without_key.items() if one["state"] == "complete"] == [
        *("foreign", "good", "removed", "unsigned")
    ]
    assert audit("verify", "--key", public, place / "good") == f"{place / 'good'}: complete, 1006 messages, signed\n"


def test_exports_are_what_they_say(place: Path, tmp_path: Path) -> None:
    header, line = audit("export", place / "a1").splitlines()
    assert json.loads(header)["version"] == 2
    assert json.loads(line) == [1.0, "o", "hello \x1b[6n world\n"]
    audit("export", "--format", "text", "-o", tmp_path / "out.txt", place / "a1")
    assert (tmp_path / "out.txt").read_text() == "hello  world\n"


def test_the_configuration_says_where_recordings_are(place: Path) -> None:
    config = place / "config.yaml"
    config.write_text(f"audit: {{enable: true, format: binary, storage: file, file: {{directory: {place}}}}}")
    assert len(audit("ls", "--config", config).splitlines()) == 2
    assert "hello" in audit("show", "a", "--config", config)
    audit("show", "nothing", "--config", config, status=1)
    audit("ls", place / "not-there", status=1)


def test_a_reader_that_goes_away_ends_it_quietly(place: Path) -> None:
    record(place / "e5", io=[b"line\n" * 100] * 3000)
    command = f"{MOORAGE} audit show {place / 'e5'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def in_terminal(*arguments: object, keys: bytes = b"") -> bytes:
    """What ``moorage audit …`` writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(MOORAGE), "audit", *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    ) as process:
        os.close(theirs)
        os.write(ours, keys)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # how the end of a terminal reads
            pass
        assert process.wait(50) == 0
    os.close(ours)
    return shown


def test_on_a_terminal_there_are_colours_and_a_recording_plays_without_what_is_not_for_showing(place: Path) -> None:
    assert b"\x1b[36mexec\x1b[0m" in in_terminal("show", place / "a1")
    played = in_terminal("play", place / "a1", "--speed", "100")
    assert b"hello  world" in played
    assert b"\x1b[6n" not in played
    assert played.endswith(b"\x1b(B\r\r\n")


def test_a_large_recording_is_read_in_flat_memory(tmp_path: Path) -> None:
    packer = Packer()
    data = os.urandom(1000) * 32
    entry = encode("f6", Entry(500, START, {"stream": 1, "data": data}, 0))
    with (tmp_path / "f6").open("wb") as file:
        file.write(packer.begin())
        for _ in range(64):
            file.write(packer.pack([entry] * 100))
    # Of its own memory: what resource usage tells of a child begins with what its parent had.
    peak = "next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))"
    program = (
        f"import atexit, sys; atexit.register(lambda: sys.stderr.write({peak})); from moorage.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "audit", "ls", "--json", str(tmp_path / "f6")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["bytes_out"] == 64 * 100 * 32_000 == 204_800_000
    assert int(done.stderr.split()[1]) < 200_000, "kilobytes"


def test_help_has_examples() -> None:
    for name in ("ls", "show", "play", "export", "grep", "verify", "files", "report"):
        assert f"moorage audit {name}" in audit(name, "--help")
