"""``moorage sessions``: who is logged in to the server on this machine, and the end of a connection."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from moorage.cli._loading import config_option, loaded
from moorage.net.unixsocket import short_address

_ANSWER_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT: Final = 15.0


@click.group(
    "sessions",
    short_help="List, watch and end the connections of a running server.",
    epilog="""\b
Examples:
  moorage sessions ls --config /etc/moorage/config.yaml
  moorage sessions ls --json | jq -r '.connections[].user'
  moorage sessions watch
  moorage sessions watch --json | jq -r 'select(.event == "end") | .user'
  moorage sessions end 1f0c9a

\b
Exit status: 0 if it was done, 1 if no server answers or there is no such connection.""",
)
def command() -> None:
    """List, watch and end the connections of the server on this machine, through its admin socket."""


@command.command("ls")
@config_option("The server's configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_connections(path: Path, as_json: bool) -> None:
    """List the connections: id, user, address, since when, backend, guest, open sessions."""
    rows = [row for answer in _ask_all(_sockets(path), {"do": "ls"}) for row in answer.get("connections", [])]
    if as_json:
        click.echo(json.dumps({"connections": rows}))
        return
    for line in _table(rows):
        click.echo(line)


@command.command("watch")
@config_option("The server's configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each begin, change and end.")
def watch_connections(path: Path, as_json: bool) -> None:
    """Show the connections as they come and go, until Ctrl-C."""
    from moorage.cli._watching import Lines, Screen, WatchError, run

    if not as_json and not sys.stdout.isatty():
        raise click.UsageError("watch draws on a terminal; with --json it writes lines to anything")
    try:
        run(_sockets(path), Lines() if as_json else Screen(_table))
    except WatchError as error:
        print(f"moorage: no server can be watched: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@command.command("end")
@click.argument("identifier", metavar="ID")
@config_option("The server's configuration file.")
@click.option(
    "--text", default="An operator has ended this connection.", show_default=True, help="What the user reads."
)
def end_connection(identifier: str, path: Path, text: str) -> None:
    """End the connection ID; the beginning of an id is enough where only one begins so."""
    sockets = _sockets(path)
    rows = [row for answer in _ask_all(sockets, {"do": "ls"}) for row in answer.get("connections", [])]
    found = [row["id"] for row in rows if identifier and row["id"].startswith(identifier)]
    if len(found) != 1:
        what = "there is no connection" if not found else f"{len(found)} connections have ids"
        print(f"moorage: {what} that begins with {identifier}; see `moorage sessions ls`", file=sys.stderr)
        raise SystemExit(1)
    answers = _ask_all(sockets, {"do": "end", "id": found[0], "text": text[:1000]})
    if not any(answer.get("ended") for answer in answers):
        print(f"moorage: the connection {identifier} has ended by itself", file=sys.stderr)
        raise SystemExit(1)
    click.echo(f"ended {found[0][:12]}")


def _sockets(path: Path) -> list[Path]:
    from moorage.state import default_state_directory
    from moorage.web.admin import DIRECTORY

    given = loaded(path, look_at_files=False, built_only=False).config.state.directory
    directory = (Path(given) if given else default_state_directory()) / DIRECTORY
    try:
        return sorted(file for file in directory.iterdir() if file.suffix == ".sock")
    except OSError as error:
        print(f"moorage: no server can be asked at {directory}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _ask_all(sockets: list[Path], request: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer of each server that lives; none at all ends the process."""
    answers: list[dict[str, Any]] = []
    cause = "no server is running"
    for path in sockets:
        try:
            answers.append(_ask(path, request))
        except ConnectionRefusedError:
            continue  # left by a server that was killed
        except (OSError, ValueError) as error:
            cause = str(error)
    if not answers:
        print(f"moorage: no server can be asked: {cause}", file=sys.stderr)
        raise SystemExit(1)
    return answers


def _ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT)
        with short_address(path) as address:
            client.connect(address)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as stream:
            answer = json.loads(stream.read(_ANSWER_BYTES))
    return answer if isinstance(answer, dict) else {}


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines that show `rows`, heads first."""
    table = [("ID", "USER", "ADDRESS", "SINCE", "BACKEND", "GUEST", "SESSIONS")]
    for row in rows:
        since = datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        cells = (row["id"][:12], row["user"], row["address"], since, row["backend"], row["guest"], str(row["sessions"]))
        table.append(tuple(_printable(cell) or "-" for cell in cells))  # type: ignore[arg-type]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
