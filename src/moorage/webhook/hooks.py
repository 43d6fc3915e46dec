"""The hooks that a server offers, and one request from its bytes to the answer's bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from moorage.webhook.models import (
    Accepted,
    AuthorizationRequest,
    Configuration,
    ConfigurationRequest,
    OneTimePasswordRequest,
    PasswordRequest,
    PublicKeyRequest,
)
from moorage.webhook.signature import SignatureError, verify

LARGEST_REQUEST: Final = 1024 * 1024
_log: Final = logging.getLogger("moorage.webhook")


class NotOffered(Exception):
    """The hook is not one of this server's; the caller gets status 404."""


class Hooks:
    """Answers hooks.  Override those that you offer; the others do not exist for the caller.

    `False` refuses the login, `True` or `Accepted` lets it go on.  An exception is status 500: the caller tries
    again for a while and lets nobody in meanwhile.  Requests may come at the same time.
    """

    async def password(self, request: PasswordRequest) -> Accepted | bool:
        """Is this the user's password?  (``/password``)"""
        raise NotOffered

    async def public_key(self, request: PublicKeyRequest) -> Accepted | bool:
        """May this key log in?  (``/pubkey``)"""
        raise NotOffered

    async def one_time_password(self, request: OneTimePasswordRequest) -> Accepted | bool:
        """Is this the user's one-time password?  (``/otp``)"""
        raise NotOffered

    async def authorization(self, request: AuthorizationRequest) -> Accepted | bool:
        """May this user go on?  (``/authz``)"""
        raise NotOffered

    async def configuration(self, request: ConfigurationRequest) -> Configuration | Mapping[str, Any]:
        """Which configuration does this login get?  (``/config``)  A plain map is the configuration itself."""
        raise NotOffered


@dataclass(frozen=True, slots=True)
class Hook:
    """How a hook is called: its name in the path, the method of `Hooks`, and the model of what it is asked."""

    name: str
    method: str
    request: type[BaseModel]
    answer: type[BaseModel] = Accepted


HOOKS: Final = {
    hook.name: hook
    for hook in (
        Hook("password", "password", PasswordRequest),
        Hook("pubkey", "public_key", PublicKeyRequest),
        Hook("otp", "one_time_password", OneTimePasswordRequest),
        Hook("authz", "authorization", AuthorizationRequest),
        Hook("config", "configuration", ConfigurationRequest, Configuration),
    )
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: always JSON."""

    status: int
    body: bytes = field(repr=False)


async def respond(
    hooks: Hooks, path: str, body: bytes, *, method: str = "POST", signature: str = "", secret: bytes = b""
) -> Reply:
    """Have `hooks` answer a request; the last part of `path` says which one.

    With a `secret` every request has to be signed.  Raises nothing: whatever goes wrong is a status, and its text
    quotes nothing that was sent.
    """
    hook = HOOKS.get(path.rpartition("/")[2])
    if hook is None:
        return _error(404, "there is no such hook")
    if method != "POST":
        return _error(405, "hooks are asked by POST")
    if len(body) > LARGEST_REQUEST:
        return _error(413, "the request is too large")
    if secret:
        try:
            verify(secret, hook.name, body, signature)
        except SignatureError as error:
            return _error(401, str(error))
    try:
        request = hook.request.model_validate_json(body)
    except (ValidationError, ValueError):
        return _error(400, "the request is not what this hook takes")
    try:
        answer = await getattr(hooks, hook.method)(request)
        return Reply(200, _encoded(answer, hook))
    except NotOffered:
        return _error(404, "this server does not offer the hook")
    except Exception:  # noqa: BLE001 - it is the author's hook, and its failure is an answer
        _log.exception("the hook %s has failed", hook.name)
        decision = {} if hook.answer is Configuration else {"success": False}
        return Reply(500, json.dumps({**decision, "error": "the hook has failed"}).encode())


def _encoded(answer: Any, hook: Hook) -> bytes:
    if hook.answer is Configuration:
        made = answer if isinstance(answer, Configuration) else Configuration(config=dict(answer))
        return made.model_dump_json(by_alias=True, exclude_defaults=True).encode()
    if answer is False:
        return b'{"success":false}'
    if answer is True:
        return b'{"success":true}'
    if not isinstance(answer, Accepted):
        raise TypeError(f"the hook answers with {type(answer).__name__} instead of True, False or Accepted")
    # What is attached is complete: every value says whether it is sensitive.
    fields = {
        name: value
        for name, value in answer.model_dump(by_alias=True, mode="json").items()
        if value not in ("", {}, [])
    }
    return json.dumps({"success": True, **fields}).encode()


def _error(status: int, text: str) -> Reply:
    return Reply(status, json.dumps({"error": text}).encode())
