"""Programs with SSH implementations of their own: Dropbear, PuTTY, curl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.clients.driving import clean, digest
from tests.clients.recorder import Recorder
from tests.e2e.places import PASSWORD, USER, Place
from tests.e2e.terminal import terminal
from tests.parts import need

Done = subprocess.CompletedProcess[bytes]


def run(command: Sequence[str | Path], given: bytes = b"", /, **environment: str) -> Done:
    """Run a program to its end."""
    return subprocess.run(command, input=given, capture_output=True, env=clean(**environment), timeout=40, check=False)


def said(command: Sequence[str], word: int) -> str:
    """One word of what a program says of its version."""
    done = run(command)
    return (done.stdout + done.stderr).decode().split()[word].strip(",.")


def commands(
    client: str, password: Sequence[str | Path], key: Sequence[str | Path], record: Recorder, version: str, home: str
) -> None:
    """Login, commands, their status and the end of their input."""
    done = run([*password, "echo in"], HOME=home, DROPBEAR_PASSWORD=PASSWORD)
    assert done.stdout == b"in\n", done.stderr
    record(client, "password", version=version)
    done = run([*key, "echo out; echo err >&2; exit 7"], HOME=home)
    assert (done.stdout, done.returncode) == (b"out\n", 7), done.stderr
    assert b"err\n" in done.stderr
    assert run([*key, "wc -c"], b"12345", HOME=home).stdout.strip() == b"5"
    record(client, "key", "exec", "status", "input")


def stream(client: str, key: Sequence[str | Path], record: Recorder, big: Path, down: Path, home: str) -> None:
    """A large file through ``cat`` and back."""
    with big.open("rb") as source, down.open("wb") as target:
        subprocess.run([*key, "cat"], stdin=source, stdout=target, env=clean(HOME=home), timeout=50, check=True)
    assert digest(down) == digest(big)
    record(client, "stream")


def screen(client: str, key: Sequence[str | Path], record: Recorder, home: str) -> None:
    """A shell on a terminal."""
    with terminal([str(word) for word in key], clean(HOME=home), size=(93, 31)) as window:
        window.enter("stty size; exit 3")
        window.shows("31 93")
        window.shows("left with 3")
    record(client, "terminal")


def test_dropbear(place: Place, record: Recorder, big: Path, tmp_path: Path) -> None:
    need.program("dbclient", "dropbear-bin")
    home, key = str(tmp_path), tmp_path / "dropbear.key"
    convert = ["/usr/lib/dropbear/dropbearconvert", "openssh", "dropbear", place.user.key or "", key]
    assert run(convert).returncode == 0
    base = ["dbclient", "-y", "-y", "-p", str(place.server.port)]
    with_key: list[str | Path] = [*base, "-i", key, f"{USER}@127.0.0.1"]
    version = said(["dbclient", "-V"], 1).removeprefix("v")
    commands("Dropbear dbclient", [*base, "pat@127.0.0.1"], with_key, record, version, home)
    stream("Dropbear dbclient", with_key, record, big, tmp_path / "down", home)
    screen("Dropbear dbclient", with_key, record, home)


@pytest.fixture
def ppk(place: Place, tmp_path: Path) -> Path:
    """The user's key as PuTTY has it."""
    need.program("puttygen", "putty-tools")
    path = tmp_path / "key.ppk"
    done = run(["puttygen", place.user.key or "", "-O", "private", "-o", path])
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def putty(place: Place) -> list[str]:
    """The options that PuTTY's programs share."""
    known = place.user.run("true")
    assert known.returncode == 0
    file = place.user.directory / f"known_hosts-{place.server.port}"
    lines = run(["ssh-keygen", "-l", "-f", file]).stdout.decode().splitlines()
    prints = [word for line in lines for word in line.split() if word.startswith("SHA256:")]
    port = str(place.server.port)
    return ["-batch", "-noagent", *(part for one in prints for part in ("-hostkey", one)), "-P", port]


