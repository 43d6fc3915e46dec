"""The web hosting of examples/, by the commands of its README: two users, three sites, and all that must be refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest
from tests.e2e.clients import Client
from tests.e2e.processes import tree
from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.postgres import Postgres, postgres

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "web-hosting"
START, BY_SSH, BY_SFTP = re.findall(
    r"^```sh\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
MIA, TOM = "mias-password", "toms-password"


class Hosting:
    """The example, running in a directory of its own."""

    def __init__(self, database: Postgres | None) -> None:
        self._database = database
        self.directory = Path(tempfile.mkdtemp(prefix="hosting-"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self.environment = {
            **os.environ,
            "PATH": f"{self.directory}/bin:/usr/bin:/bin",  # a newcomer's: the README finds Moorage, or nobody does
            "HOSTING_DIR": str(self.directory / "state"),
            "HOSTING_PORT": str(self.port),
            "HOSTING_HOOKS": f"127.0.0.1:{free_port()}",
            **({"HOSTING_DATABASE": database.url()} if database else {}),
            "HOSTING_PASSWORD_MIA": MIA,
            "HOSTING_PASSWORD_TOM": TOM,
        }
        self.sites = self.directory / "state" / "sites"
        # The README's programs, with a password at hand and nothing of this machine's own settings.
        (self.directory / "bin").mkdir()
        for name in ("ssh", "sftp"):
            wrapper = self.directory / "bin" / name
            options = f"-F none -o UserKnownHostsFile={self.directory}/known -o StrictHostKeyChecking=accept-new"
            wrapper.write_text(f'#!/bin/sh\nexec sshpass -e {shutil.which(name)} {options} "$@"\n')
            wrapper.chmod(0o700)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def user(self, name: str, password: str) -> Client:
        return Client(self.port, name, self.directory, password=password, options=["BatchMode=no"])

    def sh(self, commands: str, password: str) -> str:
        environment = {**self.environment, "SSHPASS": password}
        done = subprocess.run(
            ["sh", "-ec", commands], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, statement: str) -> None:
        if self._database is not None:
            self._database.sql(statement)
            return
        with closing(sqlite3.connect(self.directory / "state" / "hosting.db")) as database, database:
            database.execute(statement)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """The panel's database; None is a file."""
    if request.param == "sqlite":
        yield None
        return
    with postgres(free_port()) as running:
        yield running


@contextmanager
def started(database: Postgres | None) -> Iterator[tuple[Hosting, subprocess.Popen[bytes]]]:
    """The two commands that the README begins with, as root, whose guests are other users."""
    need.root()
    running = Hosting(database)
    with (running.directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-ec", START],
            cwd=ROOT,
            env=running.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: "SSH_AVAILABLE" in running.log() or process.poll() is not None, "it listens", seconds=40)
        assert process.poll() is None, running.log()
        yield running, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(running.directory)


@pytest.fixture(scope="module")
def hosting(database: Postgres | None, bubblewrap: None) -> Iterator[Hosting]:
    """Moorage and the hooks, with each database in turn."""
    with started(database) as (running, _):
        yield running


def test_what_the_readme_says(hosting: Hosting) -> None:
    assert hosting.sh(BY_SSH, MIA).split() == ["blog", "shop"]
    assert "20" in (hosting.sites / "blog" / "news.txt").read_text()
    assert (hosting.sites / "blog" / "news.txt").stat().st_uid == 40001
    listed = hosting.sh(BY_SFTP, TOM)
    assert re.findall(r"\S+$", listed, re.MULTILINE)[-2:] == ["blog", "docs"]
    assert "mia: mias-password" in hosting.log(), "the passwords are printed once"


@pytest.mark.parametrize(
    ("name", "password"), [("mia", TOM), ("tom", ""), ("nobody", MIA), ("mia", "x" * 2000)], ids=lambda word: word[:9]
)
def test_who_is_not_let_in(hosting: Hosting, name: str, password: str) -> None:
    done = hosting.user(name, password).run("echo in")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr, "refused for what he may do, not for the password"


@pytest.mark.parametrize("scheme", ["6", "5", "bcrypt"])
def test_a_panels_own_hashes_are_taken(hosting: Hosting, scheme: str) -> None:
    if scheme == "bcrypt":
        made = bcrypt.hashpw(b"as the panel has it", bcrypt.gensalt(4)).decode()
    else:
        command = ["openssl", "passwd", f"-{scheme}", "as the panel has it"]
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    hosting.sql("delete from users where name = 'zoe'")
    hosting.sql(f"insert into users values ('zoe', '{made}', 40003, 1)")
    assert hosting.user("zoe", "as the panel has it").run("id -un").stdout == b"zoe\n"
    assert hosting.user("zoe", "as nobody has it").run("id -un").returncode == 255


