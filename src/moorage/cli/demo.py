"""``moorage demo``: a server to try, without a file, a daemon or a network."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from moorage.gateway import events
    from moorage.gateway.model import Address, ConnectionId

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@click.command(
    "demo",
    short_help="Try it: a server on this machine, now.",
    epilog="""\b
Examples:
  moorage demo
  moorage demo --listen 127.0.0.1:2200 --user mia --password secret
  moorage demo --backend docker --image debian:12""",
)
@click.option("--listen", default="127.0.0.1:2222", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--backend",
    type=click.Choice(["sandbox", "docker"]),
    default="sandbox",
    show_default=True,
    help="What each login gets: a sandbox (bubblewrap), or a container of a Docker or Podman engine.",
)
@click.option("--image", metavar="IMAGE", help="The image of the containers, with --backend docker.")
@click.option("--docker-host", metavar="URL", envvar="DOCKER_HOST", help="The engine; default: Docker's own socket.")
@click.option("--user", default="demo", show_default=True, help="The user who may log in.")
@click.option("--password", help="The user's password; by default a new one is made at each start.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where host keys and the user are kept; default: a folder of your own.",
)
@click.option("--verbose", is_flag=True, help="Show the server's log as well.")
def command(
    *,
    listen: str,
    backend: str,
    image: str | None,
    docker_host: str | None,
    user: str,
    password: str | None,
    state_dir: Path | None,
    verbose: bool,
) -> None:
    """Start an SSH server that puts each login into a fresh environment, and print how to log in.

    Nothing is left behind at the end but the host keys and the user in the state directory.
    """
    from moorage import app, log
    from moorage.config import load_text
    from moorage.errors import Failure
    from moorage.state import default_state_directory

    if backend == "sandbox" and shutil.which("bwrap") is None:
        raise click.ClickException("bubblewrap is missing.  Install it:  apt-get install bubblewrap")
    if image and backend != "docker":
        raise click.UsageError("--image goes with --backend docker.")
    log.configure(level="debug" if verbose else "error", format="text", destination=log.Destination(stream=sys.stderr))
    state = state_dir or default_state_directory() / "demo"
    secret = password or "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o711)
        users = _write_user(state / "users.yaml", user, secret)
        settings = _configuration(
            listen=listen, backend=backend, image=image, docker_host=docker_host, state=state, users=users
        )
        app.run(
            load_text(json.dumps(settings), "demo.json").config,
            ready=lambda addresses: _announce(
                addresses[0], user=user, password=secret, backend=backend, image=image, state=state
            ),
            listeners=[_narrator],
        )
    except OSError as error:
        raise click.ClickException(f"{state}: {error.strerror}") from error
    except Failure as failure:
        raise click.ClickException(str(failure)) from failure
    print("\nThe demo has ended; every login's environment is gone.")


def _configuration(
    *, listen: str, backend: str, image: str | None, docker_host: str | None, state: Path, users: Path
) -> dict[str, Any]:
    docker: dict[str, Any] = {}
    if image:
        docker["execution"] = {"container": {"image": image}}
    if docker_host:
        docker["connection"] = {"host": docker_host}
    return {
        "ssh": {"listen": listen, "shutdownTimeout": 0},
        "auth": {"users": {"file": str(users)}},
        "state": {"directory": str(state)},
        "backend": backend,
        "docker": docker,
    }


def _write_user(path: Path, name: str, password: str) -> Path:
    from moorage.auth.hashes import hash_password
    from moorage.auth.usersfile import User, change_users

    try:
        change_users(path, lambda users: {**users, name: User(name, hash_password(password.encode()))})
    except ValueError as error:
        raise click.UsageError(f"--user {name}: {error}") from error
    return path


def _announce(address: Address, *, user: str, password: str, backend: str, image: str | None, state: Path) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    known = _known_hosts(state, host, address.port)
    options = f"-p {address.port} -o UserKnownHostsFile={shlex.quote(_home(known))}"
    transfer = options.replace("-p ", "-P ", 1)
    place = f"{user}@[{host}]" if ":" in host else f"{user}@{host}"
    login = f"{user}@{host}"
    what = f"a container of {image or 'the default image'}" if backend == "docker" else "a sandbox"
    print(
        f"""
Moorage is listening on {address}.  Each login gets {what} of its own.

    ssh {options} {login}
    password: {password}

Then try:

    ssh  {options} {login} uname -a
    scp  {transfer} README.md {place}:
    sftp {transfer} {place}

Ctrl-C ends it and everything in it.
""",
        flush=True,
    )


def _known_hosts(state: Path, host: str, port: int) -> Path:
    """A known_hosts file of the demo's own, so that the pasted line asks no question and trusts no other key."""
    from moorage.ssh.hostkeys import host_keys, public_lines

    path = state / "known_hosts"
    name = f"[{host}]:{port}" if port != 22 else host
    keys = public_lines(host_keys((), state / "hostkeys"))
    path.write_text("".join(f"{name} {key}\n" for key in keys))
    return path


def _home(path: Path) -> str:
    home = os.environ.get("HOME", "")
    text = str(path)
    return "~" + text[len(home) :] if len(home) > 1 and text.startswith(home + "/") else text


def _narrator(identifier: ConnectionId, peer: Address) -> events.Listener:
    """One line on the terminal for each thing that a spectator would want to know of a connection."""
    from moorage.gateway import events

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {identifier[:8]}  {text}", flush=True)

    has_guest = False

    def heard(event: events.Event) -> None:
        nonlocal has_guest
        match event:
            case events.AuthAttempted(success=False):
                say(f"refused {_plain(event.attempt.username)} from {peer} ({event.method})")
            case events.LoginAccepted():
                say(f"{_plain(event.login.username)} logged in from {peer}")
            case events.GuestOpened():
                has_guest = True
                say(f"environment ready after {event.seconds * 1000:.0f} ms")
            case events.GuestFailed():
                say(f"no environment: {_plain(event.reason)}")
            case events.ProgramStarted():
                say(f"{event.program.kind.value} {_plain(event.program.command.decode('utf-8', 'replace'))}".rstrip())
            case events.ConnectionClosed():
                say("gone, and its environment with it" if has_guest else "gone")
            case _:
                pass

    return heard


def _plain(text: str) -> str:
    """`text` on one line, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
