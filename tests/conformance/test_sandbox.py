"""The backend contract on bubblewrap, and what a sandbox keeps apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.parts import need

from moorage.backend.sandbox import SandboxBackend
from moorage.config import AppConfig
from moorage.errors import Refused
from moorage.gateway.contract import Backend, Guest
from moorage.testing.backend import BackendConformance
from moorage.testing.suite import run, start

pytestmark = pytest.mark.sandbox


def children() -> Iterator[tuple[int, str]]:
    """The living sandbox processes that we are the parent of."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if "/.moorage/agent" in arguments and state != "Z":
                yield int(pid), "a sandbox"


SEEN = frozenset(
    {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", "var"}
)


async def eventually(true: Callable[[], bool]) -> None:
    """Returns when `true` is, and fails after some seconds."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def threads_of(uid: int) -> int:
    """How many processes and threads of the host belong to `uid`."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                count += len(list((process / "task").iterdir()))
    return count


def groups(instance: str) -> list[str]:
    """The control groups of guests that are still there."""
    found = (Path("/sys/fs/cgroup") / place for place in ("pids/moorage", "memory/moorage", "moorage"))
    return [str(path) for base in found if base.is_dir() for path in base.glob(f"{instance}-*")]


class OnSandbox(BackendConformance):
    """The suite on sandboxes; a subclass says which system."""

    settings: dict[str, object] = {}
    instance = ""

    @pytest.fixture
    async def backend(self, tmp_path: Path) -> AsyncIterator[Backend]:
        need.program("bwrap", "bubblewrap")
        self.instance = uuid.uuid4().hex[:16]
        backend = SandboxBackend(state_directory=tmp_path, instance=self.instance)
        yield backend
        await backend.close()

    def config(self) -> AppConfig:
        return AppConfig.model_validate({"backend": "sandbox", "sandbox": self.settings})

    async def leftovers(self, backend: Backend) -> list[str]:
        return [text for _, text in children()] + groups(self.instance)

    async def lose(self, backend: Backend, guest: Guest) -> None:
        for pid, _ in children():
            os.kill(pid, signal.SIGKILL)


class TestHostSystem(OnSandbox):
    """On the host's own /usr."""

    has_perl = True

    async def test_a_guest_sees_nothing_of_the_host_but_its_programs(self, guest: Guest) -> None:
        listed = await run(guest, "ls /")
        assert set(listed.stdout.decode().split()) <= SEEN
        secrets = await run(
            guest, "cat /etc/shadow /root/.profile /etc/ssh/* /var/lib/dpkg/status /proc/1/environ | wc -c"
        )
        assert int(secrets.stdout) < 500  # the agent's own environment is all there is to see

    async def test_a_guest_cannot_write_outside_its_own_places(self, guest: Guest) -> None:
        places = "/ /usr /usr/bin /etc /.moorage /proc/sys/kernel /var"
        result = await run(
            guest, f"for d in {places}; do touch $d/x && echo $d; done; touch ~/x /tmp/x /run/x && echo own"
        )
        assert result.stdout == b"own\n"

    async def test_mounts_are_there_and_hold_nobody_s_rights(self, backend: Backend) -> None:
        need.root()
        place = Path(tempfile.mkdtemp(prefix="mounts-"))
        place.chmod(0o755)
        for name, owner in (("own", 4711), ("read", 4711), ("other", 4712)):
            (place / name).mkdir(mode=0o755)
            (place / name / "file").write_text(name)
            os.chown(place / name, owner, owner)
        shutil.copy("/usr/bin/id", place / "own" / "rooted")
        (place / "own" / "rooted").chmod(0o4755)
        os.mknod(place / "own" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (place / "own" / "null").chmod(0o666)
        (place / "own" / "out").symlink_to("/srv/../../etc/shadow")
        mounts = [
            {"source": f"{place}/own", "target": "/srv/own", "writable": True},
            {"source": f"{place}/read", "target": "/srv/read"},
            {"source": f"{place}/other", "target": "/srv/other", "writable": True},
        ]
        self.settings = {"mounts": mounts, "user": 4711}
        try:
            async with self.opened(backend) as guest:
                written = await run(guest, "for d in own read other; do echo $d > /srv/$d/new && echo $d; done")
                assert written.stdout == b"own\n"
                assert ((place / "own" / "new").read_text(), (place / "own" / "new").stat().st_uid) == ("own\n", 4711)
                assert (await run(guest, "cat /srv/read/file /srv/other/file; /srv/own/rooted -u")).stdout == (
                    b"readother1000\n"
                )
                assert (await run(guest, "cat /srv/own/out")).status.code != 0
                assert (await run(guest, "echo x > /srv/own/null")).status.code != 0
                assert (await run(guest, f"ls {place} /srv/../{place}")).status.code != 0
        finally:
            shutil.rmtree(place)

    async def test_a_guest_sees_only_its_own_processes(self, guest: Guest) -> None:
        result = await run(guest, "ls /proc | grep -c '^[0-9]'")
        assert int(result.stdout) < 8

    async def test_a_guest_has_no_network_but_a_loopback_of_its_own(self, guest: Guest) -> None:
        result = await run(guest, "tail -n +3 /proc/net/dev | cut -d: -f1")
        assert result.stdout.strip() == b"lo"

    async def test_a_guest_is_no_root_of_the_host(self, guest: Guest) -> None:
        result = await run(guest, "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")
        uid, *status = result.stdout.decode().splitlines()
        assert uid == "1000"
        assert {line.split()[0]: int(line.split()[1], 16) for line in status} == {
            "CapEff:": 0,
            "CapBnd:": 0,
            "NoNewPrivs:": 1,
        }
        outside = [Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] for pid, _ in children()]
        assert outside
        assert "0" not in outside

    async def test_a_fork_bomb_ends_at_the_guests_limit(self, backend: Backend) -> None:
        need.root()  # who is not root cannot make control groups
        self.settings = {"limits": {"processes": 40}}
        async with self.opened(backend) as guest:
            forks = "i=0; while [ $i -lt 200 ]; do sleep 100 & i=$((i+1)); done"
            await start(guest, f"({forks}) 2>/dev/null >/dev/null; exit 0")
            [group] = [Path(path) for path in groups(self.instance) if "memory" not in path]
            await eventually(lambda: int((group / "pids.current").read_text()) >= 40)
            assert int((group / "pids.current").read_text()) <= 40

    async def test_memory_ends_at_the_guests_limit(self, backend: Backend) -> None:
        need.root()
        self.settings = {"limits": {"memory": 64 << 20}}
        async with self.opened(backend) as guest:
            result = await run(guest, "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c")
            assert result.stdout.strip() != b"150000000"
            assert (await run(guest, "echo alive")).stdout == b"alive\n"

    async def test_without_control_groups_the_agent_limits_what_it_starts(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        need.root()  # as root each guest has a host user of its own, whose processes can be counted
        monkeypatch.setattr("moorage.backend.sandbox.limits._ROOT", Path("/proc/nowhere"))
        self.settings = {"limits": {"processes": 40, "memory": 512 << 20, "openFiles": 100}}
        async with self.opened(backend) as guest:
            limits = await run(guest, "ulimit -n; ulimit -d; ulimit -u")
            assert limits.stdout.split() == [b"100", str(512 << 10).encode(), b"40"]
            [(child, _)] = children()
            owner = Path(f"/proc/{child}").stat().st_uid
            await start(guest, "while :; do sleep 100 & done >/dev/null 2>&1")
            await eventually(lambda: threads_of(owner) >= 38)
            with pytest.raises(Refused):  # noqa: PT012 - the kernel has the last word on when
                while True:
                    await start(guest, "sleep 100")
            assert threads_of(owner) <= 41  # bubblewrap itself stands outside

    async def test_a_home_that_is_full_says_so_and_harms_nobody(self, backend: Backend) -> None:
        self.settings = {"limits": {"homeSize": 1 << 20}}
        async with self.opened(backend) as guest:
            result = await run(guest, "head -c 5000000 /dev/zero > ~/x; wc -c < ~/x")
            assert b"No space left" in result.stderr
            assert int(result.stdout) <= 1 << 20

    async def test_the_account_is_called_as_the_user_where_that_is_possible(self, backend: Backend) -> None:
        for name, account in (("mia", "mia"), ("root", "user"), ("Zoë; rm -rf /", "user"), ("../x", "user")):
            login = self.login()
            login = replace(login, attempt=replace(login.attempt, username=name))
            async with self.opened(backend, login) as guest:
                assert (await run(guest, "id -un; pwd")).stdout.decode().split() == [account, f"/home/{account}"]


class TestRootfs(OnSandbox):
    """On a root file system in a directory."""

    @pytest.fixture(autouse=True)
    def _rootfs(self, busybox_rootfs: Path) -> None:
        self.settings = {"rootfs": str(busybox_rootfs)}


@pytest.fixture(scope="session")
def busybox_rootfs() -> Iterator[Path]:
    """A root file system with busybox and nothing else, where any user may go."""
    root = Path(tempfile.mkdtemp(prefix="moorage-rootfs-"))
    root.chmod(0o755)
    busybox = need.program("busybox", "busybox-static")
    (root / "bin").mkdir()
    (root / "etc").mkdir()
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    yield root
    shutil.rmtree(root)
