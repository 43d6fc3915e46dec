"""Passwords and public keys of an LDAP directory."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from moorage.auth.authorizedline import parse_line
from moorage.auth.keys import parse_key
from moorage.auth.ldap.directory import Directory, Entry
from moorage.config.sections.directories import LDAPConfig
from moorage.gateway.model import Attempt, Metadata, TextValue, Verdict

GROUPS = "LDAP_GROUPS"
"""The metadata that names a user's groups, with commas between."""


class LDAP:
    """Asks a directory; implements `PasswordProvider` and `PublicKeyProvider`.

    The groups and the attributes that the configuration names become metadata of the login.
    """

    def __init__(self, config: LDAPConfig, *, clock: Callable[[], float] = time.time) -> None:
        """Raises `ConfigError`."""
        self._clock = clock
        self._config = config
        self._directory = Directory(config)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        entry = await self._directory.verified(attempt.username, password)
        return self._verdict(attempt, entry, "LDAP: no such user, or another password")

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        entry = await self._directory.known(attempt.username)
        lines = entry.attributes.get(self._config.public_key_attribute.lower(), ()) if entry else ()
        blob = parse_key(key).blob
        reason = "LDAP: no such user, or another key"
        for line in lines:
            try:
                known = parse_line(line)
            except ValueError as error:
                reason = f"LDAP: a key of the user cannot be used: {error}"
                continue
            if not hmac.compare_digest(known.key.blob, blob):
                continue
            refusal = known.refusal(attempt.remote_address.host, self._clock())
            if not refusal:
                verdict = self._verdict(attempt, entry, "")
                return verdict.after(Verdict(True, metadata=known.metadata, restrictions=known.restrictions))
            reason = refusal
        return Verdict(False, reason=reason)

    async def close(self) -> None:
        pass

    def _verdict(self, attempt: Attempt, entry: Entry | None, otherwise: str) -> Verdict:
        if entry is None:
            return Verdict(False, reason=otherwise)
        required = self._config.required_groups
        if required and not set(required) & set(entry.groups):
            return Verdict(False, reason="LDAP: the user is in none of auth.ldap.requiredGroups")
        told = {
            name: TextValue(",".join(entry.attributes.get(attribute.lower(), ())))
            for name, attribute in self._directory.attributes.items()
        }
        if self._config.group_base:
            told[GROUPS] = TextValue(",".join(entry.groups))
        return Verdict(True, attempt.username, Metadata(metadata=told))
