"""The definitions of the metrics, and the text that Prometheus reads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics
from tests.parts import need

from moorage import metrics as m
from moorage.metrics import DEFINITIONS, LOOP_LAG, PROCESS, Kind, LoopLag, Metrics, reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

CONTAINERSSH = {
    "containerssh_config_server_requests_total": ("counter", {"retry"}),
    "containerssh_config_server_failures_total": ("counter", {"type", "retry", "reason"}),
    "containerssh_backend_requests_total": ("counter", {"backend"}),
    "containerssh_backend_errors_total": ("counter", {"backend"}),
    "containerssh_auth_server_requests_total": ("counter", {"authtype", "retry"}),
    "containerssh_auth_server_failures_total": ("counter", {"type", "authtype", "retry", "reason"}),
    "containerssh_auth_success_total": ("counter", {"authtype", "retry", "country"}),
    "containerssh_auth_failures_total": ("counter", {"authtype", "retry", "country"}),
    "containerssh_ssh_connections_total": ("counter", {"country"}),
    "containerssh_ssh_current_connections": ("gauge", {"country"}),
    "containerssh_ssh_successful_handshakes_total": ("counter", {"country"}),
    "containerssh_ssh_failed_handshakes_total": ("counter", {"country"}),
}
"""What dashboards and alerts for ContainerSSH rely on."""


def used() -> Metrics:
    """Metrics of which each has a series, with labels that need escaping."""
    metrics = Metrics()
    for one in DEFINITIONS:
        labels = dict.fromkeys(one.labels, 'a"\\\nb')
        if one.kind is Kind.COUNTER:
            metrics.count(one, **labels)
        elif one.kind is Kind.GAUGE:
            metrics.add(one, 3, **labels)
        else:
            metrics.observe(one, 0.2, **labels)
    return metrics


def test_names_types_and_labels_are_those_that_dashboards_know() -> None:
    ours = {one.name: (one.kind.value, set(one.labels)) for one in DEFINITIONS if one.name.startswith("containerssh_")}
    assert ours == CONTAINERSSH
    assert all(one.name.startswith("moorage_") for one in DEFINITIONS if one.name not in CONTAINERSSH)


def test_the_classic_text_has_every_metric_under_its_name() -> None:
    text, content_type = used().exposition("*/*")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(parser.text_string_to_metric_families(text.decode()))
    samples = [sample for family in families for sample in family.samples]
    assert {sample.name: set(sample.labels) for sample in samples if sample.name in CONTAINERSSH} == {
        name: labels for name, (_, labels) in CONTAINERSSH.items()
    }
    assert all(
        value == 'a"\\\nb' for sample in samples for key, value in sample.labels.items() if key not in {"le", "version"}
    )
    for name, (kind, _) in CONTAINERSSH.items():
        assert f"# TYPE {name} {kind}\n" in text.decode()
        assert f"# HELP {name} " in text.decode()
    assert [line for line in text.decode().splitlines() if "_created" in line] == []


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
        "text/plain, Application/OpenMetrics-Text; version=nonsense",
    ],
)
def test_openmetrics_is_valid_and_has_units(accept: str) -> None:
    text, content_type = used().exposition(accept)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    parsed: Iterator[Metric] = openmetrics.text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    assert len(families) == len(DEFINITIONS) + len(PROCESS)
    assert {one.name.removesuffix("_total") for one in PROCESS} <= set(families)
    for one in DEFINITIONS:
        assert families[one.name.removesuffix("_total")].unit == one.unit


def test_what_is_expected_is_shown_as_zero() -> None:
    metrics = Metrics()
    metrics.expect(m.CONNECTIONS, country="XX")
    metrics.expect(m.GUESTS, backend="docker")
    metrics.expect(m.LOGIN_STAGE, stage="auth")
    lines = metrics.exposition()[0].decode().splitlines()
    assert 'containerssh_ssh_connections_total{country="XX"} 0.0' in lines
    assert 'moorage_guests_open{backend="docker"} 0.0' in lines
    assert 'moorage_login_stage_duration_seconds_count{stage="auth"} 0.0' in lines


def test_two_servers_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count(m.CONNECTIONS, country="XX")
    assert b"containerssh_ssh_connections_total{" not in other.exposition()[0]


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    metrics = Metrics()
    metrics.observe(m.LOGIN_STAGE, -5.0, stage="auth")
    assert b'moorage_login_stage_duration_seconds_sum{stage="auth"} 0.0' in metrics.exposition()[0]


def test_the_help_is_one_line_and_names_are_sane() -> None:
    for one in DEFINITIONS:
        assert "\n" not in one.help
        assert one.kind is not Kind.COUNTER or one.name.endswith(f"{one.unit}_total" if one.unit else "_total")
        assert bool(one.buckets) == (one.kind is Kind.HISTOGRAM)
    assert len({one.name for one in DEFINITIONS}) == len(DEFINITIONS)


def test_the_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference()


async def test_the_loop_s_lag_is_measured_until_it_is_stopped() -> None:
    measured = asyncio.Event()

    class Heard(Metrics):
        count_of = 0

        def observe(self, what: m.Definition, value: float, **labels: str) -> None:
            super().observe(what, value, **labels)
            assert what is LOOP_LAG
            Heard.count_of += 1
            if Heard.count_of == 3:
                lag.stop()
                measured.set()

    lag = LoopLag(Heard(), every=0.001)
    lag.start()
    async with asyncio.timeout(5):
        await measured.wait()
    lag.stop()
    lag.stop()
    assert lag._timer is None


@pytest.mark.parametrize("module", ["moorage.app", "moorage.cli.serve", "moorage.gateway.eventmetrics"])
def test_nothing_of_prometheus_is_imported_while_metrics_are_off(module: str) -> None:
    program = f"import sys, {module}; print([name for name in sys.modules if name.startswith('prometheus_client')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"


def test_promtool_finds_nothing_to_complain_about() -> None:
    tool = need.program("promtool", "prometheus")
    text, _ = used().exposition()
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
