"""A TLS relay in front of a unix socket that passes a half-close on in both directions.

One thread a direction, on blocking sockets: asyncio's TLS cannot half-close.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme


@asynccontextmanager
async def tls_relay(target: Path, ca: trustme.CA) -> AsyncIterator[int]:
    """The port of a relay to `target` that trusts and shows certificates of `ca`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = threading.Thread(target=_relay, args=(connection, context, target, opened))
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in (accepting, *threads):
            await asyncio.to_thread(thread.join)


def _relay(connection: socket.socket, context: ssl.SSLContext, target: Path, opened: list[socket.socket]) -> None:
    plain = socket.socket(socket.AF_UNIX)
    opened += [connection, plain]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = context.wrap_bio(incoming, outgoing, server_side=True)
    with connection, plain, contextlib.suppress(OSError):
        _shake_hands(connection, secure, incoming, outgoing)
        plain.connect(str(target))
        reading = {connection, plain}
        if not _decrypted(secure, plain):  # what came together with the end of the handshake
            return
        while reading:
            ready, _, _ = select.select(list(reading), [], [])
            if plain in ready:
                if data := plain.recv(65536):
                    secure.write(data)
                else:
                    reading.discard(plain)
                    with contextlib.suppress(ssl.SSLWantReadError):
                        secure.unwrap()
                connection.sendall(outgoing.read())
            if connection in ready:
                incoming.write(connection.recv(65536))
                if not _decrypted(secure, plain):
                    reading.discard(connection)
                    plain.shutdown(socket.SHUT_WR)


def _decrypted(secure: ssl.SSLObject, plain: socket.socket) -> bool:
    """Pass on what can be decrypted; False at the peer's goodbye."""
    while True:
        try:
            data = secure.read(65536)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLZeroReturnError:
            return False
        if not data:
            return False
        plain.sendall(data)


def _shake_hands(
    connection: socket.socket, secure: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    while True:
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("the peer left") from None
            incoming.write(data)
        else:
            connection.sendall(outgoing.read())
            return
