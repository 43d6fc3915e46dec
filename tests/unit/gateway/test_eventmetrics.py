"""Events become metrics, each connection once."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from moorage.config import AppConfig
from moorage.gateway import events
from moorage.gateway.eventmetrics import event_metrics
from moorage.gateway.model import Address, Attempt, ConnectionId, Login
from moorage.metrics import Metrics

ID = ConnectionId("0" * 32)
PEER = Address("192.0.2.7", 40000)
ATTEMPT = Attempt(ID, PEER, "SSH-2.0-x", "mia")

OPENED = events.ConnectionOpened(at=100.0, remote_address=PEER)
REFUSED = events.AuthAttempted(at=100.5, attempt=ATTEMPT, method="password", success=False)
AUTHENTICATED = events.AuthAttempted(at=101.0, attempt=ATTEMPT, method="password", success=True)
ACCEPTED = events.LoginAccepted(at=101.25, login=Login(ATTEMPT, "password", AppConfig()))
GUEST = events.GuestOpened(at=103.25, backend="docker", seconds=2.25)
NO_GUEST = events.GuestFailed(at=103.25, backend="docker", reason="x")
NO_LOGIN = events.HandshakeFailed(at=102.0, reason="x")
CLOSED = events.ConnectionClosed(at=110.0, reason="")


def values(metrics: Metrics) -> dict[str, float]:
    """The values by name, of histograms the sums; without the labels that are the same everywhere."""
    return {
        sample.name.removeprefix("containerssh_ssh_").removeprefix("moorage_") + sample.labels.get("stage", ""): (
            sample.value
        )
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def after(*heard: events.Event) -> dict[str, float]:
    metrics = Metrics()
    listener = event_metrics(metrics, backend="docker")(ID, PEER)
    for event in heard:
        listener(event)
    return values(metrics)


def outcome(*heard: events.Event) -> tuple[float, ...]:
    """Connections, current ones, successful and failed handshakes, guests."""
    now = after(*heard)
    names = ("connections_total", "current_connections", "successful_handshakes_total", "failed_handshakes_total")
    return (*(now[name] for name in names), now["guests_open"])


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ([], (0, 0, 0, 0, 0)),
        ([OPENED], (1, 1, 0, 0, 0)),
        ([OPENED, AUTHENTICATED, ACCEPTED], (1, 1, 0, 0, 0)),
        ([OPENED, AUTHENTICATED, ACCEPTED, GUEST], (1, 1, 1, 0, 1)),
        ([OPENED, AUTHENTICATED, ACCEPTED, GUEST, CLOSED], (1, 0, 1, 0, 0)),
        ([OPENED, REFUSED, REFUSED, NO_LOGIN], (1, 1, 0, 1, 0)),
        ([OPENED, REFUSED, NO_LOGIN, CLOSED], (1, 0, 0, 1, 0)),
        ([OPENED, AUTHENTICATED, ACCEPTED, NO_GUEST, CLOSED], (1, 0, 0, 1, 0)),
        ([OPENED, AUTHENTICATED, NO_GUEST, CLOSED], (1, 0, 0, 1, 0)),
        ([OPENED, AUTHENTICATED, ACCEPTED, CLOSED], (1, 0, 0, 1, 0)),
    ],
)
def test_a_connection_is_counted_once_in_each_way(heard: list[events.Event], expected: tuple[float, ...]) -> None:
    assert outcome(*heard) == expected


def test_the_stages_of_a_login_are_timed() -> None:
    now = after(OPENED, REFUSED, AUTHENTICATED, ACCEPTED, GUEST, CLOSED)
    sums = {stage: now[f"login_stage_duration_seconds_sum{stage}"] for stage in ("auth", "config", "guest")}
    assert sums == {"auth": 1.0, "config": 0.25, "guest": 2.0}
    assert now["login_stage_duration_seconds_countauth"] == 1


def test_connections_are_counted_by_country() -> None:
    metrics = Metrics()
    make = event_metrics(metrics, backend="docker", country={"192.0.2.7": "NL", "::1": "XX"}.__getitem__)
    for peer in (PEER, PEER, Address("::1", 1)):
        make(ID, peer)(OPENED)
    text = metrics.exposition()[0].decode()
    assert 'containerssh_ssh_connections_total{country="NL"} 2.0' in text
    assert 'containerssh_ssh_connections_total{country="XX"} 1.0' in text
