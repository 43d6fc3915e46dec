"""What is counted: the definitions of all metrics, and the registry that holds their values.

The names, labels and units of ``containerssh_*`` are those of ContainerSSH, so that its dashboards
and alerts go on working; ``moorage_*`` are our own.  ``docs/reference/metrics.md`` is written from
the definitions: ``python -m moorage.metrics > docs/reference/metrics.md``.

The Prometheus library is imported when a `Metrics` is made, and none is made while metrics are off.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from moorage import __version__

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

UNKNOWN_COUNTRY: Final = "XX"
"""The country of an address that no database knows."""

Country = Callable[[str], str]
"""The ISO code of the country of an IP address; `UNKNOWN_COUNTRY` if there is none.  Never raises."""


def no_country(host: str) -> str:
    """What is known without a database: nothing."""
    del host
    return UNKNOWN_COUNTRY


class Kind(StrEnum):
    """The types of Prometheus that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric.  `name` is the name of its samples (of a histogram: without their endings)."""

    name: str
    kind: Kind
    help: str
    unit: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CONFIG_REQUESTS: Final = Definition(
    "containerssh_config_server_requests_total",
    Kind.COUNTER,
    "The number of requests sent to the configuration server.",
    "requests",
    ("retry",),
)
CONFIG_FAILURES: Final = Definition(
    "containerssh_config_server_failures_total",
    Kind.COUNTER,
    "The number of request failures to the configuration server.",
    "failures",
    ("type", "retry", "reason"),
)
BACKEND_REQUESTS: Final = Definition(
    "containerssh_backend_requests_total",
    Kind.COUNTER,
    "The number of requests to the backend.",
    "requests",
    ("backend",),
)
BACKEND_ERRORS: Final = Definition(
    "containerssh_backend_errors_total",
    Kind.COUNTER,
    "The number of failed requests to the backend.",
    "errors",
    ("backend",),
)
AUTH_REQUESTS: Final = Definition(
    "containerssh_auth_server_requests_total",
    Kind.COUNTER,
    "The number of requests sent to the authentication server.",
    "requests",
    ("authtype", "retry"),
)
AUTH_FAILURES: Final = Definition(
    "containerssh_auth_server_failures_total",
    Kind.COUNTER,
    "The number of request failures to the authentication server.",
    "failures",
    ("type", "authtype", "retry", "reason"),
)
AUTH_ACCEPTED: Final = Definition(
    "containerssh_auth_success_total",
    Kind.COUNTER,
    "The number of successful authentications.",
    "success",
    ("authtype", "retry", "country"),
)
AUTH_REFUSED: Final = Definition(
    "containerssh_auth_failures_total",
    Kind.COUNTER,
    "The number of failed authentications.",
    "failures",
    ("authtype", "retry", "country"),
)
CONNECTIONS: Final = Definition(
    "containerssh_ssh_connections_total",
    Kind.COUNTER,
    "Number of connections since start",
    "connections",
    ("country",),
)
CURRENT_CONNECTIONS: Final = Definition(
    "containerssh_ssh_current_connections",
    Kind.GAUGE,
    "Current open SSH connections",
    "connections",
    ("country",),
)
HANDSHAKES: Final = Definition(
    "containerssh_ssh_successful_handshakes_total",
    Kind.COUNTER,
    "Successful SSH handshakes since start",
    "handshakes",
    ("country",),
)
FAILED_HANDSHAKES: Final = Definition(
    "containerssh_ssh_failed_handshakes_total",
    Kind.COUNTER,
    "Failed SSH handshakes since start",
    "handshakes",
    ("country",),
)
LOGIN_STAGE: Final = Definition(
    "moorage_login_stage_duration_seconds",
    Kind.HISTOGRAM,
    "How long a login takes: auth (from the TCP connection on, the client's own time included), config, guest.",
    "seconds",
    ("stage",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
GUESTS: Final = Definition(
    "moorage_guests_open", Kind.GAUGE, "Logins whose guest is open or still being removed", "", ("backend",)
)
POOL_CLAIMS: Final = Definition(
    "moorage_pool_claims_total",
    Kind.COUNTER,
    "Logins that asked for a guest from the pool",
    "claims",
    ("backend", "result"),
)
POOL_SPARES: Final = Definition("moorage_pool_spares", Kind.GAUGE, "Guests that stand ready", "", ("backend",))
LOOP_LAG: Final = Definition(
    "moorage_event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How much later than due the server does what is due; sampled every second.",
    "seconds",
    (),
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

REFUSED_CONNECTIONS: Final = Definition(
    "moorage_connections_refused_total",
    Kind.COUNTER,
    "Connections turned away before the handshake, by limits and penalties",
    "",
    ("limit",),
)
PENALTIES: Final = Definition(
    "moorage_penalties_total", Kind.COUNTER, "Connections that got their source refused for a while", "", ("cause",)
)
AUTH_ATTEMPTS: Final = Definition(
    "moorage_auth_attempts_total",
    Kind.COUNTER,
    "Attempts to authenticate, whoever decided about them",
    "",
    ("method", "outcome"),
)
HOOK_DURATION: Final = Definition(
    "moorage_webhook_duration_seconds",
    Kind.HISTOGRAM,
    "How long a call of a webhook takes until there is an answer, or none",
    "seconds",
    ("webhook", "outcome"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BACKEND_DURATION: Final = Definition(
    "moorage_backend_request_duration_seconds",
    Kind.HISTOGRAM,
    "How long each request of the backend takes that belongs to a launch",
    "seconds",
    ("backend", "request"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
SESSIONS: Final = Definition("moorage_sessions_open", Kind.GAUGE, "Session channels that are open", "")
PROGRAMS: Final = Definition("moorage_programs_started_total", Kind.COUNTER, "Programs started", "", ("kind",))
REQUESTS_REFUSED: Final = Definition(
    "moorage_session_requests_refused_total", Kind.COUNTER, "Requests of sessions that were refused", "", ("request",)
)
FORWARDS: Final = Definition(
    "moorage_forwards_total", Kind.COUNTER, "Forwarded connections that were asked for", "", ("kind", "outcome")
)
FORWARDS_OPEN: Final = Definition("moorage_forwards_open", Kind.GAUGE, "Forwarded connections that are open", "")
FORWARDED_BYTES: Final = Definition(
    "moorage_forwarded_bytes_total",
    Kind.COUNTER,
    "Bytes of forwarded connections, counted when they close",
    "bytes",
    ("direction",),
)
EVENTS_SENT: Final = Definition(
    "moorage_events_sent_total", Kind.COUNTER, "Events that a sink has taken", "", ("sink",)
)
EVENTS_LOST: Final = Definition(
    "moorage_events_lost_total", Kind.COUNTER, "Events that a sink never got, for want of room", "", ("sink",)
)
EVENTS_WAITING: Final = Definition("moorage_events_waiting", Kind.GAUGE, "Events that wait for a sink", "", ("sink",))
BUILD: Final = Definition("moorage_build_info", Kind.GAUGE, "Always 1; the version that runs", "", ("version",))

DEFINITIONS: Final = (
    CONFIG_REQUESTS,
    CONFIG_FAILURES,
    BACKEND_REQUESTS,
    BACKEND_ERRORS,
    AUTH_REQUESTS,
    AUTH_FAILURES,
    AUTH_ACCEPTED,
    AUTH_REFUSED,
    CONNECTIONS,
    CURRENT_CONNECTIONS,
    HANDSHAKES,
    FAILED_HANDSHAKES,
    LOGIN_STAGE,
    GUESTS,
    POOL_CLAIMS,
    POOL_SPARES,
    LOOP_LAG,
    REFUSED_CONNECTIONS,
    PENALTIES,
    AUTH_ATTEMPTS,
    HOOK_DURATION,
    BACKEND_DURATION,
    SESSIONS,
    PROGRAMS,
    REQUESTS_REFUSED,
    FORWARDS,
    FORWARDS_OPEN,
    FORWARDED_BYTES,
    EVENTS_SENT,
    EVENTS_LOST,
    EVENTS_WAITING,
    BUILD,
)
"""All metrics of ours, in the order in which they are shown."""

PROCESS: Final = (
    Definition("process_virtual_memory_bytes", Kind.GAUGE, "Virtual memory size in bytes.", "bytes"),
    Definition("process_resident_memory_bytes", Kind.GAUGE, "Resident memory size in bytes.", "bytes"),
    Definition("process_start_time_seconds", Kind.GAUGE, "Start time of the process since the epoch.", "seconds"),
    Definition("process_cpu_seconds_total", Kind.COUNTER, "User and system CPU time spent.", "seconds"),
    Definition("process_open_fds", Kind.GAUGE, "Open file descriptors.", ""),
    Definition("process_max_fds", Kind.GAUGE, "The most file descriptors that may be open.", ""),
)
"""What every well-behaved target of Prometheus tells of its process; the library provides it."""

OPENMETRICS: Final = "application/openmetrics-text"


class Metrics:
    """The values of all metrics of one server.  To be used by one thread."""

    def __init__(self) -> None:
        """All values are zero; series with labels appear when they are first used, or by `expect`."""
        import prometheus_client

        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus_client.CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for one in DEFINITIONS:
            if one.kind is Kind.HISTOGRAM:
                self._histograms[one.name] = prometheus_client.Histogram(
                    one.name, one.help, one.labels, unit=one.unit, buckets=one.buckets, registry=self._registry
                )
            elif one.kind is Kind.GAUGE:
                self._gauges[one.name] = prometheus_client.Gauge(
                    one.name, one.help, one.labels, unit=one.unit, registry=self._registry
                )
            else:
                self._counters[one.name] = prometheus_client.Counter(
                    one.name, one.help, one.labels, unit=one.unit, registry=self._registry
                )
        prometheus_client.ProcessCollector(registry=self._registry)
        self.add(BUILD, 1, version=__version__)

    def expect(self, what: Definition, **labels: str) -> None:
        """Show the series with these labels from now on, also while it is zero."""
        for instruments in (self._counters, self._gauges, self._histograms):
            if what.name in instruments:
                instruments[what.name].labels(**labels)

    def count(self, what: Definition, amount: int = 1, /, **labels: str) -> None:
        """One more, or `amount` more."""
        counter = self._counters[what.name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def add(self, what: Definition, amount: int, **labels: str) -> None:
        """A gauge rises by `amount`, which may be negative."""
        gauge = self._gauges[what.name]
        (gauge.labels(**labels) if labels else gauge).inc(amount)

    def observe(self, what: Definition, value: float, **labels: str) -> None:
        """A histogram takes one value; a negative one, after the clock was set back, counts as zero."""
        histogram = self._histograms[what.name]
        (histogram.labels(**labels) if labels else histogram).observe(max(0.0, value))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All values as text, and its content type: OpenMetrics if `accept` names it, else the classic format."""
        if any(one.partition(";")[0].strip().lower() == OPENMETRICS for one in accept.split(",")):
            from prometheus_client import openmetrics

            text: bytes = openmetrics.exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text, f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
        from prometheus_client import generate_latest

        return generate_latest(self._registry), "text/plain; version=0.0.4; charset=utf-8"


