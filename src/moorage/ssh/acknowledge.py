"""Quick acknowledgements: what keeps a client's small packets from waiting for each other.

A client that sends two small packets in a row, as OpenSSH does in a key exchange and around authentication,
holds the second one back until the first is acknowledged (RFC 896), and the kernel delays that by some
40 ms in the hope of sending it along with an answer.  Where no answer is due, the delay is all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

SMALL: Final = 2048
"""Bytes; longer reads belong to a stream of data, for which the kernel's own judgement is the better one."""

_OPTION: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


def acknowledge(transport: asyncio.Transport, size: int) -> None:
    """Acknowledge at once what has just arrived, if its `size` is small.  The kernel forgets: ask each time."""
    if size < SMALL and _OPTION is not None:
        with contextlib.suppress(OSError, AttributeError):  # no TCP socket, or one that is closed
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
