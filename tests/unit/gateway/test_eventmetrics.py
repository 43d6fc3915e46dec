"""Events become metrics, each connection once."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from moorage.codes import Code
from moorage.config import AppConfig
from moorage.gateway import events
from moorage.gateway.eventmetrics import event_metrics
from moorage.gateway.model import Address, Attempt, ConnectionId, Login, Program, ProgramKind, TcpTarget
from moorage.metrics import Metrics
from moorage.net.penalties import Cause

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


TARGET = TcpTarget("db", 5432)


def series(*heard: events.Event) -> dict[str, float]:
    """What is not zero of our own counters and gauges, by name and labels, once `heard` has happened."""
    metrics = Metrics()
    listener = event_metrics(metrics, backend="docker", country=lambda host: "CH" if host == PEER.host else "XX")(
        ID, PEER
    )
    for event in heard:
        listener(event)
    return {
        f"{sample.name.removeprefix('moorage_')}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        for sample in family.samples
        if sample.value
        and sample.name.startswith("moorage_")
        and not sample.name.startswith(("moorage_login", "moorage_build"))
    }


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("ssh.maxStartups is reached", "maxStartups"),
        ("ssh.maxConnectionsPerSource is reached", "maxConnectionsPerSource"),
        ("penalised for failed authentication", "penalty"),
    ],
)
def test_a_connection_that_was_turned_away_counts_for_its_limit(reason: str, limit: str) -> None:
    refused = events.ConnectionRefused(remote_address=PEER, reason=reason)
    assert series(refused) == {f"connections_refused_total['{limit}']": 1}


def test_a_penalty_counts_for_its_cause() -> None:
    heard = events.SourcePenalised(reason=Cause.NO_AUTH, seconds=5)
    assert series(heard) == {"penalties_total['no_attempt_to_authenticate']": 1}


def test_attempts_count_for_their_method_and_outcome() -> None:
    away = events.AuthAttempted(attempt=ATTEMPT, method="publickey", success=False, available=False)
    assert series(REFUSED, REFUSED, AUTHENTICATED, away) == {
        "auth_attempts_total['password', 'refused']": 2,
        "auth_attempts_total['accepted', 'password']": 1,
        "auth_attempts_total['publickey', 'unavailable']": 1,
    }


def test_sessions_and_programs_count_and_nothing_stays_open_after_the_end() -> None:
    shell = events.ProgramStarted(channel=0, program=Program(ProgramKind.SHELL))
    heard = (events.SessionOpened(channel=0), shell, events.SessionOpened(channel=1))
    assert series(*heard) == {"sessions_open[]": 2, "programs_started_total['shell']": 1}
    assert series(*heard, events.SessionClosed(channel=0)) == {
        "sessions_open[]": 1,
        "programs_started_total['shell']": 1,
    }
    assert series(OPENED, *heard, CLOSED) == {"programs_started_total['shell']": 1}


def test_what_a_client_invents_makes_no_series() -> None:
    def refused(request: str) -> events.Event:
        return events.RequestDecided(channel=0, request=request, detail="", granted=False)

    granted = events.RequestDecided(channel=0, request="exec", detail="", granted=True)
    assert series(granted, refused("exec"), refused("a@b"), refused('x"y')) == {
        "session_requests_refused_total['exec']": 1,
        "session_requests_refused_total['other']": 2,
    }


def test_forwards_count_both_ways_with_their_bytes() -> None:
    heard = (
        events.ForwardOpened(forward=0, target=TARGET),
        events.ForwardOpened(forward=1, target=TARGET, listener=0),
        events.ForwardRefused(target=TARGET, peer=None, code=Code.SSH_LIMIT_REACHED, reason=""),
        events.ListenerRefused(spec=TARGET, code=Code.SSH_LIMIT_REACHED, reason=""),
        events.ForwardClosed(forward=0, sent=10, received=2000),
    )
    counted = {
        "forwards_total['dial', 'opened']": 1,
        "forwards_total['listen', 'opened']": 1,
        "forwards_total['dial', 'refused']": 1,
        "forwards_total['listen', 'refused']": 1,
        "forwarded_bytes_total['sent']": 10,
        "forwarded_bytes_total['received']": 2000,
    }
    assert series(*heard) == {**counted, "forwards_open[]": 1}
    assert series(OPENED, *heard, CLOSED) == counted


def test_connections_count_for_their_country() -> None:
    metrics = Metrics()
    event_metrics(metrics, backend="docker", country=lambda _: "CH")(ID, PEER)(OPENED)
    assert b'containerssh_ssh_current_connections{country="CH"} 1.0' in metrics.exposition()[0]
