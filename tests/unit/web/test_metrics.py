"""The endpoint for Prometheus."""

from __future__ import annotations

import asyncio

import pytest

from moorage import metrics as m
from moorage.config.sections.metrics import MetricsConfig
from moorage.metrics import Metrics
from moorage.web.metrics import MetricsServer
from moorage.web.server import Request


def server(metrics: Metrics, **settings: str) -> MetricsServer:
    return MetricsServer(MetricsConfig.model_validate({"listen": "127.0.0.1:0", **settings}), metrics)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/metrics", 200), ("/metrics/", 404), ("/", 404), ("/Metrics", 404), ("//metrics", 404), ("/metricsx", 404)],
)
def test_one_path_answers_and_all_others_are_not_found(path: str, status: int) -> None:
    reply = server(Metrics())._reply(Request(path, ""))
    assert reply.status == status
    assert bool(reply.body) == (status == 200)


def test_the_path_can_be_chosen() -> None:
    chosen = server(Metrics(), path="/my/own")
    assert chosen._reply(Request("/my/own", "")).status == 200
    assert chosen._reply(Request("/metrics", "")).status == 404


async def test_the_values_of_the_moment_are_served_over_http() -> None:
    metrics = Metrics()
    serving = server(metrics)
    await serving.start()
    metrics.count(m.CONNECTIONS, country="XX")
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.address.port)
    writer.write(b"GET /metrics?x=y HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert b"Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n" in answer
    assert b'containerssh_ssh_connections_total{country="XX"} 1.0\n' in answer
    assert answer.endswith(b"# EOF\n")
    await serving.drain(0)
    await serving.stop()
    assert serving._lag._timer is None
