"""A receiver of traces by OTLP over HTTP, with the messages of OpenTelemetry's own protocol files."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span as it came over the wire."""

    trace: str
    id: str
    parent: str
    name: str
    seconds: float
    attributes: Mapping[str, Any]
    is_error: bool
    status: str
    service: str


@dataclass
class Receiver:
    """What was received, and where to send to."""

    url: str
    spans: list[Span] = field(default_factory=list)
    is_away: bool = False
    """Answers with 503 while it is."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on the loopback for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if running.is_away or self.path != "/v1/traces":
                self.send_response(503 if running.is_away else 404)
            else:
                assert self.headers["Content-Type"] == "application/x-protobuf"
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                running.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Receiver(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    {one.key: one.value.string_value for one in span.attributes},
                    span.status.code == 2,
                    span.status.message,
                    about["service.name"],
                )
