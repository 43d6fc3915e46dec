"""What of a configuration may change while the server runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moorage.config import AppConfig

FOR_NEW_LOGINS: Final = ("backend", "docker", "kubernetes", "sshproxy", "sandbox", "security")
"""Sections that each login is given anew."""

LOG: Final = ("level", "format")
LIMITS: Final = ("max_auth_tries", "max_env_bytes")
"""Keys of ``log`` and ``ssh`` that take effect at once."""


def reloaded(running: AppConfig, fresh: AppConfig) -> tuple[AppConfig, tuple[str, ...]]:
    """The configuration to go on with, and the keys whose new values need a restart to take effect."""
    update = {name: getattr(fresh, name) for name in FOR_NEW_LOGINS}
    update["log"] = running.log.model_copy(update={name: getattr(fresh.log, name) for name in LOG})
    update["ssh"] = running.ssh.model_copy(update={name: getattr(fresh.ssh, name) for name in LIMITS})
    config = running.model_copy(update=update)
    return config, tuple(_differences(config, fresh))


def _differences(one: AppConfig, other: AppConfig) -> Iterator[str]:
    for name in AppConfig.model_fields:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine == theirs:
            continue
        for key, field in type(mine).model_fields.items():
            if getattr(mine, key) != getattr(theirs, key):
                yield f"{name}.{field.alias or key}"
