"""What other packages bring: entry points that name a function of the settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from moorage.config.sections.directories import PluginConfig
from moorage.errors import ConfigError


def provided(group: str, named: str, config: PluginConfig, unusable: Callable[[str], ConfigError]) -> Any:
    """What the entry point ``config.name`` of `group`, `named` so for people, makes of the settings.

    Raises `unusable` of a text that says what is missing.
    """
    found = tuple(entry_points(group=group, name=config.name))
    if not found:
        installed = ", ".join(sorted(point.name for point in entry_points(group=group))) or "none"
        raise unusable(f"no package brings {named}; installed are: {installed}")
    settings = dict(entry.split("=", 1) for entry in config.settings if "=" in entry)
    try:
        return found[0].load()(settings)
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as cause:
        raise unusable(f"{named} cannot be used: {cause}") from cause


def having(provider: Any, method: str, named: str, unusable: Callable[[str], ConfigError]) -> Any:
    """`provider`, which has to have this method; raises `unusable` of a text that says that what is `named` has not."""
    if not callable(getattr(provider, method, None)):
        raise unusable(f"{named} has no method {method}")
    return provider
