"""Events as traces: one for each connection, with a span for each stage of its login.

::

    connection              from accept to the end
     ├── auth               from accept to the attempt that succeeded
     │    └── attempt       one for each that was decided
     ├── config             until the login's configuration is settled
     ├── launch             until the guest is open
     ├── program            from the guest to the first program that runs, policy's decisions included
     └── output             from there to the first byte that the client is sent

Spans are made when a stage has ended, with the times of its events: nothing is measured twice and nothing
waits.  The library is imported when a `Traces` is made, and none is made while tracing is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moorage import __version__
from moorage.codes import Code
from moorage.errors import ConfigError
from moorage.gateway import events
from moorage.gateway.model import Address, ConnectionId

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from moorage.config.sections.tracing import TracingConfig

_MOST_ATTEMPTS: Final = 32
"""Attempts of one connection that get a span."""

_EXPORT_SECONDS: Final = 5


class Traces:
    """Sends traces to where `config` says; a collector that is away costs them, and nothing else."""

    def __init__(self, config: TracingConfig) -> None:
        """Raises `ConfigError` where the extra is not installed."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
        except ImportError as cause:
            raise ConfigError(
                "tracing.enable: needs packages that are missing: pip install 'moorage[otel]'",
                code=Code.CORE_CONFIG_ERROR,
            ) from cause
        resource = Resource.create({"service.name": config.service, "service.version": __version__})
        self._provider = TracerProvider(
            resource=resource, sampler=TraceIdRatioBased(config.percent / 100), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=config.url, timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("moorage", __version__)
        self._trace = trace

    def listener(self, connection_id: ConnectionId, peer: Address) -> events.Listener:
        """Traces one connection."""
        return _Connection(self._trace, self._tracer, connection_id, peer).heard

    def close(self) -> None:
        """Send what is to be sent, for a few seconds at most; blocks.  Idempotent."""
        self._provider.shutdown()


class _Connection:
    """The spans of one connection.  Times of the library are integers of nanoseconds."""

    def __init__(self, trace: Any, tracer: Any, connection_id: ConnectionId, peer: Address) -> None:
        self._trace = trace
        self._tracer = tracer
        self._attributes = {"moorage.connection.id": connection_id, "client.address": peer.host}
        self._root: Span | None = None
        self._since = 0
        self._attempts: list[events.AuthAttempted] = []
        self._has_run = self._has_shown = False

    def heard(self, event: events.Event) -> None:
        now = int(event.at * 1e9)
        match event:
            case events.ConnectionOpened():
                self._since = now
                self._root = self._tracer.start_span(
                    "connection", kind=self._trace.SpanKind.SERVER, start_time=now, attributes=self._attributes
                )
            case events.AuthAttempted():
                if len(self._attempts) < _MOST_ATTEMPTS:
                    self._attempts.append(event)
                if event.success and not event.further:
                    self._set({"user.name": event.attempt.username, "moorage.auth.method": event.method})
                    self._auth(now)
            case events.LoginAccepted():
                self._stage("config", now)
            case events.GuestOpened():
                self._stage("launch", now, {"moorage.backend": event.backend})
            case events.ProgramStarted() if not self._has_run:
                self._has_run = True
                self._stage("program", now, {"moorage.program.kind": event.program.kind.value})
            case events.OutputBegun() if not self._has_shown:
                self._has_shown = True
                self._stage("output", now)
            case events.HandshakeFailed():
                self._auth(now, event.reason)
            case events.GuestFailed():
                self._stage("launch", now, {"moorage.backend": event.backend}, failure=event.reason)
            case events.ConnectionClosed():
                if self._root is not None:
                    self._root.end(now)
                    self._root = None
            case _:
                pass

    def _set(self, attributes: dict[str, str]) -> None:
        if self._root is not None:
            self._root.set_attributes(attributes)

    def _auth(self, now: int, failure: str = "") -> None:
        since = self._since
        auth = self._stage("auth", now, failure=failure)
        for one in self._attempts:
            end = int(one.at * 1e9)
            attributes = {"moorage.auth.method": one.method, "user.name": one.attempt.username}
            self._span("attempt", auth, (since, end), attributes, "" if one.success else one.reason or "refused")
            since = end
        self._attempts.clear()

    def _stage(
        self, name: str, now: int, attributes: dict[str, str] | None = None, *, failure: str = ""
    ) -> Span | None:
        span = self._span(name, self._root, (self._since, now), attributes or {}, failure)
        if failure and self._root is not None:
            self._root.set_status(self._trace.StatusCode.ERROR, failure)
        self._since = now
        return span

    def _span(
        self, name: str, parent: Span | None, times: tuple[int, int], attributes: dict[str, str], failure: str
    ) -> Span | None:
        start, end = times
        if parent is None:
            return None
        context = self._trace.set_span_in_context(parent)
        span: Span = self._tracer.start_span(name, context=context, start_time=start, attributes=attributes)
        if failure:
            span.set_status(self._trace.StatusCode.ERROR, failure)
        span.end(max(start, end))
        return span
