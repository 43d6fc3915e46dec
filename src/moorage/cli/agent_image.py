"""``moorage agent-image``: the image from which pods get our agent."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from moorage import __version__


@click.command(
    "agent-image",
    short_help="Write the image from which pods get our agent.",
    epilog="""\b
Examples:
  moorage agent-image agent.tar
  moorage agent-image --architecture arm64 --name registry.example/moorage/agent:1 agent.tar
  docker load <agent.tar && docker push registry.example/moorage/agent:1
  ctr -n k8s.io images import agent.tar""",
)
@click.option(
    "--architecture",
    type=click.Choice(["amd64", "arm64"]),
    default=lambda: {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64"),
    show_default="this machine's",
    help="The processor of the nodes.",
)
@click.option("--name", default=f"moorage/agent:{__version__}", show_default=True, help="The image's name.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
def command(architecture: str, name: str, file: Path) -> None:
    """Write an image with the guest's agent and nothing else to FILE, as `docker save` would.

    The Kubernetes backend puts the agent into pods from it (kubernetes.pod.agentImage).  No engine, registry or base
    image is needed to make it; load it into the nodes, or into a registry that they can reach.
    """
    from moorage.agent.image import write_image
    from moorage.errors import Failure

    try:
        with click.open_file(str(file), "wb") as target:
            write_image(target, architecture=architecture, name=name)
    except (Failure, OSError) as error:
        raise click.ClickException(str(error)) from error
