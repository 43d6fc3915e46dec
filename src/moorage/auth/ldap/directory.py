"""What a login asks of a directory: whose password this is, and what is known of the user."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from moorage.auth.ldap.client import BASE, SIZE_LIMIT, SUBTREE, Connection, Found, LDAPError, Server, connect
from moorage.auth.ldap.templates import Filter, name_of, parse_filter
from moorage.codes import Code
from moorage.config.sections.directories import LDAPConfig
from moorage.errors import AuthError, ConfigError
from moorage.net import tls

MOST_GROUPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """A user as the directory has him."""

    name: str
    """His distinguished name."""
    attributes: Mapping[str, Sequence[str]]
    """Values by the attribute's name in lower case; what is no UTF-8 is left out."""
    groups: tuple[str, ...] = ()


class Directory:
    """Looks users up and tries their passwords, on a connection of its own for each login."""

    def __init__(self, config: LDAPConfig) -> None:
        """Raises `ConfigError` for settings that cannot be used."""
        self._config = config
        self.attributes = dict(entry.split("=", 1) for entry in config.metadata if "=" in entry)
        """The attribute for each name of metadata."""
        self._seconds = config.timeout.total_seconds()
        try:
            context = None
            if config.url.startswith("ldaps:") or config.start_tls:
                context = tls.client_context(ca=tls.pem_text(config.cacert), version=config.tls_version)
            self._users: Filter = parse_filter(config.search_filter)
            self._groups: Filter = parse_filter(config.group_filter)
        except ValueError as error:
            raise ConfigError(f"auth.ldap: {error}", code=Code.AUTH_CONFIG_ERROR) from error
        self._server = Server(config.url, context, config.start_tls)

    async def verified(self, username: str, password: bytes) -> Entry | None:
        """The user if this is his password; None for a wrong one and for nobody.  Raises `AuthError`."""
        async with self._connected() as connection:
            if self._config.user_dn:
                if not await connection.bind(name_of(self._config.user_dn, username), password):
                    return None
                await self._bind_service(connection)
                return await self._found(connection, username)
            await self._bind_service(connection)
            entry = await self._found(connection, username)
            # Nobody costs the same bind as somebody.
            name = entry.name if entry else f"cn={secrets.token_hex(8)},{self._config.search_base}"
            return entry if await connection.bind(name, password) else None

    async def known(self, username: str) -> Entry | None:
        """The user as the directory has him, without a password; None for nobody.  Raises `AuthError`."""
        async with self._connected() as connection:
            await self._bind_service(connection)
            return await self._found(connection, username)

    async def _found(self, connection: Connection, username: str) -> Entry | None:
        """The one entry of the user, with his groups; None if there is none, or if it is not certain which."""
        config = self._config
        wanted = [config.username_attribute, config.public_key_attribute, *self.attributes.values()]
        asked = self._users({"u": username})
        scope, base = (BASE, name_of(config.user_dn, username)) if config.user_dn else (SUBTREE, config.search_base)
        try:
            entries = await connection.search(base, scope, asked, [name for name in wanted if name], most=1)
        except LDAPError as error:
            if error.result == SIZE_LIMIT:
                return None
            raise
        if len(entries) != 1:
            return None
        name, attributes = entries[0][0], _texts(entries[0])
        if username not in attributes.get(config.username_attribute.lower(), []):
            return None  # directories find `Mia` for `mia`; to us they are two
        groups: list[str] = []
        if config.group_base:
            asked = self._groups({"u": username, "d": name})
            attribute = config.group_attribute
            for group in await connection.search(config.group_base, SUBTREE, asked, [attribute], most=MOST_GROUPS):
                groups += _texts(group).get(attribute.lower(), [])
        return Entry(name, attributes, tuple(sorted(groups)))

    async def _bind_service(self, connection: Connection) -> None:
        """Become `bindDN`; without one, who was bound before goes on: nobody, or the user himself."""
        password = self._config.bind_password.get_secret_value().encode()
        if self._config.bind_dn and not await connection.bind(self._config.bind_dn, password):
            raise LDAPError("the password of auth.ldap.bindDN is refused")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            async with connect(self._server, seconds=self._seconds) as connection:
                yield connection
        except LDAPError as error:
            raise AuthError(f"the directory {self._config.url}: {error}") from None


def _texts(found: Found) -> dict[str, list[str]]:
    read: dict[str, list[str]] = {}
    for name, values in found[1].items():
        texts = read.setdefault(name, [])
        for value in values:
            try:
                texts.append(value.decode())
            except UnicodeDecodeError:
                continue
    return read
