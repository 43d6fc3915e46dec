"""The command line of bubblewrap for one guest: a pure function of what the guest is to have.

The guest's root is an empty, read-only tmpfs on which the system (the host's ``/usr`` or a
rootfs directory) is mounted read-only entry by entry, with its own ``/proc``, ``/dev``,
``/tmp``, ``/home`` and user database.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

AGENT_PATH: Final = "/.moorage/agent"
UID: Final = 1000
"""The user id inside; outside it is never root's."""

_OWN: Final = frozenset({"proc", "dev", "tmp", "home", "run", "sys", ".moorage", "lost+found"})
_HOST_ETC: Final = (
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "pki",
    "profile",
    "profile.d",
    "bash.bashrc",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "vim",
)
"""What of the host's /etc a guest on the host's /usr sees: nothing that tells of accounts or secrets."""

_NETWORK_ETC: Final = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_RUN_BYTES: Final = 16 << 20
_MAX_DATABASE: Final = 1 << 20
"""Bytes of a rootfs's passwd or group that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSystem:
    """What a guest is made of."""

    username: str
    hostname: str = "moorage"
    rootfs: Path | None = None
    """A directory with a root file system; None is the host's ``/usr``."""
    mounts: Sequence[tuple[str, str, bool]] = ()
    """What else of the host is seen: its path there and in the guest, and whether it may be written to."""
    share_network: bool = False
    home_bytes: int = 1 << 30
    tmp_bytes: int = 1 << 30
    shell: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    rlimits: Mapping[str, int] = field(default_factory=dict)
    """Limits that the agent sets for itself and all that it starts: ``nproc``, ``nofile``, ``data`` (bytes)."""


def account_name(username: str) -> str:
    """The account's name inside the guest: `username` where the system allows it, else ``user``."""
    return username if _NAME.fullmatch(username) and username != "root" else "user"


