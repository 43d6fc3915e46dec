"""Authenticators of other packages: entry points of the group ``moorage.authenticators``.

An entry point names a function that takes the settings and returns a provider, see `moorage.auth.contract`: an
object with ``close`` and with one method for each of the ways that it is chosen for — ``password``, ``public_key``,
``keyboard_interactive``, ``authorize``.
"""

from __future__ import annotations

from typing import Any, Final

from moorage.codes import Code
from moorage.config.plugins import having, provided
from moorage.config.sections.directories import PluginConfig
from moorage.errors import ConfigError

GROUP: Final = "moorage.authenticators"


def load(config: PluginConfig) -> Any:
    """The provider that `config` names, made with its settings; raises `ConfigError` that says what is missing."""
    return demanded(provided(GROUP, _named(config.name), config, _unusable), config.name, "close")


def demanded(provider: Any, name: str, method: str) -> Any:
    """`provider`, which has to have this method; raises `ConfigError`."""
    return having(provider, method, _named(name), _unusable)


def _named(name: str) -> str:
    return f"the authenticator {name!r}"


def _unusable(text: str) -> ConfigError:
    return ConfigError(f"auth.plugin: {text}", code=Code.AUTH_CONFIG_ERROR)
