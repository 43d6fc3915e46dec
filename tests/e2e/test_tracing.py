"""The traces of logins arrive at a receiver that speaks OTLP; one that is away is nobody's trouble."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

from tests.e2e.conftest import Serve
from tests.e2e.serving import CANARY
from tests.e2e.waiting import until
from tests.parts.otlp import Span, receiver


def tree(spans: list[Span], root: Span) -> list[str]:
    """The names below `root`, each after its parent's."""
    below = [span for span in spans if span.parent == root.id and span.trace == root.trace]
    return [name for span in below for name in (span.name, *(f"{span.name}/{one}" for one in tree(spans, span)))]


def test_a_login_is_one_trace_with_a_span_for_each_stage(serve: Serve) -> None:
    with receiver() as collector:
        place = serve("sandbox", tracing={"enable": True, "url": collector.url, "service": "harbour"})
        assert place.user.run("echo in").stdout == b"in\n"
        pat = replace(place.user, user="pat", key=None, password=f"wrong-{CANARY}")
        assert pat.run("echo in").returncode == 255

        def roots(user: str) -> list[Span]:
            named = [span for span in collector.spans if span.attributes.get("user.name") == user]
            traces = {span.trace for span in named}
            return [span for span in collector.spans if span.name == "connection" and span.trace in traces]

        until(lambda: roots("mia") and roots("pat"), "both traces have come", seconds=30)
        [login], [refused] = roots("mia"), roots("pat")
        assert tree(collector.spans, login) == ["auth", "auth/attempt", "config", "launch", "program", "output"]
        assert login.service == "harbour"
        assert not login.is_error
        stages = [span for span in collector.spans if span.parent == login.id]
        assert all(span.seconds >= 0 for span in stages)
        assert sum(span.seconds for span in stages) <= login.seconds
        ids = {one["details"].get("connectionId") for one in place.server.records()}
        assert login.attributes["moorage.connection.id"] in ids
        assert tree(collector.spans, refused) == ["auth", "auth/attempt"]
        assert refused.is_error
        place.server.end()
    assert all(CANARY not in str(span) for span in collector.spans)


def test_a_collector_that_is_away_costs_traces_and_nothing_else(serve: Serve) -> None:
    place = serve("sandbox", tracing={"enable": True, "url": "http://127.0.0.1:1/v1/traces"})
    assert place.user.run("echo in").stdout == b"in\n"
    place.server.signal(signal.SIGTERM)
    assert place.server.wait() == 0


def test_nothing_of_the_library_is_imported_while_tracing_is_off() -> None:
    program = "import sys, moorage.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"
