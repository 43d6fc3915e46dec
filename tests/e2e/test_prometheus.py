"""A real Prometheus scrapes a real server, and the dashboard asks it for nothing that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Serve
from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts.mmdb import country, write_mmdb
from tests.parts.prometheus import prometheus

from moorage.metrics import DEFINITIONS, PROCESS, Kind

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "moorage.json"


def expressions() -> list[str]:
    """Every query of the dashboard, its variables filled in."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [
        target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
        for panel in panels
        for target in panel["targets"]
    ]


def sample_names() -> set[str]:
    """The names that samples of our metrics have."""
    found = set()
    for one in (*DEFINITIONS, *PROCESS):
        endings = ("_bucket", "_sum", "_count") if one.kind is Kind.HISTOGRAM else ("",)
        found |= {one.name + ending for ending in endings}
    return found


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    asked = {name for one in expressions() for name in re.findall(r"\b(?:containerssh|moorage|process)_\w+", one)}
    assert asked <= sample_names()
    shown = {name.removesuffix("_bucket") for name in asked}
    not_shown = {one.name for one in (*DEFINITIONS, *PROCESS)} - shown
    assert not_shown == {"process_virtual_memory_bytes", "process_start_time_seconds"}


def test_prometheus_scrapes_a_server_and_answers_the_dashboard(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    database = write_mmdb(tmp_path / "countries.mmdb", {"127.0.0.0/8": country("CH")})
    place = serve(
        "sandbox",
        metrics={"enable": True, "listen": f"127.0.0.1:{port}"},
        geoip={"provider": "maxmind", "maxmind-geoip2-file": str(database)},
    )
    assert place.user.run("echo in").stdout == b"in\n"
    with prometheus(tmp_path / "prometheus", scrapes=port) as asked:
        until(lambda: asked.value("up") == 1, "the server is scraped", seconds=20)
        until(
            lambda: asked.value('containerssh_ssh_successful_handshakes_total{country="CH"}') == 1,
            "the login is counted for its country",
            seconds=20,
        )
        assert asked.value('containerssh_ssh_successful_handshakes_total{country="XX"}') == 0
        assert asked.value('moorage_programs_started_total{kind="exec"}') == 1
        assert asked.value('moorage_login_stage_duration_seconds_count{stage="guest"}') == 1
        [target] = asked.api("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        metadata = asked.api("metadata")
        for one in DEFINITIONS:
            name = one.name if one.name in metadata else one.name.removesuffix("_total")
            assert metadata[name][0]["type"] == one.kind.value, one.name
        for expression in expressions():
            asked.api("query", query=expression)  # an expression that Prometheus does not understand is an error