class Command:
    """An argument list and the files that must be open, by number, when it is run."""

    def __init__(self, program: str) -> None:
        self.arguments = [program]
        self.descriptors: list[int] = []

    def add(self, *arguments: str) -> None:
        """Append arguments."""
        self.arguments += arguments

    def data(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """Place a read-only file with `content` at `path`."""
        self.add("--perms", f"{mode:04o}", "--ro-bind-data", str(self._file(content)), path)

    def variables(self, values: Mapping[str, str]) -> None:
        """Set variables by a file, not in the argument list, which all of the host may read.

        Raises `ValueError` for a NUL byte: it would end the value, and what follows would be an option.
        """
        if any("\0" in text for pair in values.items() for text in pair):
            raise ValueError("a variable of the guest has a NUL byte in it")
        words = [word for name, value in values.items() for word in ("--setenv", name, value)]
        self.add("--args", str(self._file(b"".join(os.fsencode(word) + b"\0" for word in words))))

    def _file(self, content: bytes) -> int:
        descriptor = os.memfd_create("moorage", 0)
        self.descriptors.append(descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def close(self) -> None:
        """Close the descriptors; after the program was started."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def command(program: str, system: GuestSystem, agent: Path) -> Command:
    """The command that runs `agent` as process 1 of a fresh guest, serving its standard input.

    Raises `OSError` if the rootfs cannot be read.  The caller closes the command.
    """
    name = account_name(system.username)
    home = f"/home/{name}"
    cmd = Command(program)
    try:
        cmd.add("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        if not system.share_network:
            cmd.add("--unshare-net")
        cmd.add("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv")
        cmd.add("--hostname", system.hostname, "--uid", str(UID), "--gid", str(UID))
        source = system.rootfs or Path("/")
        if system.rootfs is None:
            _host_system(cmd, system.share_network)
        else:
            _rootfs(cmd, system.rootfs)
        _accounts(cmd, source, name, home, system)
        cmd.add("--proc", "/proc", "--dev", "/dev")
        cmd.add("--perms", "1777", "--size", str(system.tmp_bytes), "--tmpfs", "/tmp")  # noqa: S108 - the guest's own
        cmd.add(
            "--perms", "0755", "--size", str(system.home_bytes), "--tmpfs", "/home", "--perms", "0700", "--dir", home
        )
        cmd.add("--perms", "0755", "--size", str(_RUN_BYTES), "--tmpfs", "/run")
        for outside, inside, is_writable in system.mounts:
            cmd.add("--bind" if is_writable else "--ro-bind", outside, inside)
        _agent(cmd, agent)
        cmd.variables(_environment(name, home, system))
        cmd.add("--chdir", home, "--remount-ro", "/")
        cmd.add("--", AGENT_PATH, "serve", "--fd", "0")
        for resource, limit in system.rlimits.items():
            cmd.add("--rlimit", f"{resource}={limit}")
    except BaseException:
        cmd.close()
        raise
    return cmd


def _host_system(cmd: Command, share_network: bool) -> None:
    cmd.add("--ro-bind", "/usr", "/usr")
    for entry in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        _entry(cmd, Path("/") / entry)
    cmd.add(
        "--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/etc/ssl", "--perms", "0755", "--dir", "/var"
    )
    for entry in _HOST_ETC + (_NETWORK_ETC if share_network else ()):
        cmd.add("--ro-bind-try", f"/etc/{entry}", f"/etc/{entry}")
    cmd.add("--symlink", "/tmp", "/var/tmp")  # noqa: S108


def _rootfs(cmd: Command, rootfs: Path) -> None:
    for entry in sorted(rootfs.iterdir()):
        if entry.name not in _OWN:
            _entry(cmd, entry)


def _entry(cmd: Command, path: Path) -> None:
    if path.is_symlink():
        cmd.add("--symlink", str(path.readlink()), f"/{path.name}")
    elif path.exists():
        cmd.add("--ro-bind", str(path), f"/{path.name}")


def _accounts(cmd: Command, source: Path, name: str, home: str, system: GuestSystem) -> None:
    shell = system.shell or next((s for s in ("/bin/bash", "/bin/sh") if _in_rootfs(source, s)), "/bin/sh")
    passwd = [f"{name}:x:{UID}:{UID}::{home}:{shell}"]
    group = [f"{name}:x:{UID}:"]
    if system.rootfs is None:
        passwd += [
            "root:x:0:0:root:/root:/usr/sbin/nologin",
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
        ]
        group += ["root:x:0:", "tty:x:5:", "nogroup:x:65534:"]
    else:
        passwd += _lines(source / "etc/passwd", name)
        group += _lines(source / "etc/group", name)
    has_etc = system.rootfs is None or not (source / "etc").is_dir()
    for file, lines in (("passwd", passwd), ("group", group)):
        if has_etc or (source / "etc" / file).is_file():
            cmd.data(("\n".join(lines) + "\n").encode(), f"/etc/{file}")
    if system.rootfs is None and not system.share_network:
        # Its own names only: the host's tell of others, and without any localhost is a question to a name server.
        cmd.data(f"127.0.0.1 localhost {system.hostname}\n::1 localhost\n".encode(), "/etc/hosts")


def _lines(path: Path, name: str) -> list[str]:
    """The accounts of a rootfs but those that would shadow the guest's own."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_DATABASE).decode("utf-8", "replace")
    except OSError:
        return []
    taken = (f"{name}:", f":{UID}:")
    return [line for line in text.splitlines() if not line.startswith(taken[0]) and taken[1] not in line]


def _in_rootfs(source: Path, path: str) -> bool:
    """Is there a file at `path` for who has `source` as root?  Absolute links are read from there."""
    first, rest = path.lstrip("/").split("/", 1)
    top = source / first
    if top.is_symlink():
        top = source / str(top.readlink()).lstrip("/")
    return os.path.lexists(top / rest)


def _agent(cmd: Command, agent: Path) -> None:
    cmd.add("--perms", "0755", "--dir", "/.moorage")
    if _reachable(agent):
        cmd.add("--ro-bind", str(agent), AGENT_PATH)
    else:  # in a directory that the guest's host user may not enter: hand over the content
        cmd.data(agent.read_bytes(), AGENT_PATH, 0o555)


def _reachable(path: Path) -> bool:
    path = path.resolve()
    return bool(path.stat().st_mode & 0o005 == 0o005) and all(p.stat().st_mode & 0o001 for p in path.parents)


def _environment(name: str, home: str, system: GuestSystem) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "LANG": "C.UTF-8",
        **system.environment,
    }
