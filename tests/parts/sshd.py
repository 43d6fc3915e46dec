"""A real OpenSSH server on a port of its own, with its own keys, that lets one user in."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.clients import make_key
from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need

USER: Final = "behind"
"""The user that root's sshd lets in, who exists for it alone: as root it would send no signals."""

_UID: Final = 4321
_WITH_USERS: Final = """
for file in passwd group shadow; do mount --bind "$1/$file" "/etc/$file" || exit; done
shift; exec "$@"
"""


@dataclass
class Sshd:
    """The running server, and how a proxy gets in."""

    port: int
    user: str
    key: Path
    host_key: Path
    process: subprocess.Popen[bytes]

    @property
    def fingerprint(self) -> str:
        """Of its host key, as the configuration wants it."""
        listed = subprocess.run(["ssh-keygen", "-lf", f"{self.host_key}.pub"], check=True, capture_output=True)
        return listed.stdout.split()[1].decode()

    def settings(self, **changed: Any) -> dict[str, Any]:
        """The section ``sshproxy`` that reaches it."""
        return {
            "server": "127.0.0.1",
            "port": self.port,
            "username": self.user,
            "privateKey": str(self.key),
            "allowedHostKeyFingerprints": [self.fingerprint],
            **changed,
        }

    def sessions(self) -> dict[int, str]:
        """The processes below the server, connections and programs, with their command lines."""
        found: dict[int, str] = {}
        parents = {self.process.pid}
        while True:
            fresh = {pid: line for pid, line in _children(parents).items() if pid not in found}
            if not fresh:
                return found
            found |= fresh
            parents |= set(fresh)

    def cut(self) -> None:
        """Kill the connections, not the server."""
        for pid, line in self.sessions().items():
            if line.startswith("sshd"):
                os.kill(pid, signal.SIGKILL)


def _children(parents: set[int]) -> dict[int, str]:
    found = {}
    for parent in parents:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            pids = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        except OSError:
            continue
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if state != "Z":
                found[pid] = line
    return found


def _write_users(home: Path) -> None:
    """The user and what sshd itself needs, as files to be mounted over those of the machine for sshd alone."""
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[2] != str(_UID)]
    lines.append(f"{USER}:x:{_UID}:{_UID}::{home}:/bin/sh")
    (home / "passwd").write_text("\n".join(lines) + "\n")
    (home / "group").write_text(Path("/etc/group").read_text() + f"{USER}:x:{_UID}:\n")
    (home / "shadow").write_text(f"root:*:1::::::\n{USER}:*:1::::::\n")
    (home / "shadow").chmod(0o600)
    os.chown(home, _UID, _UID)
    home.chmod(0o755)


@contextmanager
def sshd(directory: Path, **changed: str) -> Iterator[Sshd]:
    """The server for the time of the block; `changed` are keywords of sshd_config(5)."""
    program = need.program("sshd", "openssh-server")
    directory.mkdir(parents=True, exist_ok=True)
    key, host_key = make_key(directory / "key"), make_key(directory / "host_key")
    is_root = os.geteuid() == 0
    home = Path(tempfile.mkdtemp(prefix="sshd-"))
    shutil.copy(key.with_suffix(".pub"), home / "authorized_keys")
    if is_root:
        _write_users(home)
    user = USER if is_root else getpass.getuser()
    running = Sshd(free_port(), user, key, host_key, process=None)  # type: ignore[arg-type]
    settings: Mapping[str, str] = {
        "ListenAddress": f"127.0.0.1:{running.port}",
        "HostKey": str(host_key),
        "AuthorizedKeysFile": f"{home}/authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "1000",
        "MaxSessions": "1000",
        "UseDNS": "no",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "AcceptEnv": "*",
        "StreamLocalBindUnlink": "no",
        "GatewayPorts": "clientspecified",
        "Subsystem": "sftp internal-sftp",
        **changed,
    }
    config = directory / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    command = [str(program), "-D", "-e", "-f", str(config)]
    if is_root:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks its unprivileged half in
        command = [str(shutil.which("unshare")), "--mount", "sh", "-c", _WITH_USERS, "sh", str(home), *command]
    with (directory / "log").open("wb") as log:
        running.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        listed = ["ssh-keyscan", "-p", str(running.port), "127.0.0.1"]
        until(
            lambda: subprocess.run(listed, capture_output=True, check=False).stdout or running.process.poll(),
            f"sshd answers\n{(directory / 'log').read_text()}",
        )
        yield running
    finally:
        running.cut()
        running.process.terminate()
        running.process.wait(10)
        shutil.rmtree(home, ignore_errors=True)
