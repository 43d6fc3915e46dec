"""Bad weather between a client and a TCP server on the loopback: slow lines, and lines that break."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECE = 16 * 1024


@dataclass
class Weather:
    """A relay; what is changed holds from the next piece of bytes on."""

    port: int
    bytes_per_second: float = float("inf")
    """Towards the server, all connections together."""
    breaks_after: float = float("inf")
    """Bytes towards the server after which each connection is cut."""
    passed: int = 0
    """Bytes that went to the server."""
    broken: int = 0
    """Connections that were cut."""
    _open: set[socket.socket] = field(default_factory=set)


@contextmanager
def weather(target: int) -> Iterator[Weather]:
    """A relay to the port `target` for the time of the block."""
    listening = socket.create_server(("127.0.0.1", 0))
    state = Weather(listening.getsockname()[1])
    threads: list[threading.Thread] = []

    def begin(work: threading.Thread) -> None:
        threads.append(work)
        work.start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", target), 10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                state._open |= {client, server}
                begin(threading.Thread(target=_pass, args=(state, client, server, True)))
                begin(threading.Thread(target=_pass, args=(state, server, client, False)))

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield state
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listening.close()
        for one in tuple(state._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in state._open:
            one.close()


def _pass(state: Weather, source: socket.socket, target: socket.socket, is_upwards: bool) -> None:
    count = 0
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            if is_upwards:
                count += len(data)
                if count > state.breaks_after:
                    state.broken += 1
                    break
                time.sleep(len(data) / state.bytes_per_second)
                state.passed += len(data)
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
