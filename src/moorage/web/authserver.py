"""A small authentication and configuration server, for trying things out and for tests.

It answers the four webhooks, ``/password``, ``/pubkey``, ``/authz`` and ``/config``, below
any prefix.  Who may log in stands in a `Directory`.  It is not meant for the internet:
it speaks plain HTTP and believes everybody who can reach it.
"""

from __future__ import annotations

import copy
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from moorage import webhook
from moorage.auth.users import UsersAuthenticator
from moorage.codes import Code
from moorage.gateway.model import Address, Attempt, ConnectionId, TextValue, Verdict
from moorage.webhook import (
    Accepted,
    AuthorizationRequest,
    ConfigurationRequest,
    Hooks,
    PasswordRequest,
    PublicKeyRequest,
)

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(frozen=True, slots=True)
class Directory:
    """Who may log in, and what each one gets."""

    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names and their passwords."""

    welcome: frozenset[str] = frozenset()
    """Names that any password and any key opens."""

    welcomes_all: bool = False
    """True lets every name in with any password; keys are not concerned."""

    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The partial configuration for a name."""

    users: UsersAuthenticator | None = None
    """Further users, with passwords and keys."""

    def with_image(self, name: str, image: str) -> Directory:
        """This directory, where `name` gets the Docker image `image`."""
        config = copy.deepcopy(dict(self.configs.get(name, {})))
        container = config.setdefault("docker", {}).setdefault("execution", {}).setdefault("container", {})
        container["Image"] = image
        return Directory(self.passwords, self.welcome, self.welcomes_all, {**self.configs, name: config}, self.users)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        """Is this the password?"""
        name = attempt.username
        if self.welcomes_all or name in self.welcome:
            return Verdict(True, name)
        if name in self.passwords:
            matches = hmac.compare_digest(self.passwords[name].encode("utf-8", "surrogateescape"), password)
            return Verdict(True, name) if matches else Verdict(False)
        return await self.users.password(attempt, password) if self.users else Verdict(False)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        """May this key log in?"""
        if attempt.username in self.welcome:
            return Verdict(True, attempt.username)
        return await self.users.public_key(attempt, key) if self.users else Verdict(False)

    async def knows(self, name: str) -> bool:
        """May `name` log in in some way?"""
        if self.welcomes_all or name in self.welcome or name in self.passwords:
            return True
        return self.users is not None and await self.users.knows(name)


TRYOUT: Final = Directory(
    welcome=frozenset({"foo", "busybox"}),
    configs={
        "busybox": {
            "docker": {
                "execution": {
                    "mode": "session",
                    "disableAgent": True,
                    "shellCommand": ["/bin/sh"],
                    "container": {"Image": "busybox"},
                }
            }
        }
    },
)
"""Two users for a first try: `foo`, and `busybox`, who gets that image.  Any password and key will do."""


class AuthServer:
    """A service that answers webhooks from a `Directory`."""

    name = "auth server"

    def __init__(self, directory: Directory, *, host: str, port: int) -> None:
        self._directory = directory
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.address = Address(host, port)
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Returns when the server listens; raises `OSError` if it cannot."""
        from aiohttp import web

        from moorage.webhook.aiohttp import application

        app = application(_Answers(self._directory))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.address = Address(*self._runner.addresses[0][:2])
        structlog.get_logger().info("the auth server is available", code=Code.AUTH_AVAILABLE, address=str(self.address))

    async def drain(self, timeout: float) -> None:
        """End; requests are too short to wait for."""
        del timeout
        await self.stop()

    async def stop(self) -> None:
        """Close the listener and all connections.  Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


class _Answers(Hooks):
    """The hooks of a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def password(self, request: PasswordRequest) -> Accepted | bool:
        return _decided(await self._directory.password(_attempt(request), request.password))

    async def public_key(self, request: PublicKeyRequest) -> Accepted | bool:
        return _decided(await self._directory.public_key(_attempt(request), request.public_key))

    async def authorization(self, request: AuthorizationRequest) -> Accepted | bool:
        name = request.authenticated_username or request.username
        return _decided(Verdict(await self._directory.knows(name), name))

    async def configuration(self, request: ConfigurationRequest) -> Mapping[str, Any]:
        return self._directory.configs.get(request.username, {})


def _attempt(request: PasswordRequest | PublicKeyRequest) -> Attempt:
    return Attempt(ConnectionId(request.connection_id), Address("", 0), request.client_version, request.username)


def _decided(verdict: Verdict) -> Accepted | bool:
    metadata = verdict.metadata
    return verdict.success and Accepted(
        authenticated_username=verdict.authenticated_username,
        metadata=_texts(metadata.metadata),
        environment=_texts(metadata.environment),
    )


def _texts(values: Mapping[str, TextValue]) -> dict[str, webhook.TextValue]:
    return {name: webhook.TextValue(value=text.value, sensitive=text.sensitive) for name, text in values.items()}
