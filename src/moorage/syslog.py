"""Lines to a syslog daemon: to one of this machine by its socket, to others by UDP, TCP or TLS.

A local daemon (and systemd's journal, which knows no other) gets the form that the C library
sends, ``<PRI>Mmm dd HH:MM:SS TAG[PID]: TEXT``; over the network goes RFC 5424, which also names the
host, the year and the time zone.  On TCP and TLS each message has its length before it (RFC 6587 §3.4.1,
RFC 5425 §4.3), on a local stream a line feed after it.

A thread of its own does the sending, so that neither a slow daemon nor a name look-up holds
anybody up.  While the daemon is away, lines wait; those for which there is no room are counted,
and the count is told once it is back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MOST_LINES: Final = 1024
"""Lines that wait for the daemon; further ones are lost."""

LONGEST_LINE: Final = 8192
"""Bytes of one message, the most that common daemons take; longer ones are cut."""

_SEND_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 2.0
"""How long `Syslog.close` waits for what is still to be sent."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_WARNING: Final = 4
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

TRANSPORTS: Final = ("unix", "udp", "tcp", "tls")

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Where:
    """A daemon's address: a path for `unix`, HOST:PORT for the others."""

    transport: str
    address: str

    @classmethod
    def parse(cls, text: str) -> Where:
        """`text` is ``TRANSPORT://ADDRESS``, the path of a socket, or HOST:PORT for UDP.

        Raises `ValueError` for another transport.
        """
        transport, mark, address = text.partition("://")
        if not mark:
            return cls("unix" if text.startswith("/") else "udp", text)
        if transport not in TRANSPORTS:
            raise ValueError(f"{transport} is none of {', '.join(TRANSPORTS)}")
        return cls(transport, address)


def _now() -> datetime:
    return datetime.now(UTC)


