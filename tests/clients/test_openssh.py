"""OpenSSH's programs, and those that run ssh themselves: autossh, rsync, git, sshfs, lftp, mosh."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.driving import clean, digest
from tests.clients.recorder import Recorder
from tests.e2e.clients import Client
from tests.e2e.places import Place
from tests.e2e.terminal import terminal
from tests.e2e.waiting import until
from tests.parts import need


def version(*command: str, word: int) -> str:
    """One word of what a program says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, env=clean(), timeout=10, check=False)
    return (done.stdout + done.stderr).split()[word].strip(",")


OPENSSH = version("ssh", "-V", word=0).removeprefix("OpenSSH_")


def test_ssh(place: Place, pat: Client, shared: Client, record: Recorder, big: Path, tmp_path: Path) -> None:
    assert pat.run("echo in").stdout == b"in\n"
    record("OpenSSH ssh", "password", version=OPENSSH)
    done = place.user.run("echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)
    assert place.user.run("wc -c", input=b"12345").stdout.strip() == b"5"
    record("OpenSSH ssh", "key", "exec", "status", "input")
    with big.open("rb") as source, (tmp_path / "down").open("wb") as target:
        environment = place.user.environment
        subprocess.run(place.user.command("cat"), stdin=source, stdout=target, env=environment, timeout=50, check=True)
    assert digest(tmp_path / "down") == digest(big)
    record("OpenSSH ssh", "stream")
    with terminal([str(w) for w in place.user.command()], place.user.environment, size=(93, 31)) as window:
        window.enter("stty size; exit 3")
        window.shows("31 93")
        window.shows("left with 3")
    record("OpenSSH ssh", "terminal")
    shared.run("echo common >common")
    assert shared.run("cat common").stdout == b"common\n"
    record("OpenSSH ssh", "shared connection", "`-N`")


def test_scp(place: Place, pat: Client, shared: Client, record: Recorder, big: Path, tmp_path: Path) -> None:
    assert pat.tool("scp", "-q", str(big), "guest:big").returncode == 0
    record("OpenSSH scp", "password", version=OPENSSH)
    for flag, way in (("-s", "over SFTP"), ("-O", "`-O`")):
        back = tmp_path / f"back{flag}"
        assert shared.tool("scp", flag, "-q", str(big), "guest:big").returncode == 0
        assert shared.tool("scp", flag, "-q", "guest:big", str(back)).returncode == 0
        assert digest(back) == digest(big)
        record("OpenSSH scp", way)
    assert place.user.tool("scp", "-q", "guest:no-such-file", str(tmp_path)).returncode == 1
    record("OpenSSH scp", "key", "status", "files")


def test_sftp(place: Place, pat: Client, record: Recorder, big: Path, tmp_path: Path) -> None:
    batch = f"put {big} big\nrename big named\nget named {tmp_path}/down\nrm named\n".encode()
    assert pat.tool("sftp", "-oBatchMode=no", "-b", "-", "guest", input=b"pwd\n").returncode == 0
    record("OpenSSH sftp", "password", version=OPENSSH)
    assert place.user.tool("sftp", "-b", "-", "guest", input=batch).returncode == 0
    assert digest(tmp_path / "down") == digest(big)
    assert place.user.tool("sftp", "-b", "-", "guest", input=b"get no-such-file\n").returncode == 1
    record("OpenSSH sftp", "key", "status", "files", "batch")


def test_autossh(place: Place, record: Recorder) -> None:
    need.program("autossh", "autossh")
    environment = {**place.user.environment, "AUTOSSH_GATETIME": "0"}

    def autossh(words: str) -> tuple[bytes, int]:
        command = ["autossh", "-M", "0", *place.user.settings(), "127.0.0.1", words]
        done = subprocess.run(
            command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, timeout=20, check=False
        )
        return done.stdout, done.returncode

    assert autossh("echo out") == (b"out\n", 0)
    assert autossh("echo out; exit 7") == (b"out\n", 1)  # whatever ssh ends with, autossh makes it 1
    record("autossh", "key", "exec", "status", version=version("autossh", "-V", word=1))


def test_rsync(shared: Client, record: Recorder, medium: Path, tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    (tree / "sub").mkdir(parents=True)
    shutil.copy(medium, tree / "sub" / "file")
    (tree / "going").write_text("soon gone")

    def rsync(*arguments: str) -> int:
        command = ["rsync", "-a", "--delete", "-e", shared.rsh(), *arguments]
        return subprocess.run(command, capture_output=True, env=shared.environment, timeout=30, check=False).returncode

    assert rsync(f"{tree}/", "127.0.0.1:mirror/") == 0
    (tree / "going").unlink()
    assert rsync(f"{tree}/", "127.0.0.1:mirror/") == 0
    assert rsync("127.0.0.1:mirror/", f"{back}/") == 0
    assert sorted(path.name for path in back.rglob("*")) == ["file", "sub"]
    assert digest(back / "sub" / "file") == digest(medium)
    assert rsync("127.0.0.1:no-such-directory/", f"{back}/") == 23
    record("rsync", "key", "status", "files", "delete", version=version("rsync", "--version", word=2))


def test_git(shared: Client, record: Recorder, medium: Path, tmp_path: Path) -> None:
    names = {f"GIT_{who}_{what}": "mia@example.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"GIT_SSH_COMMAND": shared.rsh(), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}

    def git(*arguments: str) -> int:
        environment = {**shared.environment, **quiet, **names}
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path, env=environment, capture_output=True, timeout=30, check=False
        ).returncode

    assert shared.run("git init -q --bare project.git").returncode == 0
    assert git("clone", "-q", "127.0.0.1:project.git", "one") == 0
    shutil.copy(medium, tmp_path / "one" / "data")
    assert git("-C", "one", "add", "data") == 0
    assert git("-C", "one", "commit", "-q", "-m", "Add data") == 0
    assert git("-C", "one", "push", "-q", "origin", "HEAD:main") == 0
    assert git("clone", "-q", "-b", "main", "127.0.0.1:project.git", "other") == 0
    assert digest(tmp_path / "other" / "data") == digest(medium)
    assert git("clone", "-q", "127.0.0.1:no-such.git", "none") == 128
    record("git", "key", "status", "files", "clone", "push", version=version("git", "--version", word=2))


@contextmanager
def mounted(client: Client, at: Path) -> Iterator[None]:
    """The guest's home, mounted by sshfs; unmounted, and seen to be, at the end."""
    at.mkdir()
    command = ["sshfs", "127.0.0.1:", str(at), "-o", f"ssh_command={client.rsh()}"]
    done = subprocess.run(command, capture_output=True, env=client.environment, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        subprocess.run(["fusermount3", "-u", str(at)], check=True, timeout=10)
    until(lambda: not at.is_mount(), "the mount is gone")


def test_sshfs(shared: Client, record: Recorder, medium: Path, tmp_path: Path) -> None:
    need.program("sshfs", "sshfs")
    if not Path("/dev/fuse").exists():
        need.missing("/dev/fuse")
    home = tmp_path / "home"
    with mounted(shared, home):
        shutil.copyfile(medium, home / "data")
        (home / "data").rename(home / "named")
        assert shared.run("sha256sum <named").stdout.decode().split()[0] == digest(medium)
        shared.run("cp named copy")
        assert digest(home / "copy") == digest(medium)
        (home / "sub").mkdir()
        (home / "copy").unlink()
        assert sorted(path.name for path in home.iterdir() if path.name[0] != ".") == ["named", "sub"]
    told = subprocess.run(["sshfs", "--version"], capture_output=True, text=True, env=clean(), timeout=10, check=True)
    said = {line.split()[0]: line.split()[-1] for line in told.stdout.splitlines() if line.strip()}
    record("sshfs", "key", "files", "rename", "delete", version=said["SSHFS"])


def test_lftp(shared: Client, record: Recorder, medium: Path, tmp_path: Path) -> None:
    need.program("lftp", "lftp")
    tree, back = tmp_path / "tree", tmp_path / "back"
    tree.mkdir()
    shutil.copy(medium, tree / "file")
    script = f"""
        set sftp:connect-program "{shared.rsh()} -a -x"
        set net:max-retries 1
        set cmd:fail-exit yes
        open -u {shared.user}, sftp://127.0.0.1:{shared.port}
        mirror -R {tree} mirror
        mirror mirror {back}
    """
    command = ["lftp", "--norc", "-c", script]
    done = subprocess.run(command, capture_output=True, env=shared.environment, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(back / "file") == digest(medium)
    record("lftp", "key", "files", "mirror", version=version("lftp", "--version", word=3))


def test_mosh_ends_with_a_clear_text(place: Place) -> None:
    need.program("mosh", "mosh")
    environment = {**place.user.environment, "LC_ALL": "C.UTF-8"}
    with terminal(["mosh", f"--ssh={place.user.rsh()}", "127.0.0.1"], environment) as window:
        window.shows("mosh needs UDP, which is not carried here; please use ssh.", seconds=15)
