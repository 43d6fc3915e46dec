"""The services that decide about logins, asked once each about a stranger: do they answer, how soon, and what?"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from moorage.auth.chain import AuthChain
from moorage.auth.configserver import ConfigHook
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import Failure
from moorage.gateway.model import Address, Attempt, ConnectionId
from moorage.net.http import CallError, shown

STRANGER: Final = "moorage-check"
"""The name that is asked about; no user should have it."""

_SILENT: Final = frozenset({Code.HTTP_CLIENT_CONNECTION_FAILED, Code.HTTP_CLIENT_DECODE_FAILED})
_PARTS: Final = ("password", "public_key", "authz")


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one question."""

    name: str
    url: str
    milliseconds: int
    is_good: bool
    text: str

    def __str__(self) -> str:
        return f"{self.name:<10} {self.url}  {self.milliseconds} ms  {self.text}"


def asked(config: AppConfig) -> list[Answered]:
    """The answers of all webhooks of `config`, none of which is asked more than once."""
    return asyncio.run(_asked(_impatient(config)))


async def _asked(config: AppConfig) -> list[Answered]:
    attempt = Attempt(ConnectionId(secrets.token_hex(16)), Address("127.0.0.1", 0), "SSH-2.0-moorage-check", STRANGER)
    chain = AuthChain(config)
    source = ConfigHook(config, budget=config.configserver.timeout) if config.configserver.url else None
    try:
        return [await one for one in _questions(config, chain, source, attempt)]
    finally:
        await chain.close()
        if source is not None:
            await source.close()


def _questions(
    config: AppConfig, chain: AuthChain, source: ConfigHook | None, attempt: Attempt
) -> Iterator[Awaitable[Answered]]:
    auth = config.auth
    if auth.password.method == "webhook":
        word = secrets.token_hex(16).encode()
        yield _timed("password", auth.password.webhook.url, lambda: chain.password(attempt, word))
    if auth.public_key.method == "webhook":
        yield _timed("publicKey", auth.public_key.webhook.url, lambda: chain.public_key(attempt, _key()))
    if auth.authz.method == "webhook":
        yield _timed("authz", auth.authz.webhook.url, lambda: chain.authorize(attempt))
    if source is not None:
        yield _timed("config", config.configserver.url, lambda: source.resolve(attempt))


async def _timed(name: str, url: str, ask: Callable[[], Awaitable[Any]]) -> Answered:
    begun = monotonic()
    try:
        said = await ask()
    except Failure as failure:
        cause = failure.__cause__ or failure
        # What a configuration server does with a name that it does not know is its own affair, as long as it answers.
        is_good = name == "config" and not (isinstance(cause, CallError) and cause.code in _SILENT)
        text = f"{'does not know the name' if is_good else 'fails'}: {cause}"
    else:
        is_let_in = getattr(said, "success", False) and name != "authz"
        is_good = not is_let_in
        text = "lets a stranger in" if is_let_in else "answers"
    return Answered(name, shown(url), round((monotonic() - begun) * 1000), is_good, text)


def _key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _impatient(config: AppConfig) -> AppConfig:
    """`config` whose webhooks are not asked again."""
    parts = {}
    for attribute in _PARTS:
        part = getattr(config.auth, attribute)
        hook = part.webhook.model_copy(update={"auth_timeout": part.webhook.timeout})
        parts[attribute] = part.model_copy(update={"webhook": hook})
    return config.model_copy(update={"auth": config.auth.model_copy(update=parts)})
