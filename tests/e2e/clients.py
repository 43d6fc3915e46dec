"""OpenSSH's programs as a user has them, with nothing taken from this machine's own settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.e2e.waiting import until

Text = str | bytes
Done = subprocess.CompletedProcess[bytes]

_started: list[subprocess.Popen[bytes]] = []


def end_started() -> None:
    """End every client that `Client.start` has started: a test need not wait for what it no longer asks."""
    while _started:
        with _started.pop() as process:
            process.kill()


def make_key(path: Path, *, comment: str = "moorage-test") -> Path:
    """A fresh Ed25519 key pair at `path` and ``path.pub``."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@dataclass
class Client:
    """One user at one server: builds command lines and runs them."""

    port: int
    user: str
    directory: Path
    key: Path | None = None
    password: str | None = None
    options: Sequence[str] = field(default_factory=tuple)

    def settings(self, *more: str) -> list[str]:
        """The ``-o`` options that ssh, scp and sftp share."""
        chosen = [
            f"UserKnownHostsFile={self.directory}/known_hosts-{self.port}",
            "StrictHostKeyChecking=accept-new",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "LogLevel=ERROR",
            f"Port={self.port}",
            f"User={self.user}",
            f"IdentityFile={self.key or '/dev/null'}",
        ]
        if self.password is None:
            chosen += ["BatchMode=yes"]
        else:
            chosen += ["NumberOfPasswordPrompts=1", "PreferredAuthentications=password"]
        # OpenSSH takes the first value it sees.
        every = [*more, *self.options, *chosen]
        return ["-F", "none", *(part for option in every for part in ("-o", option))]

    @property
    def environment(self) -> dict[str, str]:
        """The environment for the client: no agent, no locale, the password for sshpass."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return {**keep, "TERM": "xterm", **({"SSHPASS": self.password} if self.password is not None else {})}

    def command(self, *words: Text, options: Sequence[str] = (), flags: Sequence[str] = ()) -> list[Text]:
        """``ssh [flags] host words…``, to be run with `environment`."""
        asking = ["sshpass", "-e"] if self.password is not None else []
        return [*asking, "ssh", *self.settings(*options), *flags, "127.0.0.1", *words]

    def run(
        self,
        *words: Text,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        options: Sequence[str] = (),
        flags: Sequence[str] = (),
        timeout: float = 20,
    ) -> Done:
        """Run ``ssh host words…`` to its end."""
        command = self.command(*words, options=options, flags=flags)
        return subprocess.run(
            command, input=input, capture_output=True, env=self.environment, timeout=timeout, check=False
        )

    def start(self, *words: Text, options: Sequence[str] = (), flags: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start ``ssh host words…`` with pipes on all three ends."""
        pipe = subprocess.PIPE
        command = self.command(*words, options=options, flags=flags)
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment)
        _started.append(process)
        return process

    def tool(self, program: str, *arguments: str, input: bytes = b"", timeout: float = 20) -> Done:  # noqa: A002
        """Run scp or sftp; a remote path is written ``guest:path``."""
        asking = ["sshpass", "-e"] if self.password is not None else []
        mended = [word.replace("guest:", "127.0.0.1:", 1) if word.startswith("guest:") else word for word in arguments]
        mended = ["127.0.0.1" if word == "guest" else word for word in mended]
        return subprocess.run(
            [*asking, program, *self.settings(), *mended],
            input=input,
            capture_output=True,
            env=self.environment,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def opened(self) -> Iterator[Client]:
        """The same client with one connection that all its programs share: they meet in one guest."""
        control = Path(tempfile.mkdtemp(prefix="e2e-")) / "c"  # a socket's path has to be short
        sharing = replace(self, options=[*self.options, f"ControlPath={control}"])
        master = self.start(options=sharing.options, flags=["-M", "-N"])
        try:
            until(lambda: control.exists() or master.poll() is not None, "the shared connection opens", seconds=20)
            assert master.poll() is None, master.communicate()[1].decode(errors="replace")
            yield sharing
        finally:
            master.terminate()
            try:
                master.communicate(timeout=10)
            except subprocess.TimeoutExpired:  # it has its own idea of when it may go
                master.kill()
                master.communicate()
            shutil.rmtree(control.parent)

    def rsh(self) -> str:
        """An ``ssh`` command line for rsync's ``-e`` and git's ``GIT_SSH_COMMAND``."""
        return " ".join(["ssh", *self.settings()])
