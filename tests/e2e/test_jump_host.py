"""The jump host of examples/, by the commands of its README: real Vault, PostgreSQL, OpenID provider and OpenSSH."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

import pytest
from tests.e2e.clients import make_key
from tests.e2e.serving import free_port
from tests.e2e.terminal import Terminal, terminal
from tests.e2e.waiting import until
from tests.parts.browser import Browser
from tests.parts.oidc import CLIENT, openid_provider
from tests.parts.postgres import PASSWORD, Postgres, postgres
from tests.parts.vault import Vault, vault

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "jump-host"
START, ADD_USER, LOG_IN, LOOK = re.findall(
    r"^```sh\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
BROKER = "exec python examples/jump-host/broker.py"
SERVER = 'exec moorage serve --config "$JUMP_DIR/config.yaml"'
SECRET = "of-the-client-of-the-tests"


@dataclass(frozen=True)
class World:
    """What a jump host stands between: the same for all tests of this file."""

    vault: Vault
    database: Postgres
    secrets: Path
    """All that Vault has handed out, in clear, as lines of JSON."""
    environment: dict[str, str]

    def handed_out(self) -> set[str]:
        """Each password and token that Vault has made so far."""
        found: set[str] = set()
        for line in self.secrets.read_text().splitlines():
            answer = json.loads(line).get("response", {})
            found.add((answer.get("data") or {}).get("password", ""))
            found.add((answer.get("auth") or {}).get("client_token", ""))
        return found - {"", self.vault.token}

    def users(self) -> set[str]:
        """The database users that Vault has made for mia and not removed."""
        return set(self.database.sql("select rolname from pg_roles where rolname like 'jump-mia-%'").split())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    secrets = tmp_path_factory.mktemp("vault") / "audit"
    with (
        openid_provider(SECRET) as idp,
        postgres(free_port()) as database,
        vault(free_port()) as store,
    ):
        database.sql("create table customers (name text); insert into customers values ('Ada'), ('Bo'), ('Cy')")
        store.call("PUT", "sys/audit/raw", {"type": "file", "options": {"file_path": str(secrets), "log_raw": "true"}})
        yield World(
            store,
            database,
            secrets,
            {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "VAULT_ADDR": store.url,
                "VAULT_TOKEN": store.token,
                "PGPORT": str(database.port),
                "PGUSER": "postgres",
                "PGPASSWORD": PASSWORD,
                "JUMP_OIDC_URL": idp.url,
                "JUMP_OIDC_CLIENT": CLIENT,
                "JUMP_OIDC_SECRET": SECRET,
            },
        )


class JumpHost:
    """One jump host in a directory of its own, run by the README's commands."""

    def __init__(self, world: World, directory: Path, **settings: str) -> None:
        self.world = world
        self.directory = directory
        self.state = directory / "jump"
        self.environment = {
            **world.environment,
            "HOME": str(directory),
            "TERM": "xterm",
            "JUMP_DIR": str(self.state),
            "JUMP_PORT": str(free_port()),
            "JUMP_BROKER": f"127.0.0.1:{free_port()}",
            "JUMP_KEY": str(make_key(directory / "id")),
            **settings,
        }
        # The README's ssh, with nothing of this machine's own settings.
        wrapper = directory / "bin" / "ssh"
        wrapper.parent.mkdir()
        options = f"-F none -o UserKnownHostsFile={directory}/known -o StrictHostKeyChecking=accept-new"
        options += " -o IdentitiesOnly=yes -o IdentityAgent=none"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {options} "$@"\n')
        wrapper.chmod(0o700)
        self.environment["PATH"] = f"{wrapper.parent}:{self.environment['PATH']}"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The two commands that the README begins with."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-ec", START], cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            until(lambda: "SSH_AVAILABLE" in self.log() or process.poll() is not None, "it listens", seconds=40)
            assert process.poll() is None, self.log()
            self.sh(ADD_USER)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)

    def log(self) -> str:
        """What broker and server have written."""
        return (self.directory / "log").read_text(errors="replace")

    def sh(self, commands: str) -> str:
        """Run commands of the README to their end; their output."""
        done = subprocess.run(
            ["sh", "-ec", commands],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def process(self, line: str) -> Iterator[subprocess.Popen[bytes]]:
        """One program that runs for the time of the block."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(["sh", "-c", line], cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    @contextmanager
    def login(self, command: str = LOG_IN, who: str = "mia") -> Iterator[Terminal]:
        """The README's ssh in a terminal, and the browser in which `who` confirms it."""
        with terminal(["sh", "-c", command], self.environment, size=(400, 50)) as window:
            window.shows("open this link", seconds=20)
            links = until(lambda: re.findall(r"http://\S+/device\?user_code=\S+", window.screen()), "a link")
            assert "Sign-in Success" in Browser().log_in(links[0], who).text
            yield window


def instead(command: str, *options: str) -> str:
    """The README's way to log in, with another command in the guest, and more options."""
    line, _, _ = LOG_IN.rpartition(" 'psql")
    return " ".join([line.replace("mia@", f"{' '.join(options)} mia@"), command])


def is_password(world: World, user: str, password: str) -> bool:
    """Does the database let `user` in by `password`?"""
    try:
        return world.database.sql("select current_user", user=user, password=password) == user
    except subprocess.CalledProcessError:
        return False


def seen_by_ps() -> str:
    """The arguments of every process on this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def is_alive(world: World, token: str) -> bool:
    """Does Vault know the token?"""
    try:
        world.vault.call("GET", "auth/token/lookup-self", token=token)
    except HTTPError:
        return False
    return True


def test_credentials_live_as_long_as_the_login_and_stand_nowhere(world: World, tmp_path: Path) -> None:
    jump = JumpHost(world, tmp_path)
    with jump.running():
        before, others = world.handed_out(), world.users()
        with jump.login() as window:
            window.shows("left with 0", seconds=40)
            assert re.search(r"^ +3$", window.screen(), re.MULTILINE), window.screen()
        stay = """'psql -Atc "select chr(61) || chr(61) || count(*) from customers"; test -n "$VAULT_TOKEN" && cat'"""
        with jump.login(instead(stay)) as window:
            window.shows("==3", seconds=40)
            arguments = seen_by_ps()
            listed = LOOK.splitlines()[1] + " --json"
            until(
                lambda: (
                    [(row["user"], row["guest"]) for row in json.loads(jump.sh(listed))["connections"]]
                    == [("mia", "open")]
                ),
                "the login is listed, and the one before it no more",
                seconds=20,
            )
            made = world.handed_out() - before
            assert any(is_alive(world, secret) for secret in made)
            # Whoever takes the credentials along has them for no longer than the login.
            (user,) = world.users() - others
            password = next(secret for secret in made if is_password(world, user, secret))
            elsewhere = subprocess.Popen(
                ["psql", world.database.url(user, password), "-c", "select pg_sleep(1000)"], stderr=subprocess.PIPE
            )
            until(
                lambda: world.database.sql(f"select 1 from pg_stat_activity where usename = '{user}' limit 1"),
                "it works",
            )
            window.press("C-d")
            window.shows("left with 0")
        assert len(made) == 4, "two passwords and two tokens"
        until(lambda: world.users() <= others, "the database users are gone", seconds=20)
        assert b"terminating connection" in elsewhere.communicate(timeout=20)[1]
        until(lambda: not any(is_alive(world, secret) for secret in made), "the tokens are revoked", seconds=20)
        until(lambda: not list((jump.state / "recordings").glob("*.part")), "the recordings are whole", seconds=20)
        assert "mia" in jump.sh(LOOK.splitlines()[0])
        shown = [jump.sh(f"moorage audit show {file}") for file in (jump.state / "recordings").iterdir()]
        for text in (arguments, jump.log(), *shown):
            assert not [secret for secret in made if secret in text]
    assert any("CHG-4711" in text for text in shown), "the ticket is on record"
    assert json.loads((jump.state / "held.json").read_text()) == {}


def test_who_is_in_no_group_is_refused(world: World, tmp_path: Path) -> None:
    jump = JumpHost(world, tmp_path)
    with jump.running():
        jump.sh(ADD_USER.replace("mia", "bob"))
        before = world.handed_out()
        with jump.login(instead("true", "-o NumberOfPasswordPrompts=1").replace("mia@", "bob@"), who="bob") as window:
            window.shows("left with 255", seconds=40)
            assert "Permission denied" in window.screen()
        assert world.handed_out() == before


def test_a_key_alone_and_an_identity_alone_are_refused(world: World, tmp_path: Path) -> None:
    jump = JumpHost(world, tmp_path)
    with jump.running():
        for option in ("-o BatchMode=yes", "-o PubkeyAuthentication=no"):
            done = subprocess.run(
                ["sh", "-c", instead("true", option)],
                cwd=ROOT,
                env=jump.environment,
                capture_output=True,
                timeout=40,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            assert done.returncode == 255
            assert b"Permission denied" in done.stderr, done.stderr


def test_the_group_decides_about_tunnels_and_rights(world: World, tmp_path: Path) -> None:
    for directory in ("admins", "dev"):
        (tmp_path / directory).mkdir()
    jump = JumpHost(world, tmp_path / "admins")
    with jump.running():
        before, others = world.handed_out(), world.users()
        group = """--metadata 'OIDC_USERINFO_GROUPS=["dev","admins"]'"""
        said = jump.sh(f'moorage config explain --user mia {group} --config "$JUMP_DIR/config.yaml"')
        assert f"only 127.0.0.1:{world.database.port}" in said
        assert not [secret for secret in world.handed_out() - before if secret in said]
        until(lambda: world.users() <= others, "what was made for the question is revoked", seconds=20)
        allowed, other = free_port(), free_port()
        tunnels = f"-L {allowed}:127.0.0.1:{world.database.port}", f"-L {other}:{world.vault.url.partition('//')[2]}"
        with jump.login(instead("cat", *tunnels)) as window:
            until(lambda: socket_answers(allowed), "the tunnel", seconds=40)
            assert Postgres(allowed).sql("select 1") == "1"
            with pytest.raises((OSError, HTTPException)):
                Vault(f"http://127.0.0.1:{other}", world.vault.token).call("GET", "sys/health")
            window.shows("administratively prohibited")
    policy = tmp_path / "policy.yaml"
    whole = (EXAMPLE / "policy.yaml").read_text()
    policy.write_text(whole[: whole.index("  admins:")] + whole[whole.index("  dev:") :])
    jump = JumpHost(world, tmp_path / "dev", JUMP_POLICY=str(policy))
    with jump.running(), jump.login(instead("-t sh", f"-L {allowed}:127.0.0.1:{world.database.port}")) as window:
        window.shows("$ ", seconds=40)
        window.enter("""psql -Atc "select 'c'||count(*) from customers" """)
        window.shows("c3")
        window.enter("""psql -c "delete from customers" """)
        window.shows("permission denied for table customers")
        assert not socket_answers(allowed)


def socket_answers(port: int) -> bool:
    """Does a database answer at the port?  (PostgreSQL's SSLRequest)"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
            return connection.recv(1) in (b"N", b"S")
    except OSError:
        return False


@pytest.mark.timeout(180)
def test_what_is_killed_takes_the_credentials_with_it(world: World, tmp_path: Path) -> None:
    jump = JumpHost(world, tmp_path, JUMP_TTL="15")
    jump.sh(START.splitlines()[0])
    jump.sh(ADD_USER)
    with ExitStack() as running:
        broker = running.enter_context(jump.process(BROKER))
        server = running.enter_context(jump.process(SERVER))
        until(lambda: "SSH_AVAILABLE" in jump.log(), "it listens", seconds=40)
        before, others = world.handed_out(), world.users()
        with jump.login(instead("-t sh")) as window:
            window.shows("$ ", seconds=40)
            (user,) = world.users() - others
            token = next(secret for secret in world.handed_out() - before if is_alive(world, secret))
            # The broker is killed and comes back: the credentials outlive their own time.
            broker.kill()
            broker.wait()
            running.enter_context(jump.process(BROKER))
            over = time.time() + 15
            until(lambda: time.time() > over, "the first time is over", seconds=40)
            window.enter("""psql -Atc "select 'c'||count(*) from customers" """)
            window.shows("c3")
            assert is_alive(world, token)
            # The server is killed: nobody renews any more.
            server.kill()
            server.wait()
            until(lambda: user not in world.users(), "the database user is gone", seconds=60)
            until(lambda: not is_alive(world, token), "the token is gone", seconds=60)
        assert "nothing is renewed" in jump.log()
        assert token not in jump.log()


def test_a_server_that_is_started_anew_has_its_old_logins_ended(world: World, tmp_path: Path) -> None:
    jump = JumpHost(world, tmp_path, JUMP_TTL="600")
    jump.sh(START.splitlines()[0])
    jump.sh(ADD_USER)
    with ExitStack() as running:
        running.enter_context(jump.process(BROKER))
        server = running.enter_context(jump.process(SERVER))
        until(lambda: "SSH_AVAILABLE" in jump.log(), "it listens", seconds=40)
        others = world.users()
        with jump.login(instead("-t sh")) as window:
            window.shows("$ ", seconds=40)
            (user,) = world.users() - others
            server.kill()
            server.wait()
            running.enter_context(jump.process(SERVER))
            until(lambda: user not in world.users(), "the database user is gone", seconds=40)
