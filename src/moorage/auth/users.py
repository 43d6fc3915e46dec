"""Users in a local file, re-read when it changes: passwords and public keys without any service."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from moorage.auth.hashes import Verifier
from moorage.auth.keys import is_among
from moorage.auth.totp import Codes
from moorage.auth.usersfile import User, Users, read_users
from moorage.codes import Code
from moorage.errors import AuthError, ConfigError
from moorage.gateway.contract import Ask
from moorage.gateway.model import Attempt, Prompt, Round, Verdict

_CODE: Final = Round(prompts=(Prompt("One-time password: "),))

_Signature = tuple[int, int, int, int, int]


class UsersAuthenticator:
    """Checks passwords and public keys against a users file.

    A name that is unknown, disabled or without a password is refused in the time that a
    wrong password takes.  A change of the file counts from the next attempt on; a change that
    cannot be used is logged once and the users stay as they were.  When the file is gone
    or cannot be read nobody gets in: `AuthError`.
    """

    def __init__(self, path: Path, *, verifier: Verifier | None = None, clock: Callable[[], float] = time.time) -> None:
        """Reads `path`; raises `ConfigError` if it cannot be used."""
        self._path = path
        self._verifier = verifier or Verifier()
        self._clock = clock
        self._codes = Codes()
        self._reloading = asyncio.Lock()
        try:
            self._users, status = read_users(path)
        except OSError as error:
            raise ConfigError(
                f"users file {path} cannot be read: {error.strerror}; `moorage users add NAME --file {path}` makes one",
                code=Code.AUTH_CONFIG_ERROR,
            ) from error
        self._signature = _signature(status)
        self._warn_about_mode(status)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        users = await self._current()
        user = _enabled(users, attempt.username)
        matches = await self._verifier.matches(user.password if user else None, password, users.costs)
        return _accepted(user) if user and matches else Verdict(False)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        user = _enabled(await self._current(), attempt.username)
        return _accepted(user) if is_among(key, user.keys if user else ()) and user else Verdict(False)

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        """Asks for the one-time password of the moment; a user without a secret is asked in vain."""
        (code,) = await ask(_CODE)
        user = _enabled(await self._current(), attempt.username)
        accepted = self._codes.accepts(attempt.username, user.totp if user else None, code, now=self._clock())
        return _accepted(user) if user and accepted else Verdict(False, reason="the one-time password is not the one")

    async def required(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        """The user's own lists of methods; none for one without."""
        user = _enabled(await self._current(), attempt.username)
        return user.methods if user else ()

    async def knows(self, name: str) -> bool:
        """Is there a user of this name who is not disabled?"""
        return _enabled(await self._current(), name) is not None

    async def verdict_on(self, name: str) -> Verdict:
        """What is attached to a user who is in the file and not disabled; a refusal for everybody else."""
        user = _enabled(await self._current(), name)
        return _accepted(user) if user is not None else Verdict(False)

    async def principals_of(self, name: str) -> Sequence[str] | None:
        """The principals of certificates that are good for this user; None if the file says nothing about them."""
        user = _enabled(await self._current(), name)
        return user.principals if user is not None else None

    async def close(self) -> None:
        self._verifier.close()

    async def _current(self) -> Users:
        try:
            if self._has_changed():
                async with self._reloading:
                    if self._has_changed():
                        await self._reload()
        except OSError as error:
            raise AuthError(f"users file {self._path} cannot be read: {error.strerror}") from error
        return self._users

    @property
    def _log(self) -> Any:
        return structlog.get_logger().bind(file=str(self._path))

    def _has_changed(self) -> bool:
        return _signature(self._path.stat()) != self._signature

    async def _reload(self) -> None:
        seen = _signature(self._path.stat())
        try:
            users, status = await asyncio.to_thread(read_users, self._path)
        except ConfigError as error:
            self._signature = seen
            self._log.error(f"{error}; the users stay as they were", code=Code.AUTH_CONFIG_ERROR)
            return
        self._users, self._signature = users, _signature(status)
        self._warn_about_mode(status)
        self._log.info("the users file was read again", code=Code.CONFIG_RELOADED, users=len(users.by_name))

    def _warn_about_mode(self, status: os.stat_result) -> None:
        if status.st_mode & 0o006:
            self._log.warning(
                "the users file is open to anybody on this machine; make it 0600", code=Code.AUTH_CONFIG_ERROR
            )


def _signature(status: os.stat_result) -> _Signature:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _enabled(users: Users, name: str) -> User | None:
    user = users.by_name.get(name)
    return None if user is None or user.disabled else user


def _accepted(user: User) -> Verdict:
    return Verdict(True, user.name, user.metadata)
