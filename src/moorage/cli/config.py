"""``moorage config``: what a configuration means for one login."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from moorage.cli._loading import config_option, loaded

if TYPE_CHECKING:
    from moorage.config import AppConfig
    from moorage.gateway.model import Attempt

_PATIENCE: Final = timedelta(seconds=10)


@click.group("config", short_help="Explain what one login would get.")
def command() -> None:
    """Explain a configuration."""


@command.command(
    "explain",
    epilog="""\b
Examples:
  moorage config explain --user mia --config /etc/moorage/config.yaml
  moorage config explain --user mia --metadata 'OIDC_USERINFO_GROUPS=["admins"]'
  moorage config explain --user mia --json | jq .allowed

\b
Exit status: 0 if the login would get this, 1 if its configuration cannot be used, 2 for a wrong option.""",
)
@config_option("The server's configuration file.")
@click.option("--user", required=True, help="The name given to SSH.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Where the user comes from.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="What an earlier hook has attached; repeatable.")
@click.option("--hook/--no-hook", "asks", default=True, help="Ask the configuration webhook, or leave it out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def explain_login(user: str, address: str, metadata: tuple[str, ...], *, path: Path, asks: bool, as_json: bool) -> None:
    """Say what a login of USER would get, be allowed and have recorded, and where each value comes from.

    Nobody is authenticated.  The configuration webhook is asked as for a login: one that makes something for each login
    makes it now.  Secrets are hidden.
    """
    from moorage.cli import _explaining
    from moorage.config.section import without_password
    from moorage.errors import Failure

    attempt = _attempt(user, address, metadata)
    read = loaded(path, look_at_files=False)
    url = read.config.configserver.url if asks else ""
    try:
        config, attempt = asyncio.run(_resolved(read.config, attempt)) if url else (read.config, attempt)
    except Failure as error:
        print(f"moorage: the login of {user} would fail: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    explained = _explaining.explain(read, config, attempt, now=time.time())
    shown = without_password(url)
    if as_json:
        click.echo(json.dumps(_explaining.as_json(explained, hook=shown), indent=2))
    else:
        click.echo(_explaining.as_text(explained, asked=f"asked {shown}" if shown else "no webhook was asked"))


def _attempt(user: str, address: str, metadata: tuple[str, ...]) -> Attempt:
    from moorage.gateway.model import Address, Attempt, ConnectionId, Metadata, TextValue

    try:
        host = str(ipaddress.ip_address(address))
    except ValueError:
        raise click.BadParameter(f"{address} is no IP address", param_hint="--address") from None
    pairs = [pair.partition("=") for pair in metadata]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE", param_hint="--metadata")
    attached = Metadata({name: TextValue(value) for name, _, value in pairs})
    return Attempt(ConnectionId(uuid.uuid4().hex), Address(host, 1), "SSH-2.0-moorage-config", user, metadata=attached)


async def _resolved(config: AppConfig, attempt: Attempt) -> tuple[AppConfig, Attempt]:
    from moorage import log
    from moorage.auth.configserver import ConfigHook

    log.configure(level="warning", format="text", destination=log.Destination(stream=sys.stderr))
    hook = ConfigHook(config, budget=_PATIENCE)
    try:
        return await hook.resolve(attempt)
    finally:
        await hook.close()