def test_plink(putty: list[str], ppk: Path, record: Recorder, big: Path, tmp_path: Path) -> None:
    home, version = str(tmp_path), said(["plink", "-V"], 2)
    password = ["plink", *putty, "-pw", PASSWORD, "pat@127.0.0.1"]
    key: list[str | Path] = ["plink", *putty, "-i", ppk, f"{USER}@127.0.0.1"]
    commands("PuTTY plink", password, key, record, version, home)
    stream("PuTTY plink", key, record, big, tmp_path / "down", home)
    screen("PuTTY plink", ["plink", "-t", *key[1:]], record, home)


def test_psftp(putty: list[str], ppk: Path, record: Recorder, big: Path, tmp_path: Path) -> None:
    home = str(tmp_path)
    login = ["psftp", *putty, "-b", "-", "-i", str(ppk), f"{USER}@127.0.0.1"]
    script = f"put {big} big\nmv big named\nget named {tmp_path}/down\ndel named\n"
    (tmp_path / "script").write_text(script)
    login[login.index("-b") + 1] = str(tmp_path / "script")
    assert (done := run(login, HOME=home)).returncode == 0, done
    assert digest(tmp_path / "down") == digest(big)
    (tmp_path / "script").write_text("get no-such-file\n")
    assert run(login, HOME=home).returncode != 0
    record("PuTTY psftp", "key", "status", "files", "batch", version=said(["psftp", "-V"], 2))
    (tmp_path / "script").write_text("pwd\n")
    password = ["psftp", *putty, "-b", str(tmp_path / "script"), "-pw", PASSWORD, "pat@127.0.0.1"]
    assert run(password, HOME=home).returncode == 0
    record("PuTTY psftp", "password")


@pytest.mark.parametrize("way", ["-sftp", "-scp"])
def test_pscp(
    place: Place, putty: list[str], ppk: Path, record: Recorder, medium: Path, tmp_path: Path, way: str
) -> None:
    login = [*putty, "-share", "-i", str(ppk)]
    names = {"HOME": str(tmp_path), "USER": tmp_path.parent.name + tmp_path.name}  # PuTTY's sharing goes by $USER
    # Sharing brings all of them into one guest; the first one holds the connection until its input ends.
    first = subprocess.Popen(
        ["plink", *login, f"{USER}@127.0.0.1", "echo ready; cat >/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean(**names),
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        pscp: list[str | Path] = ["pscp", "-q", way, *login]
        assert (done := run([*pscp, medium, f"{USER}@127.0.0.1:sent"], **names)).returncode == 0, done
        assert (done := run([*pscp, f"{USER}@127.0.0.1:sent", tmp_path / "down"], **names)).returncode == 0, done
        assert run([*pscp, f"{USER}@127.0.0.1:no-such-file", tmp_path / "none"], **names).returncode == 1
        assert first.stdin is not None
        first.stdin.close()
    assert digest(tmp_path / "down") == digest(medium)
    record("PuTTY pscp", "key", "status", "files", f"`{way}`", version=said(["pscp", "-V"], 2))
    password: list[str | Path] = [
        "pscp",
        "-q",
        way,
        *putty,
        "-pw",
        PASSWORD,
        place.server.config_file,
        "pat@127.0.0.1:file",
    ]
    assert run(password, HOME=str(tmp_path)).returncode == 0
    record("PuTTY pscp", "password")


def test_curl(place: Place, record: Recorder, medium: Path, tmp_path: Path) -> None:
    base = ["curl", "-q", "-s", "-S", "--insecure"]
    url = f"sftp://127.0.0.1:{place.server.port}"
    assert place.user.key is not None
    keyed: list[str | Path] = [
        *base,
        "-u",
        f"{USER}:",
        "--key",
        place.user.key,
        "--pubkey",
        place.user.key.with_suffix(".pub"),
    ]
    # Both transfers and the listing go over one connection, so they meet in one guest.
    fetch: list[str | Path] = [f"{url}/tmp/sent", "-o", tmp_path / "down", "--next", *keyed[1:], f"{url}/tmp/"]
    done = run([*keyed, "-T", medium, f"{url}/tmp/sent", "--next", *keyed[1:], *fetch])
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "down") == digest(medium)
    assert b" sent" in done.stdout
    record("curl", "key", "files", "list", version=said(["curl", "--version"], 1))
    assert b" proc" in run([*base, "-u", f"pat:{PASSWORD}", f"{url}/"]).stdout
    record("curl", "password")
