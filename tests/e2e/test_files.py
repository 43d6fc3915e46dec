"""Files through scp, sftp, rsync and git, byte for byte."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.clients import Client
from tests.e2e.places import Place


@pytest.fixture
def shared(place: Place) -> Iterator[Client]:
    """A client whose programs all meet in one guest."""
    with place.user.opened() as client:
        yield client


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with names and contents that are not always easy."""
    root = tmp_path / "tree"
    chance = random.Random(7)
    for number, name in enumerate(["plain", "with blank", "ünïcode", "empty", "-dash", "sub/deep/er", "sub/exe"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else chance.randbytes(1000 * 3**number))
    (root / "sub/exe").chmod(0o755)
    (root / "link").symlink_to("plain")
    return root


def contents(root: Path) -> dict[str, bytes | str]:
    """Every file below `root` by its name; a link by where it points."""
    paths = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(p.relative_to(root)): str(p.readlink()) if p.is_symlink() else p.read_bytes() for p in paths}


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "legacy"])
def test_scp_copies_a_tree_there_and_back(shared: Client, tree: Path, tmp_path: Path, protocol: str) -> None:
    (tree / "link").unlink()  # scp follows links
    back = tmp_path / "back"
    there = shared.tool("scp", protocol, "-rpq", str(tree), "guest:copy")
    assert there.returncode == 0, there.stderr
    again = shared.tool("scp", protocol, "-rpq", "guest:copy", str(back))
    assert again.returncode == 0, again.stderr
    assert contents(back) == contents(tree)
    assert (back / "sub/exe").stat().st_mode & 0o777 == 0o755


def test_scp_without_a_shared_connection_ends_well(place: Place, tree: Path) -> None:
    done = place.user.tool("scp", "-q", str(tree / "plain"), "guest:plain")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_scp_says_what_is_missing(place: Place, tmp_path: Path) -> None:
    done = place.user.tool("scp", "-q", "guest:no-such-file", str(tmp_path / "x"))
    assert done.returncode == 1
    assert b"No such file" in done.stderr


def test_sftp_works_through_a_batch(shared: Client, tree: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    back.mkdir()
    batch = f"""
        mkdir inbox
        cd inbox
        put "{tree}/with blank" one
        put -r {tree}/sub
        rename one two
        chmod 600 two
        symlink two three
        ls -l
        get two {back}/two
        get -r sub {back}/sub
        rm three
        -rm no-such-file
        df
        pwd
    """
    done = shared.tool("sftp", "-b", "-", "guest", input="\n".join(x.strip() for x in batch.splitlines()).encode())
    assert done.returncode == 0, done.stderr
    assert (back / "two").read_bytes() == (tree / "with blank").read_bytes()
    assert contents(back / "sub") == contents(tree / "sub")
    assert b"-rw-------" in done.stdout
    assert b"/inbox" in done.stdout
    assert shared.run("ls inbox").stdout == b"sub\ntwo\n"


def test_sftp_and_the_shell_see_the_same_files(shared: Client, tmp_path: Path) -> None:
    shared.run("cat >made-by-the-shell", input=b"text\n")
    done = shared.tool("sftp", "-b", "-", "guest", input=f"get made-by-the-shell {tmp_path}/got\n".encode())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == b"text\n"


def rsync(client: Client, *arguments: str) -> bytes:
    """Run rsync over `client`; its output."""
    command = ["rsync", "-a", "--itemize-changes", "-e", client.rsh(), *arguments]
    done = subprocess.run(command, capture_output=True, env=client.environment, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rsync_brings_a_tree_there_and_back(shared: Client, tree: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    rsync(shared, f"{tree}/", "127.0.0.1:mirror/")
    assert rsync(shared, f"{tree}/", "127.0.0.1:mirror/") == b""
    (tree / "plain").write_bytes(b"changed")
    (tree / "empty").unlink()
    changes = rsync(shared, "--delete", f"{tree}/", "127.0.0.1:mirror/")
    assert changes.count(b"\n") <= 3  # the file, the deletion, and the directory's time
    rsync(shared, "127.0.0.1:mirror/", f"{back}/")
    assert contents(back) == contents(tree)


def git(directory: Path, client: Client, *arguments: str) -> str:
    """Run git in `directory` with nothing of this machine's settings."""
    environment = {
        **client.environment,
        "GIT_SSH_COMMAND": client.rsh(),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **{f"GIT_{who}_{what}": "mia@example.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_git_clones_and_pushes(shared: Client, tmp_path: Path) -> None:
    assert shared.run("git init -q --bare project.git").returncode == 0
    git(tmp_path, shared, "clone", "-q", "127.0.0.1:project.git", "one")
    one, other = tmp_path / "one", tmp_path / "other"
    (one / "data").write_bytes(random.Random(1).randbytes(3_000_000))
    git(one, shared, "add", "data")
    git(one, shared, "commit", "-q", "-m", "Add data")
    git(one, shared, "push", "-q", "origin", "HEAD:main")
    git(tmp_path, shared, "clone", "-q", "-b", "main", "127.0.0.1:project.git", "other")
    assert (other / "data").read_bytes() == (one / "data").read_bytes()
    assert git(other, shared, "rev-parse", "HEAD") == git(one, shared, "rev-parse", "HEAD")


def test_a_stream_is_not_disturbed_by_text(place: Place) -> None:
    """Progress and notices are for terminals: what a pipe carries is the program's output alone."""
    done = place.user.run("head -c 100000 /dev/zero")
    assert (done.stdout, done.stderr) == (bytes(100000), b"")
