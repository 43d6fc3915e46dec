"""``moorage auth-server``: webhooks to try things out with."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import click


@click.command(
    "auth-server",
    short_help="Answer webhooks, to try things out.",
    epilog="""\b
Examples:
  moorage auth-server
  moorage auth-server --user mia:s3cret --image mia=debian:12
  moorage auth-server --listen 127.0.0.1:9000 --users users.yaml""",
)
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--user",
    "pairs",
    multiple=True,
    metavar="NAME:PASSWORD",
    help="A user with this password.  May be repeated; everybody on this machine can see it.",
)
@click.option(
    "--users",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Users as `moorage users` writes them, with passwords and keys.",
)
@click.option(
    "--image", "images", multiple=True, metavar="NAME=IMAGE", help="The Docker image that NAME gets.  May be repeated."
)
@click.option(
    "--allow-all",
    is_flag=True,
    envvar="CONTAINERSSH_ALLOW_ALL",
    show_envvar=True,
    help="Let every name in, with any password.",
)
def command(listen: str, pairs: tuple[str, ...], file: Path | None, images: tuple[str, ...], allow_all: bool) -> None:
    """Answer /password, /pubkey, /authz and /config, so that a server has somebody to ask.

    Without --user and --users, the users foo and busybox are let in with any password and key; busybox
    gets the image of that name.  This is for trying things out, never for real users: whoever reaches it
    can ask it anything.
    """
    from moorage import log
    from moorage.config.sections.ssh import listen_problem
    from moorage.errors import Failure
    from moorage.web.authserver import TRYOUT, AuthServer, Directory

    if wrong := listen_problem(listen):
        raise click.BadParameter(f"{wrong}; write HOST:PORT.", param_hint="--listen")
    host, _, port = listen.rpartition(":")
    directory = Directory(passwords=dict(_split(pairs, ":", "--user"))) if pairs or file else TRYOUT
    directory = replace(directory, welcomes_all=allow_all)
    for name, image in _split(images, "=", "--image"):
        directory = directory.with_image(name, image)

    log.configure(level="warning", format="text", destination=log.Destination(stream=sys.stderr))

    async def serve() -> None:
        from moorage.auth.users import UsersAuthenticator
        from moorage.service import Supervisor

        users = UsersAuthenticator(file) if file else None
        server = AuthServer(replace(directory, users=users), host=host.strip("[]"), port=int(port))
        try:
            await Supervisor([server], drain_timeout=0).run(
                lambda: click.echo(f"The auth server is listening on http://{server.address}.  Ctrl-C ends it.")
            )
        finally:
            if users:
                await users.close()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise click.ClickException(f"{listen}: {error.strerror or error}") from error
    except Failure as error:
        raise click.ClickException(str(error)) from error


def _split(texts: tuple[str, ...], separator: str, option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        left, found, right = text.partition(separator)
        if not left or not found or not right:
            raise click.BadParameter(
                f"write NAME{separator}{'PASSWORD' if separator == ':' else 'IMAGE'}.", param_hint=option
            )
        pairs.append((left, right))
    return pairs
