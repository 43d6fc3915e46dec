"""A webhook server that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = dict[str, Any]


@dataclass
class Answer:
    """What goes back: JSON text, or whatever a broken server would send."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def say(status: int = 200, **fields: Any) -> Answer:
    """An answer as a well-behaved hook gives it."""
    return Answer(json.dumps(fields).encode(), status)


@dataclass
class Hooks:
    """The running server: ``answers[path]`` decides, ``asked`` holds each path and request."""

    url: str
    answers: dict[str, Callable[[Request], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, Request]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """A hook that is to hang waits for this; set at the end."""

    def requests(self, path: str) -> list[Request]:
        """What was asked at `path`."""
        return [request for asked, request in self.asked if asked == path]


@contextmanager
def hooks() -> Iterator[Hooks]:
    """A hook server on the loopback for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            running.asked.append((self.path, request))
            decide = running.answers.get(self.path)
            answer = decide(request) if decide is not None else say(404)
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up early is part of the tests."""

    server = Quiet(("127.0.0.1", 0), Handler)
    running = Hooks(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        running.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
