"""The handshake of OpenSSH's client, recorded and then made wrong, against a real server: it goes on as before."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.places import Place
from tests.e2e.processes import memory_kib, tree
from tests.e2e.waiting import until
from tests.parts.mutation import CASES, mutated, sequence

pytestmark = pytest.mark.sandbox

NEWKEYS = 21


def recorded(place: Place) -> bytes:
    """All that a real client sends in one login."""
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", place.server.port)) as server:
                back = threading.Thread(target=pump, args=(server, client, bytearray()))
                back.start()
                pump(client, server, sent)
                back.join()

        thread = threading.Thread(target=relay)
        thread.start()
        done = place.user.run("echo in", options=[f"Port={listener.getsockname()[1]}"])
        thread.join()
    assert done.stdout == b"in\n", done.stderr
    return bytes(sent)


def pump(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
    """Pass on all that comes."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            copy += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def plain_packets(sent: bytes) -> tuple[bytes, list[bytes]]:
    """The identification line, and the payloads of the packets that came before there were keys."""
    line, _, rest = sent.partition(b"\r\n")
    packets = []
    while True:
        length, padding = int.from_bytes(rest[:4], "big"), rest[4]
        packets.append(rest[5 : 4 + length - padding])
        rest = rest[4 + length :]
        if packets[-1][0] == NEWKEYS:
            return line, packets


def packed(payload: bytes) -> bytes:
    """`payload` as a packet without keys."""
    padding = 4 + -(4 + 1 + len(payload) + 4) % 8
    return (1 + len(payload) + padding).to_bytes(4, "big") + bytes((padding,)) + payload + bytes(padding)


def case(rng: random.Random, line: bytes, packets: Sequence[bytes], encrypted: bytes) -> bytes:
    """What one stranger sends."""
    if rng.random() < 0.15:
        line = mutated(rng, line)
    stream = line + b"\r\n" + b"".join(map(packed, sequence(rng, packets)))
    if rng.random() < 0.3:
        stream += encrypted[: rng.randrange(len(encrypted))]
    if rng.random() < 0.15:  # wrong below the packets: their lengths and paddings
        stream = mutated(rng, stream)
    return stream


def descriptors(place: Place) -> int:
    """How many files and sockets the server has open."""
    return len(list(Path(f"/proc/{place.server.pid}/fd").iterdir()))


def send(place: Place, stream: bytes, rng: random.Random) -> None:
    """Send it, in one piece or several, and wait until the server has had enough, or leave."""
    with (
        socket.create_connection(("127.0.0.1", place.server.port), timeout=30) as stranger,
        contextlib.suppress(OSError),
    ):
        cut = rng.randrange(len(stream) + 1)
        stranger.sendall(stream[:cut])
        stranger.sendall(stream[cut:])
        if rng.random() < 0.9:
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(65536):
                pass


@pytest.mark.timeout(3600 if CASES > 1000 else 120)
def test_mutated_handshakes(serve: Serve) -> None:
    place = serve("sandbox", log={"level": "info"})
    sent = recorded(place)
    line, packets = plain_packets(sent)
    encrypted = sent[-2000:]
    seed = random.randrange(2**32)
    for number in range(50):  # what the first ones make the server load is not counted
        send(place, case(random.Random(f"warm/{number}"), line, packets, encrypted), random.Random(number))
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    files, memory = descriptors(place), memory_kib(place.server.pid)
    for number in range(CASES):
        rng = random.Random(f"{seed}/{number}")
        send(place, case(rng, line, packets, encrypted), rng)
        if number % 250 == 249:
            assert place.user.run("echo in").stdout == b"in\n", f"seed {seed}, after {number}"
    assert place.user.run("echo in").stdout == b"in\n", f"seed {seed}"
    log = place.server.log()
    assert "SSH_INTERNAL_ERROR" not in log, f"seed {seed}"
    assert "Traceback" not in log, f"seed {seed}"
    until(lambda: len(tree([place.server.pid])) == 1, "the guests are gone")
    until(lambda: descriptors(place) <= files, f"descriptors are back to {files}")
    assert memory_kib(place.server.pid) < memory + 20_000, f"grown from {memory} KiB, seed {seed}"
