"""Where a login's configuration comes from: the file alone, or the file and the configuration hook."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import structlog

from moorage.auth import wire
from moorage.auth.contract import HookKind, HookObserver
from moorage.auth.hook import Hook
from moorage.codes import Code
from moorage.config import AppConfig, overlay
from moorage.config.clients import endpoint_of
from moorage.errors import ConfigError
from moorage.gateway.contract import ConfigSource
from moorage.gateway.model import Attempt, Verdict
from moorage.net.http import WebClient

BUDGET: Final = timedelta(seconds=60)
"""The longest that one login waits for its configuration."""

_USER_TEXT: Final = "Your environment is not configured correctly."


def config_source(config: AppConfig, *, observer: HookObserver | None = None) -> ConfigSource:
    """The source that `config` asks for.  Raises `ConfigError` if the hook's settings cannot be used."""
    return ConfigHook(config, observer=observer) if config.configserver.url else FileAlone(config)


class FileAlone:
    """The same configuration for every login."""

    def __init__(self, config: AppConfig) -> None:
        self._config = config

    async def resolve(self, attempt: Attempt) -> tuple[AppConfig, Attempt]:
        return self._config, attempt

    def rebase(self, config: AppConfig) -> None:
        self._config = config

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Said:
    """What the hook has answered."""

    config: Mapping[str, Any]
    attached: Verdict


class ConfigHook:
    """Asks the configuration server about each login and lays its answer over the file's configuration.

    The merged configuration is validated as a whole; one that is not valid is refused, never used in part.
    """

    def __init__(
        self,
        config: AppConfig,
        *,
        observer: HookObserver | None = None,
        budget: timedelta = BUDGET,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises `ConfigError` if the hook's settings cannot be used."""
        self._base = config
        self._transmit_sensitive = config.configserver.transmit_sensitive_metadata
        try:
            self._client = WebClient(endpoint_of(config.configserver))
        except ValueError as error:
            raise ConfigError(f"configserver: {error}") from error
        secret = config.configserver.secret.get_secret_value().encode()
        self._is_old = config.configserver.protocol == "0.4"
        self._hook = Hook(
            self._client, HookKind.CONFIG, path="", budget=budget, secret=secret, observer=observer, sleep=sleep
        )

    async def resolve(self, attempt: Attempt) -> tuple[AppConfig, Attempt]:
        body = (
            wire.old_request(attempt, is_config=True) if self._is_old else wire.login_request(self._sendable(attempt))
        )
        said, _ = await self._hook.ask(attempt, body, _read, confidential=self._is_confidential(attempt))
        structlog.get_logger().debug(
            "the configuration server has answered",
            code=Code.CONFIG_RESPONSE,
            connectionId=attempt.connection_id,
            username=attempt.username,
            url=self._client.url,
        )
        try:
            config = overlay(self._base, said.config)
        except ConfigError as error:
            raise ConfigError(
                f"the configuration from {self._client.url} cannot be used: {error}",
                user_text=_USER_TEXT,
                code=Code.BACKEND_CONFIG_ERROR,
            ) from error
        return config, said.attached.applied(attempt)

    def rebase(self, config: AppConfig) -> None:
        self._base = config

    async def close(self) -> None:
        await self._client.close()

    def _sendable(self, attempt: Attempt) -> Attempt:
        if self._transmit_sensitive:
            return attempt
        return replace(attempt, metadata=wire.without_sensitive(attempt.metadata))

    def _is_confidential(self, attempt: Attempt) -> bool:
        return self._transmit_sensitive and wire.has_sensitive(attempt.metadata)


def _read(answer: object) -> _Said:
    name, metadata = wire.read_attached(answer)
    return _Said(wire.read_config(answer), Verdict(True, name, metadata))
