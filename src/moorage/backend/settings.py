"""How an agent in a guest starts programs, from the keys that every backend has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from moorage.agent.messages import GuestSettings
from moorage.config.sections.names import DEFAULT_SUBSYSTEMS

DEFAULT_SHELL: Final = ("/bin/bash",)


def guest_settings(*, shell_command: Sequence[str], subsystems: Mapping[str, str]) -> GuestSettings:
    """How the agent starts programs: what was not configured means the image's own shell and our SFTP server."""
    shell = tuple(shell_command)
    return GuestSettings(
        shell_command=None if shell == DEFAULT_SHELL else shell,
        subsystems={
            name: None if name == "sftp" and path == DEFAULT_SUBSYSTEMS["sftp"] else path
            for name, path in subsystems.items()
        },
    )