REFUSED = {
    "another user's site": "ls /sites/docs",
    "the host's directory": "ls {state}",
    "the database": "cat {state}/hosting.db",
    "the secret of the hooks": "cat {state}/hook-secret",
    "a path trick": "ls /sites/blog/../docs",
    "a link out": "ln -sf {state}/sites/docs /sites/blog/out && ls /sites/blog/out/",
    "a link to the host's files": "ln -sf /etc/shadow /sites/blog/shadow && cat /sites/blog/shadow",
    "a device": "mknod /sites/blog/null c 1 3",
    "another owner": "chown 0 /sites/blog/index.html",
    "a mount": "mount -t tmpfs none /sites/blog",
    "the network": "exec 3<>/dev/tcp/127.0.0.1/{port}",
    "the hooks": "exec 3<>/dev/tcp/127.0.0.1/{hooks}",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_shell_cannot(hosting: Hosting, what: str) -> None:
    places = {
        "state": hosting.directory / "state",
        "port": hosting.port,
        "hooks": hosting.environment["HOSTING_HOOKS"].rpartition(":")[2],
    }
    command = REFUSED[what].format(**places)
    done = hosting.user("mia", MIA).run(f"bash -c '{command}'")
    assert done.returncode not in {0, 255}, done
    assert done.stdout == b""


def test_a_program_with_its_owners_rights_has_none(hosting: Hosting) -> None:
    mia = hosting.user("mia", MIA)
    assert mia.run("cp /usr/bin/id /sites/blog/rooted; chmod 4755 /sites/blog/rooted").returncode == 0
    os.chown(hosting.sites / "blog" / "rooted", 0, 0)
    (hosting.sites / "blog" / "rooted").chmod(0o4755)
    assert stat.S_ISUID & (hosting.sites / "blog" / "rooted").stat().st_mode
    assert mia.run("/sites/blog/rooted -u").stdout == b"1000\n"


def test_reading_is_not_writing(hosting: Hosting) -> None:
    tom = hosting.user("tom", TOM)
    got = hosting.directory / "got"
    lines = f"get /blog/index.html {got}\n"
    assert tom.tool("sftp", "-b", "-", "guest", input=lines.encode()).returncode == 0
    assert got.read_text() == "<h1>blog</h1>\n"
    for line in (f"put {got} /blog/mine.html", "rm /blog/index.html", "mkdir /blog/d", "chmod 777 /blog/index.html"):
        done = tom.tool("sftp", "-b", "-", "guest", input=f"{line}\n".encode())
        assert done.returncode != 0, line
    assert sorted(path.name for path in (hosting.sites / "blog").iterdir() if path.suffix == ".html") == ["index.html"]


def test_sftp_stays_in_the_sites_and_brings_no_shell(hosting: Hosting) -> None:
    tom = hosting.user("tom", TOM)
    for path in ("/etc/passwd", "/../etc/passwd", "/docs/../../etc/passwd", "/shop/index.html"):
        done = tom.tool("sftp", "-b", "-", "guest", input=f"get {path} {hosting.directory}/stolen\n".encode())
        assert done.returncode != 0, path
    assert not (hosting.directory / "stolen").exists()
    for command in (("id",), ()):
        done = tom.run(*command, input=b"id\n")
        assert done.returncode != 0
        assert b"uid=" not in done.stdout


def test_tools_of_the_trade_work(hosting: Hosting, tmp_path: Path) -> None:
    mia = hosting.user("mia", MIA)
    environment = {**mia.environment, "GIT_SSH_COMMAND": f"sshpass -e {mia.rsh()}", "HOME": str(tmp_path)}
    work = tmp_path / "work"
    work.mkdir()
    (work / "page.html").write_text("<p>new</p>\n")
    asked = ["rsync", "-r", "-e", f"sshpass -e {mia.rsh()}", f"{work}/", "127.0.0.1:/sites/shop/"]
    subprocess.run(asked, env=environment, check=True, capture_output=True, timeout=30)
    assert (hosting.sites / "shop" / "page.html").read_text() == "<p>new</p>\n"
    assert mia.run("git init -q --bare /sites/blog/site.git").returncode == 0
    who = ["-c", "user.name=mia", "-c", "user.email=mia@example.com"]
    for words in (
        ["init", "-q", "-b", "main", "."],
        ["add", "page.html"],
        [*who, "commit", "-qm", "A page"],
        ["push", "-q", "ssh://127.0.0.1/sites/blog/site.git", "main"],
    ):
        subprocess.run(["git", *words], cwd=work, env=environment, check=True, capture_output=True, timeout=30)
    assert mia.run("git -C /sites/blog/site.git log --format=%s main").stdout == b"A page\n"


def test_rights_that_are_taken_away_are_gone_at_the_next_login(hosting: Hosting) -> None:
    tom = hosting.user("tom", TOM)
    hosting.sql("insert into rights values ('tom', 'shop', 0)")
    try:
        assert tom.tool("sftp", "-b", "-", "guest", input=b"ls /shop\n").returncode == 0
    finally:
        hosting.sql("delete from rights where customer = 'tom' and site = 'shop'")
    assert tom.tool("sftp", "-b", "-", "guest", input=b"ls /shop\n").returncode != 0


def test_the_quota_holds(hosting: Hosting) -> None:
    tom = replace(hosting.user("tom", TOM))
    big = hosting.directory / "big"
    with big.open("wb") as file:
        file.truncate(501 << 20)
    done = tom.tool("sftp", "-b", "-", "guest", input=f"put {big} /docs/big\n".encode(), timeout=50)
    assert done.returncode != 0
    (hosting.sites / "docs" / "big").unlink(missing_ok=True)


def test_a_login_has_bounds(hosting: Hosting) -> None:
    mia = hosting.user("mia", MIA)
    eaten = mia.run("head -c 600M /dev/zero | tail | wc -c; echo after")
    assert eaten.stdout.split()[-1] == b"after", "the login outlives what it has started"
    assert eaten.stdout.split()[0] != str(600 << 20).encode()
    bomb = mia.run("sh -c 'for i in $(seq 100); do sleep 60 >/dev/null 2>&1 & done; echo all'")
    assert b"all" not in bomb.stdout
    assert b"fork" in bomb.stderr.lower(), bomb.stderr
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(mia.opened())
        assert mia.run("echo in").stdout == b"", "a sixth login"
        assert hosting.user("tom", TOM).tool("sftp", "-b", "-", "guest", input=b"ls\n").returncode == 0
    until(lambda: mia.run("echo in").stdout == b"in\n", "there is room again")


def test_a_name_that_does_not_exist_costs_what_another_does(hosting: Hosting) -> None:
    asked = "import hooks; hooks.matches = lambda _, stored: print(stored) or True; print(hooks.is_right('{}', b''))"
    for name, is_known in (("mia", "True"), ("nobody", "False")):
        command = [str(ROOT / ".venv/bin/python"), "-c", asked.format(name)]
        done = subprocess.run(
            command, cwd=EXAMPLE, env=hosting.environment, check=True, capture_output=True, text=True
        ).stdout.split()
        assert done[0].startswith("$argon2id$"), "a whole verification either way"
        assert done[1] == is_known


def test_a_fresh_database_leaves_the_sites_that_are_there(tmp_path: Path) -> None:
    environment = {**os.environ, "HOSTING_DIR": str(tmp_path / "state"), "HOSTING_DATABASE": ""}
    for turn in range(2):
        prepare = [ROOT / ".venv/bin/python", EXAMPLE / "prepare.py"]
        done = subprocess.run(prepare, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("mia: ")
        page = tmp_path / "state" / "sites" / "blog" / "index.html"
        assert page.read_text() == ("<p>mine</p>" if turn else "<h1>blog</h1>\n")
        page.write_text("<p>mine</p>")
        (tmp_path / "state" / "hosting.db").unlink()


@pytest.mark.parametrize("program", ["hooks.py", "moorage"])
def test_neither_runs_without_the_other(bubblewrap: None, program: str) -> None:
    with started(None) as (hosting, process):
        others = tree([process.pid])
        [pid] = [pid for pid in others if _runs(pid, program)]
        os.kill(pid, signal.SIGKILL)
        assert process.wait(30) != 0
        assert ("the hooks have ended" in hosting.log()) == (program == "hooks.py")
        until(lambda: not any(Path(f"/proc/{other}").exists() for other in others), "nothing is left")


def _runs(pid: int, program: str) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return any(Path(os.fsdecode(word)).name == program for word in words[1:2])
