"""Public keys from one authorized_keys file for each user, as OpenSSH's ``AuthorizedKeysFile`` names them."""

from __future__ import annotations

import asyncio
import hmac
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from moorage.auth.authorizedline import AuthorizedKey, parse_line
from moorage.auth.keys import parse_key
from moorage.codes import Code
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Attempt, Verdict

LARGEST_FILE: Final = 1024 * 1024
MOST_LINES: Final = 10_000


class AuthorizedKeys:
    """Looks a key up in the file of its user, which is read anew for every key; implements `PublicKeyProvider`.

    A user without a file is refused.  So is every key of a file that others than its owner may write, or that
    cannot be read: `AuthError`.  A line that cannot be honoured is logged and lets nobody in.
    """

    def __init__(self, pattern: str, *, clock: Callable[[], float] = time.time) -> None:
        """`pattern` is a path in which ``%u`` stands for the user's name; raises `ConfigError` if it has none."""
        if "%u" not in pattern or not pattern.startswith("/"):
            raise ConfigError(
                "auth.publicKey.authorizedKeys.file: write an absolute path with %u for the user's name",
                code=Code.AUTH_CONFIG_ERROR,
            )
        self._pattern = pattern
        self._clock = clock

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        path = self._path(attempt.username)
        if path is None:
            return Verdict(False, reason="the user name cannot be part of a path")
        try:
            blob = parse_key(key).blob
        except ValueError as error:
            return Verdict(False, reason=str(error))
        return await asyncio.to_thread(self._decide, path, blob, attempt)

    async def close(self) -> None:
        pass

    def _path(self, username: str) -> str | None:
        if not username or "/" in username or "\0" in username or username in {".", ".."} or not username.isprintable():
            return None
        return self._pattern.replace("%u", username)

    def _decide(self, path: str, blob: bytes, attempt: Attempt) -> Verdict:
        try:
            content = _read(path)
        except FileNotFoundError:
            return Verdict(False, reason="the user has no file of keys")
        except OSError as error:
            if error.strerror == "File name too long":
                return Verdict(False, reason="the user name is too long for a path")
            raise AuthError(f"{path} cannot be read: {error.strerror}", code=Code.AUTH_BACKEND_ERROR) from error
        except ValueError as error:
            raise AuthError(f"{path} cannot be used: {error}", code=Code.AUTH_BACKEND_ERROR) from None
        reason = "the key is not in the user's file"
        for known in _keys(path, content, attempt):
            if hmac.compare_digest(known.key.blob, blob):
                reason = known.refusal(attempt.remote_address.host, self._clock())
                if not reason:
                    return Verdict(True, attempt.username, known.metadata, known.restrictions)
        return Verdict(False, reason=reason)


def _read(path: str) -> str:
    # Without waiting: a named pipe must not hold a thread for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_mode & 0o022:
            raise ValueError("others than its owner may write to it; make it 0644 or 0600")
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError("it is larger than 1 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _keys(path: str, content: str, attempt: Attempt) -> Iterator[AuthorizedKey]:
    for number, line in enumerate(content.split("\n")[:MOST_LINES], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield parse_line(line)
        except ValueError as error:
            structlog.get_logger().warning(
                f"{path}: line {number}: {error}",
                code=Code.AUTH_CONFIG_ERROR,
                connectionId=attempt.connection_id,
                username=attempt.username,
            )
