"""Where the agent's binaries are: inside the package, one for each architecture of a guest."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from moorage.codes import Code
from moorage.errors import BackendError

ARCHITECTURES: Final = ("amd64", "arm64")

_ALIASES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""Other names of the same machines: the kernel's, and those that engines report."""


def agent_binary(architecture: str) -> Path:
    """The agent for `architecture` (``amd64``, ``x86_64``, …); raises `BackendError` if this package has none."""
    name = _ALIASES.get(architecture, architecture)
    if name not in ARCHITECTURES:
        raise _missing(f"there is no agent for the architecture {architecture!r}, only for {', '.join(ARCHITECTURES)}")
    path = Path(str(resources.files("moorage.agent").joinpath("bin", f"moorage-agent-linux-{name}")))
    if not path.is_file():
        raise _missing(
            f"this package was built without the agent for {name} ({path.name} is missing): "
            "install a wheel, or build from source with Go at hand"
        )
    return path


def _missing(explanation: str) -> BackendError:
    return BackendError(explanation, user_text="Your environment could not be started.", code=Code.GUEST_OPEN_FAILED)
