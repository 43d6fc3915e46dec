"""Files, standard output, webhooks and the sinks of other packages take what they are given, or say why not."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from moorage.audit.stream.delivery import SinkError
from moorage.audit.stream.sinks import FileSink, PluginSink, StdoutSink, WebhookSink, sink_of
from moorage.config.sections.events import EventSinkConfig
from moorage.errors import ConfigError
from moorage.webhook.signature import HEADER, SignatureError, verify

LINES = [b'{"n":1}', '{"n":"ä"}'.encode()]


async def test_a_file_grows_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"old\n")
    sink = FileSink(path)
    await sink.send(LINES)
    await sink.send(LINES[:1])
    await sink.close()
    await sink.close()
    assert path.read_bytes() == b"old\n" + b"\n".join([*LINES, LINES[0]]) + b"\n"


async def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "events.jsonl")
    await sink.send(LINES)
    await sink.close()
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
async def test_a_file_that_was_rotated_is_begun_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    await sink.send(LINES[:1])
    match how:
        case "moved":
            path.rename(tmp_path / "events.1")
        case "removed":
            path.unlink()
        case _:
            (tmp_path / "other").touch()
            (tmp_path / "other").rename(path)
    await sink.send(LINES[1:])
    await sink.close()
    assert path.read_bytes() == LINES[1] + b"\n"


async def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    await sink.send(LINES)
    write, calls = os.write, 0

    def full(file: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return write(file, bytes(data)[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        await sink.send(LINES)
    monkeypatch.undo()
    await sink.send(LINES)
    await sink.close()
    assert path.read_bytes().splitlines() == [*LINES, *LINES]


async def test_a_directory_that_is_gone_is_an_error_that_may_pass(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "gone" / "events.jsonl")
    with pytest.raises(FileNotFoundError):
        await sink.send(LINES)
    (tmp_path / "gone").mkdir()
    await sink.send(LINES)
    await sink.close()


async def test_standard_output_has_lines(capsys: pytest.CaptureFixture[str]) -> None:
    await StdoutSink().send(LINES)
    assert capsys.readouterr().out == '{"n":1}\n{"n":"ä"}\n'


@dataclass
class Service:
    """A service that takes events."""

    url: str = ""
    status: int = 204
    requests: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    running = Service()

    async def take(request: web.Request) -> web.Response:
        running.requests.append((request.headers.copy(), await request.read()))
        return web.Response(status=running.status)

    app = web.Application()
    app.router.add_post("/in/events", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in/events"
    yield running
    await runner.cleanup()


def webhook(**settings: Any) -> WebhookSink:
    made = sink_of(EventSinkConfig.model_validate({"sink": "webhook", "webhook": settings}))
    assert isinstance(made, WebhookSink)
    return made


async def test_a_webhook_is_sent_signed_lines(service: Service) -> None:
    sink = webhook(url=service.url, authorization="Bearer let-me-in", secret="0123456789abcdef")
    await sink.send(LINES)
    await sink.close()
    [(headers, body)] = service.requests
    assert body == b"\n".join(LINES) + b"\n"
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Authorization"] == "Bearer let-me-in"
    verify(b"0123456789abcdef", "events", body, headers[HEADER])
    with pytest.raises(SignatureError):
        verify(b"0123456789abcdef", "events", body + b" ", headers[HEADER])


@pytest.mark.parametrize(
    ("status", "is_permanent"), [(400, True), (413, True), (401, False), (429, False), (503, False)]
)
async def test_a_webhook_that_does_not_take_them_is_told_by_its_status(
    service: Service, status: int, is_permanent: bool
) -> None:
    service.status = status
    sink = webhook(url=service.url)
    with pytest.raises(SinkError, match=str(status)) as caught:
        await sink.send(LINES)
    await sink.close()
    assert caught.value.is_permanent is is_permanent


async def test_a_webhook_that_is_away_may_come_back() -> None:
    sink = webhook(url="http://127.0.0.1:1/events")
    with pytest.raises(SinkError) as caught:
        await sink.send(LINES)
    await sink.close()
    assert not caught.value.is_permanent


class Mine:
    """A sink of another package."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings
        self.records: list[Mapping[str, Any]] = []
        self.closed = 0

    async def send(self, records: Sequence[Mapping[str, Any]]) -> None:
        if self.settings.get("broken"):
            raise LookupError("no such index")
        self.records.extend(records)

    async def close(self) -> None:
        self.closed += 1


class Half:
    """One that forgot something."""

    def __init__(self, settings: Mapping[str, str]) -> None: ...
    async def send(self, records: Sequence[Mapping[str, Any]]) -> None: ...


def installed(monkeypatch: pytest.MonkeyPatch, **brought: type) -> None:
    points = [
        importlib.metadata.EntryPoint(name, f"{one.__module__}:{one.__qualname__}", "moorage.audit_sinks")
        for name, one in brought.items()
    ]

    def found(*, group: str, name: str | None = None) -> list[importlib.metadata.EntryPoint]:
        assert group == "moorage.audit_sinks"
        return [point for point in points if name in {None, point.name}]

    monkeypatch.setattr("moorage.config.plugins.entry_points", found)
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda point: brought[point.name])


def plugin(name: str, *settings: str) -> EventSinkConfig:
    return EventSinkConfig.model_validate({"sink": "plugin", "plugin": {"name": name, "settings": settings}})


async def test_another_package_brings_a_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, mine=Mine)
    made = sink_of(plugin("mine", "index=logs"))
    assert isinstance(made, PluginSink)
    await made.send(LINES)
    await made.close()
    receiver = made._receiver
    assert isinstance(receiver, Mine)
    assert (receiver.settings, receiver.records, receiver.closed) == ({"index": "logs"}, [{"n": 1}, {"n": "ä"}], 1)
    json.dumps(receiver.records)


async def test_whatever_a_plugin_raises_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, mine=Mine)
    with pytest.raises(SinkError, match="no such index"):
        await sink_of(plugin("mine", "broken=1")).send(LINES)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("none", "no package brings the sink 'none'; installed are: half, mine"), ("half", "'half' has no method close")],
)
def test_a_plugin_that_cannot_be_used_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, complaint: str
) -> None:
    installed(monkeypatch, mine=Mine, half=Half)
    with pytest.raises(ConfigError, match=complaint):
        sink_of(plugin(name))