class LoopLag:
    """Measures the running event loop between `start` and `stop`: how late it calls what it was to call."""

    def __init__(self, metrics: Metrics, *, every: float = 1.0) -> None:
        self._metrics = metrics
        self._every = every
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin with the running loop."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._every
        self._timer = loop.call_at(due, self._woken, loop, due)

    def stop(self) -> None:
        """Measure no more.  Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _woken(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._metrics.observe(LOOP_LAG, loop.time() - due)
        self.start()


_HEAD: Final = """\
# Metrics

<!-- Written by `python -m moorage.metrics > docs/reference/metrics.md`; a test compares. -->

Served for Prometheus at `metrics.path` (`/metrics`) of `metrics.listen` if `metrics.enable` is on: as OpenMetrics to
who asks for it, otherwise in the classic text format. `containerssh_*` are the metrics of ContainerSSH with the same
names and labels; `moorage_*` are additions; `process_*` are the same for every program (Linux only).

| metric | type | labels | what |
|---|---|---|---|
"""

_TAIL: Final = """
Labels:

- `country`: the ISO code of the client's country, `XX` where it is not known.
- `authtype`: `password`, `pubkey` or `authorization`; only webhooks are counted. A key is counted when it is offered.
- `retry`: `0` for the first call for a login, `1` for a repetition.
- `type`: `soft` for each call that failed, and `hard` once more when the server gives up.
- `reason`: the code of the message in the log, such as `HTTP_CLIENT_CONNECTION_FAILED`.
- `backend`: what provides the guests, such as `docker`.
- `result`: `ready` where a guest stood ready, `none` where the login had to wait for its own.
- `stage`: `auth`, `config` or `guest`.
- `limit`: the key of `ssh` that turned the connection away, such as `maxStartups`, or `penalty`.
- `cause`: `failed_authentication`, `no_attempt_to_authenticate`, `too_slow_authentication`, `broken_handshake` or
  `internal_error`.
- `method`: the SSH method (RFC 4252); `outcome`: `accepted`, `refused`, or `unavailable` where nobody could be asked.
- `webhook`: as `authtype`, and `config`; its `outcome`: `answered` or `failed`.
- `request`: what the backend was asked for, or the SSH request that was refused.
- `kind`: of programs `shell`, `exec` or `subsystem`; of forwards `dial` (`-L`, `-D`, `-W`) or `listen` (`-R`, X11,
  ssh-agent).
- `sink`: the number of the entry in `audit.events`, from 0, and what it is, such as `0:webhook`.
- `direction`: `sent` to the guest or `received` from it.

A connection counts as one handshake: as successful when its guest is open, as failed when it ends before that, whatever
the reason. The requests of the backend docker are the calls that look for and pull images, that create, start, attach
to, inspect and remove containers, and that create and start an exec; those of sandbox are the guests that were asked
for. That an image or a container is not there is no error.
"""


def reference() -> str:
    """The reference page."""
    return _HEAD + "".join(_rows()) + _TAIL


def _rows() -> Iterator[str]:
    for one in (*DEFINITIONS, *PROCESS):
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind} | {labels} | {one.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
