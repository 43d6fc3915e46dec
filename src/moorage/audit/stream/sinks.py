"""The places where records go: a file, standard output, syslog, a webhook, or what another package brings.

An entry point of the group ``moorage.audit_sinks`` names a function that takes the settings and returns an object
with two coroutine functions: ``send(records)``, which takes a sequence of mappings and raises what it likes if it
could not take all of them, and ``close()``.  The same records are then sent again, with the same ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from moorage.audit.stream.delivery import Sink, SinkError
from moorage.codes import Code
from moorage.config.clients import endpoint_of, syslog_of
from moorage.config.plugins import having, provided
from moorage.config.sections.directories import PluginConfig
from moorage.config.sections.events import EventSinkConfig, EventWebhookConfig
from moorage.config.sections.log import SyslogConfig
from moorage.errors import ConfigError
from moorage.net.http import CallError, WebClient
from moorage.syslog import Syslog
from moorage.webhook.signature import HEADER, sign

GROUP: Final = "moorage.audit_sinks"
_SEVERITY: Final = 6
_NOT_TAKEN: Final = frozenset({400, 413, 415, 422})
"""Statuses that say that these very records are at fault; any other failure may pass."""


class FileSink:
    """JSON lines at the end of a file; one that was moved away or removed is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    async def send(self, lines: Sequence[bytes]) -> None:
        """See `Sink.send`."""
        await asyncio.to_thread(self._write, b"\n".join(lines) + b"\n")

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes) -> None:
        if not self._is_there():
            self._open()
        begin = os.fstat(self._file).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, begin)  # a disk that is full holds no half lines, and all are written again
            raise

    def _is_there(self) -> bool:
        if self._file < 0:
            return False
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = file


class StdoutSink:
    """JSON lines on standard output."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """See `Sink.send`."""
        sys.stdout.write("".join(f"{line.decode()}\n" for line in lines))
        sys.stdout.flush()

    async def close(self) -> None:
        """See `Sink.close`."""


class SyslogSink:
    """One line of a syslog daemon for each record; what waits for the daemon is bounded there."""

    def __init__(self, settings: SyslogConfig) -> None:
        self._settings = settings
        self._daemon: Syslog | None = None

    async def send(self, lines: Sequence[bytes]) -> None:
        """See `Sink.send`."""
        if self._daemon is None:
            self._daemon = await asyncio.to_thread(syslog_of, self._settings)
        for line in lines:
            self._daemon.write(_SEVERITY, line.decode())

    async def close(self) -> None:
        """See `Sink.close`."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            await asyncio.to_thread(daemon.close)


class WebhookSink:
    """A service that takes POST requests of JSON lines."""

    def __init__(self, config: EventWebhookConfig) -> None:
        """Raises `ValueError` if it cannot be called at all."""
        self._client = WebClient(endpoint_of(config))
        self._authorization = config.authorization.get_secret_value()
        self._secret = config.secret.get_secret_value().encode()
        self._name = urlsplit(config.url).path.rpartition("/")[2]

    async def send(self, lines: Sequence[bytes]) -> None:
        """See `Sink.send`."""
        body = b"\n".join(lines) + b"\n"
        headers = {"Content-Type": "application/x-ndjson"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        if self._secret:
            headers[HEADER] = sign(self._secret, self._name, body)
        try:
            answer = await self._client.post(body, headers=headers)
        except CallError as error:
            raise SinkError(str(error)) from error
        if not 200 <= answer.status < 300:
            explanation = f"{self._client.url} answers with status {answer.status}"
            raise SinkError(explanation, is_permanent=answer.status in _NOT_TAKEN)

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._client.close()


class Receiver(Protocol):
    """What another package brings."""

    async def send(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take `records`; raises if it could not."""

    async def close(self) -> None:
        """Let go."""


class PluginSink:
    """A receiver of another package."""

    def __init__(self, name: str, receiver: Receiver) -> None:
        self._name = name
        self._receiver = receiver

    async def send(self, lines: Sequence[bytes]) -> None:
        """See `Sink.send`."""
        try:
            await self._receiver.send([json.loads(line) for line in lines])
        except Exception as error:
            raise SinkError(f"{self._name}: {error!r}") from error

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._receiver.close()


def sink_of(config: EventSinkConfig) -> Sink:
    """The sink that `config` describes; nothing is opened yet.  Raises `ConfigError`."""
    try:
        match config.sink:
            case "file":
                return FileSink(Path(config.file))
            case "stdout":
                return StdoutSink()
            case "syslog":
                return SyslogSink(config.syslog)
            case "webhook":
                return WebhookSink(config.webhook)
            case _:
                return PluginSink(config.plugin.name, _receiver(config.plugin))
    except (OSError, ValueError) as error:
        raise _unusable(str(error)) from error


def _receiver(config: PluginConfig) -> Receiver:
    named = f"the sink {config.name!r}"
    receiver: Receiver = provided(GROUP, named, config, _unusable)
    for method in ("send", "close"):
        having(receiver, method, named, _unusable)
    return receiver


def _unusable(text: str) -> ConfigError:
    return ConfigError(f"audit.events: {text}", code=Code.CORE_CONFIG_ERROR)
