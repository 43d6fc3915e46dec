"""Accepting connections, also while the machine is short of descriptors or memory.

The event loop's own server is not used: where no descriptor is left it tries, and logs, hundreds of times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

BACKLOG: Final = 512
"""Connections that the kernel keeps for us between accepts."""

AT_ONCE: Final = 64
"""Connections that are accepted in one turn of the loop; those that are open get their turn in between."""

PAUSE: Final = 1.0
"""Seconds without a try after the machine had nothing left for a connection."""

_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def listening_sockets(host: str, port: int) -> Sequence[socket.socket]:
    """Sockets that listen on every address of `host`, or on all addresses if it is empty.

    Raises `OSError`, with the address in its text, if one cannot be had.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    for family, *_, place in dict.fromkeys(infos):
        try:
            made = socket.create_server(
                place[:2] if family == socket.AF_INET else place, family=family, backlog=BACKLOG
            )
        except OSError as error:
            is_missing = error.errno == errno.EAFNOSUPPORT or (not host and error.errno == errno.EADDRNOTAVAIL)
            if is_missing and len(infos) > 1:  # a machine without one of the two families
                continue
            for one in bound:
                one.close()
            what = errno.errorcode.get(error.errno or 0, "error")
            text = error.strerror.partition(" (")[0].lower() if error.strerror else what
            raise OSError(error.errno, f"{text}: {host or 'all addresses'} port {port}") from error
        made.setblocking(False)
        bound.append(made)
    if not bound:
        raise OSError(errno.EADDRNOTAVAIL, f"there is no address to listen on for {host or 'all'} port {port}")
    return bound


class Acceptor:
    """Accepts connections on one socket until closed; `make` gives the protocol of each.

    `troubled` is called with the error when the machine is short of something; the next try is `PAUSE` seconds later.
    """

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.BaseProtocol], troubled: Callable[[OSError], None]
    ) -> None:
        self._listening = listening
        self._make = make
        self._troubled = troubled
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._starting: set[asyncio.Task[Any]] = set()
        self.name = listening.getsockname()
        self._go_on()

    def close(self) -> None:
        """Accept no more.  Those that were accepted stay.  Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGE:  # accept(2): errors of the new connection, which has gone
                    continue
                self._loop.remove_reader(self._listening)
                self._timer = self._loop.call_later(PAUSE, self._go_on)
                self._troubled(error)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._start(accepted), name="net/accept")
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError:  # the peer has gone already
            with contextlib.suppress(OSError):
                accepted.close()
