"""The service manager's side of a start: sockets that it has opened for us, and telling it how we are.

The conventions are systemd's (sd_listen_fds(3), sd_notify(3)); where nothing of the kind is there, nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from moorage.errors import ConfigError

_FIRST: Final = 3
_MOST: Final = 64


def inherited_sockets(environment: MutableMapping[str, str], *, pid: int, first: int = _FIRST) -> list[socket.socket]:
    """The listening sockets that were handed to this process; none where there are none for it.

    The variables are taken out of `environment`, so that no child takes them for its own.  Raises `ConfigError` for
    a descriptor that is no listening stream socket.
    """
    count, meant = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if meant != str(pid) or not count.isdecimal():
        return []
    if int(count) > _MOST:
        raise ConfigError(f"LISTEN_FDS: {count} sockets were handed over, and {_MOST} are the most")
    return [_listening(number) for number in range(first, first + int(count))]


def _listening(number: int) -> socket.socket:
    try:
        os.set_inheritable(number, False)
        handed = socket.socket(fileno=number)
        if handed.type != socket.SOCK_STREAM or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            handed.detach()
            raise ConfigError(f"LISTEN_FDS: descriptor {number} is no listening stream socket")
    except OSError as error:
        raise ConfigError(f"LISTEN_FDS: descriptor {number} is no socket: {error.strerror}") from error
    handed.setblocking(False)
    return handed


class ServiceManager:
    """Whom to tell about the state of the service; nobody where there is no manager."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take its address out of `environment`."""
        place = environment.pop("NOTIFY_SOCKET", "")
        self._place = "\0" + place[1:] if place.startswith("@") else place

    def tell(self, *assignments: str) -> None:
        """Send ``READY=1`` and the like.  A manager that does not listen is no reason not to serve."""
        if not self._place:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.setblocking(False)
            out.connect(self._place)
            out.send("\n".join(assignments).encode())
