"""Credentials for object storage from a file, in the form of ``~/.aws/credentials``."""

from __future__ import annotations

import configparser
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypedDict

from moorage.codes import Code
from moorage.errors import ConfigError

GOOD_FOR: Final = timedelta(seconds=10)
"""How long what was read is used before the file is read again."""

_LARGEST: Final = 64 * 1024


class Credential(TypedDict):
    """What the library is to know."""

    access_key_id: str
    secret_access_key: str
    token: str | None
    expires_at: datetime | None


class CredentialsFile:
    """A section of a file; called for what it says now."""

    def __init__(self, path: Path, profile: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._profile = profile
        self._now = now

    def __call__(self) -> Credential:
        """The credentials; raises `ConfigError`, which shows none of them."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with self._path.open(encoding="utf-8") as file:
                parser.read_string(file.read(_LARGEST))
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error
        except configparser.Error:
            raise self._unusable("is not in the form of ~/.aws/credentials") from None
        if not parser.has_section(self._profile):
            raise self._unusable(f"has no section [{self._profile}]")
        section = parser[self._profile]
        found = [section.get(name, "").strip() for name in ("aws_access_key_id", "aws_secret_access_key")]
        if not all(found):
            raise self._unusable(f"[{self._profile}] needs aws_access_key_id and aws_secret_access_key")
        return {
            "access_key_id": found[0],
            "secret_access_key": found[1],
            "token": section.get("aws_session_token", "").strip() or None,
            "expires_at": self._now() + GOOD_FOR,
        }

    def _unusable(self, text: str) -> ConfigError:
        return ConfigError(f"{self._path}: {text}", code=Code.CORE_CONFIG_ERROR)
