"""``moorage healthcheck``: is the server up?"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from moorage.cli._loading import config_option, loaded


@click.command(
    "healthcheck",
    short_help="Ask a running server whether it takes logins.",
    epilog="""\b
Examples:
  moorage healthcheck --config /etc/moorage/config.yaml
  HEALTHCHECK CMD ["moorage", "healthcheck", "--config", "/etc/containerssh/config.yaml"]

\b
Exit status: 0 if the server takes logins, 1 if it does not, cannot be asked or has no health endpoint.""",
)
@config_option("The server's configuration file.")
def command(path: Path) -> None:
    """Ask the health endpoint of a running server, at `health.client.url`, whether it takes logins."""
    # The server's own keys and certificates may be out of reach here, and are not needed.
    config = loaded(path, look_at_files=False, built_only=False).config
    if not config.health.enable:
        print("moorage: there is nothing to ask: health.enable is off", file=sys.stderr)
        raise SystemExit(1)

    import logging

    from moorage import log
    from moorage.codes import Code
    from moorage.config.clients import endpoint_of
    from moorage.net.http import CallError, WebClient

    log.configure(level="error", format="text", destination=log.Destination(stream=sys.stderr))
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)

    async def ask() -> int:
        client = WebClient(endpoint_of(config.health.client))
        try:
            return (await client.get()).status
        finally:
            await client.close()

    try:
        status = asyncio.run(ask())
    except CallError as error:
        print(f"moorage: {error} ({Code.HEALTH_REQUEST_FAILED})", file=sys.stderr)
        raise SystemExit(1) from None
    except ValueError as error:
        print(f"moorage: health.client: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    if status != 200:
        print(f"moorage: the server answers with status {status} ({Code.CORE_HEALTH_CHECK_FAILED})", file=sys.stderr)
        raise SystemExit(1)
    print("ok")
