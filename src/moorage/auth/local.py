"""Providers of users that are kept outside of Moorage and need no webhook: PAM, LDAP, files of keys, other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorage.config import AppConfig

if TYPE_CHECKING:
    from moorage.auth.keyfiles import AuthorizedKeys
    from moorage.auth.ldap.provider import LDAP
    from moorage.auth.pam.provider import PAM


class LocalProviders:
    """Makes what a configuration asks for, each once, and imports it then."""

    def __init__(self, config: AppConfig) -> None:
        self._config = config.auth
        self._pam: PAM | None = None
        self._ldap: LDAP | None = None
        self._plugin: Any = None

    def authorized_keys(self) -> AuthorizedKeys:
        """Raises `ConfigError`."""
        from moorage.auth.keyfiles import AuthorizedKeys

        return AuthorizedKeys(self._config.public_key.authorized_keys.file)

    def plugin(self, method: str) -> Any:
        """The same for all methods, once it is known to have `method`; raises `ConfigError`."""
        from moorage.auth import plugins

        if self._plugin is None:
            self._plugin = plugins.load(self._config.plugin)
        return plugins.demanded(self._plugin, self._config.plugin.name, method)

    def pam(self) -> PAM:
        """The same for passwords and questions; raises `ConfigError`."""
        from moorage.auth.pam.provider import PAM

        if self._pam is None:
            self._pam = PAM(self._config.pam)
        return self._pam

    def ldap(self) -> LDAP:
        """The same for passwords and keys; raises `ConfigError`."""
        from moorage.auth.ldap.provider import LDAP

        if self._ldap is None:
            self._ldap = LDAP(self._config.ldap)
        return self._ldap
