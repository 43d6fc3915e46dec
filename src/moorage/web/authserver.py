"""A small authentication and configuration server, for trying things out and for tests.

It answers the four webhooks, ``/password``, ``/pubkey``, ``/authz`` and ``/config``, below
any prefix.  Who may log in stands in a `Directory`.  It is not meant for the internet:
it speaks plain HTTP and believes everybody who can reach it.
"""

from __future__ import annotations

import binascii
import copy
import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from moorage.auth.users import UsersAuthenticator
from moorage.codes import Code
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId, TextValue, Verdict

if TYPE_CHECKING:
    from aiohttp import web

_LARGEST_REQUEST: Final = 1024 * 1024


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

        application = web.Application(client_max_size=_LARGEST_REQUEST)
        application.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
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

    async def _answer(self, request: web.Request) -> web.Response:
        """The routes: the last part of the path says which hook is called."""
        from aiohttp import web

        hooks = {
            "password": self._password,
            "pubkey": self._public_key,
            "authz": self._authorization,
            "config": self._config,
        }
        hook = hooks.get(request.path.rpartition("/")[2])
        if hook is None:
            return web.Response(status=404)
        try:
            fields = json.loads(await request.read())
            if not isinstance(fields, dict):
                raise TypeError("the body is not an object")
            answer = await hook(fields)
        except (ValueError, TypeError, RecursionError):
            return web.json_response({"error": "the request is not what this hook takes"}, status=400)
        except AuthError as error:
            structlog.get_logger().error(str(error), code=error.code)
            return web.json_response({"success": False}, status=500)
        return web.json_response(answer)

    async def _password(self, fields: Mapping[str, Any]) -> object:
        try:
            password = b64decode(_text(fields, "passwordBase64"), validate=True)
        except binascii.Error:
            raise ValueError("passwordBase64 is not base64") from None
        return _decided(await self._directory.password(_attempt(fields), password))

    async def _public_key(self, fields: Mapping[str, Any]) -> object:
        return _decided(await self._directory.public_key(_attempt(fields), _text(fields, "publicKey")))

    async def _authorization(self, fields: Mapping[str, Any]) -> object:
        name = _text(fields, "authenticatedUsername") or _text(fields, "username")
        return _decided(Verdict(await self._directory.knows(name), name))

    async def _config(self, fields: Mapping[str, Any]) -> object:
        return {"config": self._directory.configs.get(_text(fields, "username"), {})}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a string")
    return value


def _attempt(fields: Mapping[str, Any]) -> Attempt:
    return Attempt(ConnectionId(_text(fields, "connectionId")), Address("", 0), "", _text(fields, "username"))


def _decided(verdict: Verdict) -> object:
    if not verdict.success:
        return {"success": False}
    metadata = verdict.metadata
    collections = {"metadata": _texts(metadata.metadata), "environment": _texts(metadata.environment)}
    return {
        "success": True,
        "authenticatedUsername": verdict.authenticated_username,
        **{name: values for name, values in collections.items() if values},
    }


def _texts(values: Mapping[str, TextValue]) -> Mapping[str, object]:
    return {name: {"value": text.value, "sensitive": text.sensitive} for name, text in values.items()}