class Syslog:
    """A target for `moorage.log.configure`.  Its methods are those of a logger, one for each severity."""

    is_enveloped = True
    """The time and the level stand before the line, not in it."""

    def __init__(
        self,
        destination: str,
        *,
        facility: int,
        tag: str,
        with_pid: bool = False,
        is_rfc_5424: bool | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock = _now,
    ) -> None:
        """Connect to `destination` (`Where.parse`); a local socket may be a stream or take datagrams.

        `is_rfc_5424` None means: not for a local daemon.  `tls` is needed for that transport alone.
        Raises `OSError` if it cannot be connected now; later it is tried again until it can.
        """
        self._where = Where.parse(destination)
        self._is_local = self._where.transport == "unix"
        self._is_counted = self._where.transport in {"tcp", "tls"}
        self._is_rfc_5424 = not self._is_local if is_rfc_5424 is None else is_rfc_5424
        self._tls = tls
        self._facility = facility
        self._tag = "".join(c for c in tag if "!" <= c <= "~")[:48] or "moorage"
        self._pid = str(os.getpid()) if with_pid else ""
        self._clock = clock
        self._host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
        self._socket: socket.socket | None = None
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._is_stale = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._connect()
        self._sender = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._sender.start()

    def write(self, severity: int, line: str) -> None:
        """Send `line` some time soon.  Never blocks, never raises."""
        message = self._message(severity, line)
        with self._changed:
            if len(self._waiting) >= MOST_LINES:
                self._lost += 1
                return
            self._waiting.append(message)
            self._changed.notify()

    def debug(self, line: str) -> None:
        self.write(7, line)

    def info(self, line: str) -> None:
        self.write(6, line)

    def warning(self, line: str) -> None:
        self.write(_WARNING, line)

    def error(self, line: str) -> None:
        self.write(3, line)

    def critical(self, line: str) -> None:
        self.write(2, line)

    msg = log = info
    warn = warning
    exception = failure = error
    fatal = critical

    def reopen(self) -> None:
        """Connect anew before the next line."""
        with self._changed:
            self._is_stale = True

    def close(self) -> None:
        """Send what waits, if that can be done soon, and let go.  Idempotent."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._sender.join(_LAST_SECONDS)

    # -- the message ---------------------------------------------------------------------------

    def _message(self, severity: int, line: str) -> bytes:
        head = f"<{self._facility * 8 + severity}>"
        now = self._clock()
        if not self._is_rfc_5424:
            local = now.astimezone()
            tag = f"{self._tag}[{self._pid}]" if self._pid else self._tag
            head += f"{_MONTHS[local.month - 1]} {local.day:2} {local:%H:%M:%S} {tag}: "
        else:
            stamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            head += f"1 {stamp} {self._host} {self._tag} {self._pid or '-'} - - "
        text = (head + line).encode("utf-8", "replace")
        if len(text) > LONGEST_LINE:
            text = text[:LONGEST_LINE].decode("utf-8", "ignore").encode()
        return text

    # -- the sender ----------------------------------------------------------------------------

    def _run(self) -> None:
        while (message := self._next()) is not None and self._deliver(message):
            pass
        self._disconnect()

    def _next(self) -> bytes | None:
        """The next message, the count of lost ones first; None when there will be no more."""
        with self._changed:
            while not self._waiting and not self._closing.is_set():
                self._changed.wait()
            if self._is_stale:
                self._is_stale = False
                self._disconnect()
            if self._lost and len(self._waiting) < MOST_LINES:
                lost, self._lost = self._lost, 0
                return self._message(_WARNING, f"{lost} lines of the log were lost (LOG_WRITE_FAILED)")
            return self._waiting.popleft() if self._waiting else None

    def _deliver(self, message: bytes) -> bool:
        """Send `message`, however long the daemon is away; False if that is given up because of `close`."""
        pause = _FIRST_PAUSE
        while True:
            try:
                self._send(message)
                return True
            except OSError as error:
                self._disconnect()
                if error.errno == errno.EMSGSIZE:
                    with self._changed:
                        self._lost += 1
                    return True
            if self._closing.wait(pause):
                # An old connection may have been at fault: one try with a new one.
                with contextlib.suppress(OSError):
                    self._send(message)
                    return True
                return False
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _send(self, message: bytes) -> None:
        if self._socket is not None and _has_hung_up(self._socket):
            self._disconnect()
        connection = self._socket or self._connect()
        if self._is_counted:
            connection.sendall(b"%d %b" % (len(message), message))
        elif connection.type == socket.SOCK_STREAM:
            connection.sendall(message + b"\n")
        else:
            connection.send(message)

    def _connect(self) -> socket.socket:
        self._socket = self._local() if self._is_local else self._remote()
        return self._socket

    def _local(self) -> socket.socket:
        try:
            return self._local_of(socket.SOCK_STREAM)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
        return self._local_of(socket.SOCK_DGRAM)

    def _local_of(self, kind: socket.SocketKind) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, kind)
        try:
            connection.settimeout(_SEND_SECONDS)
            connection.connect(self._where.address)
        except OSError:
            connection.close()
            raise
        return connection

    def _remote(self) -> socket.socket:
        host, _, port = self._where.address.rpartition(":")
        host = host.strip("[]")
        if not self._is_counted:
            return self._datagrams_to(host, int(port))
        connection = socket.create_connection((host, int(port)), timeout=_SEND_SECONDS)
        if self._where.transport == "tcp":
            return connection
        try:
            assert self._tls is not None, "a context is needed for TLS"
            return self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def _datagrams_to(self, host: str, port: int) -> socket.socket:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        connection = socket.socket(family, kind, protocol)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


def _has_hung_up(connection: socket.socket) -> bool:
    """Has the daemon closed the stream?  Without this look, the next line would be lost into it."""
    if connection.type != socket.SOCK_STREAM:
        return False
    waiting = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
    if not waiting and not select.select([connection], [], [], 0)[0]:
        return False
    connection.settimeout(0)
    try:
        return connection.recv(4096) == b""  # a daemon has nothing to say
    except (BlockingIOError, ssl.SSLWantReadError):
        return False  # such as a ticket for another TLS session
    except OSError:
        return True
    finally:
        connection.settimeout(_SEND_SECONDS)
