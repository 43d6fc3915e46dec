"""Authenticators of other packages: entry points of the group ``moorage.authenticators``.

An entry point names a function that takes the settings and returns a provider, see `moorage.auth.contract`: an
object with ``close`` and with one method for each of the ways that it is chosen for — ``password``, ``public_key``,
``keyboard_interactive``, ``authorize``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from moorage.codes import Code
from moorage.config.sections.directories import PluginConfig
from moorage.errors import ConfigError

GROUP: Final = "moorage.authenticators"


def load(config: PluginConfig) -> Any:
    """The provider that `config` names, made with its settings; raises `ConfigError` that says what is missing."""
    found = tuple(entry_points(group=GROUP, name=config.name))
    if not found:
        installed = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none"
        raise _unusable(f"no package brings an authenticator {config.name!r}; installed are: {installed}")
    settings = dict(entry.split("=", 1) for entry in config.settings if "=" in entry)
    try:
        provider = found[0].load()(settings)
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as cause:
        raise _unusable(f"the authenticator {config.name!r} cannot be used: {cause}") from cause
    return having(provider, config.name, "close")


def having(provider: Any, name: str, method: str) -> Any:
    """`provider`, which has to have this method; raises `ConfigError`."""
    if not callable(getattr(provider, method, None)):
        raise _unusable(f"the authenticator {name!r} has no method {method}")
    return provider


def _unusable(text: str) -> ConfigError:
    return ConfigError(f"auth.plugin: {text}", code=Code.AUTH_CONFIG_ERROR)
