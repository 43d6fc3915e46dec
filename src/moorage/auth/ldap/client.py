"""One connection to a directory (RFC 4511): TLS, bind, search.  One request at a time, every answer bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from moorage.auth.ldap import ber

LARGEST_MESSAGE: Final = 1024 * 1024
_START_TLS: Final = "1.3.6.1.4.1.1466.20037"
_BIND, _BOUND, _UNBIND = 0x60, 0x61, 0x42
_SEARCH, _ENTRY, _DONE, _REFERENCE = 0x63, 0x64, 0x65, 0x73
_EXTENDED, _EXTENSION = 0x77, 0x78
BASE, SUBTREE = 0, 2

SUCCESS, SIZE_LIMIT, NO_SUCH_OBJECT, INVALID_NAME, INVALID_CREDENTIALS = 0, 4, 32, 34, 49

Found = tuple[str, Mapping[str, Sequence[bytes]]]
"""An entry's name and its attributes, under their lower-case names."""


class LDAPError(Exception):
    """The directory cannot be asked, or says no to what it must not say no to; the text quotes nothing it has sent."""

    def __init__(self, text: str, result: int = -1) -> None:
        super().__init__(text)
        self.result = result


@dataclass(frozen=True, slots=True)
class Server:
    """Where a directory is and how it is spoken to."""

    url: str
    context: ssl.SSLContext | None = None
    """For ``ldaps://`` and `start_tls`."""
    start_tls: bool = False


class Connection:
    """Requests to one directory; made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, used: int = 0) -> None:
        self._reader = reader
        self._writer = writer
        self._number = used

    async def bind(self, name: str, password: bytes) -> bool:
        """Is this the password of `name`?  An empty one is never sent (RFC 4513 §5.1.2).  Raises `LDAPError`."""
        if not password:
            return False
        await self._send(ber.element(_BIND, ber.number(3), ber.octets(name), ber.octets(password, 0x80)))
        result = _result(await self._answer(_BOUND))
        if result in {NO_SUCH_OBJECT, INVALID_NAME, INVALID_CREDENTIALS}:
            return False
        if result != SUCCESS:
            raise LDAPError(f"a bind ends with the result {result}", result)
        return True

    async def search(
        self,
        base: str,
        scope: int,
        matching: bytes,
        attributes: Sequence[str],
        *,
        most: int,
    ) -> list[Found]:
        """At most `most` entries; nothing for a base that is not there.  Raises `LDAPError`, also for more entries."""
        names = [ber.octets(name) for name in attributes or ("1.1",)]  # RFC 4511 §4.5.1.8: no attributes
        limits = ber.number(most) + ber.number(0) + ber.element(ber.BOOLEAN, b"\0")
        await self._send(
            ber.element(
                _SEARCH,
                ber.octets(base),
                ber.number(scope, ber.ENUMERATED) + ber.number(0, ber.ENUMERATED),
                limits,
                matching,
                ber.element(ber.SEQUENCE, *names),
            )
        )
        found: list[Found] = []
        size = 0
        while True:
            tag, content = await self._next()
            size += len(content)
            if tag == _ENTRY:
                found.append(_entry(content))
            elif tag == _DONE:
                result = _result(content)
                break
            elif tag != _REFERENCE:
                raise LDAPError(f"an answer has the tag {tag:#04x}")
            if len(found) > most or size > LARGEST_MESSAGE:
                raise LDAPError("there are more entries than were asked for", SIZE_LIMIT)
        if result in {NO_SUCH_OBJECT, INVALID_NAME}:
            return []
        if result != SUCCESS:
            raise LDAPError(f"a search ends with the result {result}", result)
        return found

    async def _send(self, operation: bytes) -> None:
        self._number += 1
        self._writer.write(ber.element(ber.SEQUENCE, ber.number(self._number), operation))
        await self._writer.drain()

    async def _next(self) -> tuple[int, bytes]:
        return _operation(await _message(self._reader.readexactly), self._number)

    async def _answer(self, tag: int) -> bytes:
        found, content = await self._next()
        if found != tag:
            raise LDAPError(f"an answer has the tag {found:#04x}")
        return content

    async def close(self) -> None:
        """Say goodbye and close."""
        with contextlib.suppress(OSError, RuntimeError):
            await self._send(ber.element(_UNBIND))
        self._writer.close()


@asynccontextmanager
async def connect(server: Server, *, seconds: float) -> AsyncIterator[Connection]:
    """A connection for the length of the block, which takes at most `seconds`.  Raises `LDAPError`."""
    try:
        async with asyncio.timeout(seconds):
            connection = await _connected(server)
            try:
                yield connection
            finally:
                await connection.close()
    except TimeoutError:
        raise LDAPError(f"no answer in {seconds:g} s") from None
    except ssl.SSLError as error:
        raise LDAPError(f"TLS: {getattr(error, 'verify_message', '') or error.reason}") from None
    except (OSError, EOFError) as error:
        raise LDAPError(getattr(error, "strerror", "") or "the connection was closed") from None
    except ber.Malformed as error:
        raise LDAPError(f"the answer cannot be read: {error}") from None


async def _connected(server: Server) -> Connection:
    parts = urlsplit(server.url)
    if parts.scheme == "ldapi":
        path = unquote(parts.netloc or parts.path) or "/run/slapd/ldapi"
        return Connection(*await asyncio.open_unix_connection(path, limit=LARGEST_MESSAGE))
    host = parts.hostname or "localhost"
    sock = await _tcp(host, parts.port or (636 if parts.scheme == "ldaps" else 389))
    try:
        if server.start_tls:
            await _start_tls(sock)
        is_secure = server.start_tls or parts.scheme == "ldaps"
        reader, writer = await asyncio.open_connection(
            sock=sock,
            ssl=server.context if is_secure else None,
            server_hostname=host if is_secure else None,
            limit=LARGEST_MESSAGE,
        )
    except BaseException:
        sock.close()
        raise
    return Connection(reader, writer, used=int(server.start_tls))


async def _tcp(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    refused: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refused


async def _start_tls(sock: socket.socket) -> None:
    """Ask for TLS (RFC 4511 §4.14).  Reads not one byte behind the answer: nothing said in clear counts later."""
    loop = asyncio.get_running_loop()

    async def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await loop.sock_recv(sock, count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    request = ber.element(_EXTENDED, ber.octets(_START_TLS, 0x80))
    await loop.sock_sendall(sock, ber.element(ber.SEQUENCE, ber.number(1), request))
    tag, content = _operation(await _message(exactly), 1)
    if tag != _EXTENSION or _result(content) != SUCCESS:
        raise LDAPError("the server does not switch to TLS")


async def _message(read: ber.Read) -> bytes:
    """The content of one LDAPMessage, of a bounded size."""
    tag, size = await read(2)
    if tag != ber.SEQUENCE:
        raise ber.Malformed("this is not LDAP")
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise ber.Malformed("a length cannot be read")
        size = int.from_bytes(await read(count), "big")
    if size > LARGEST_MESSAGE:
        raise ber.Malformed("a message is larger than 1 MiB")
    return await read(size)


def _operation(message: bytes, number: int) -> tuple[int, bytes]:
    elements = ber.Elements(message)
    if elements.number() != number:
        raise ber.Malformed("an answer is to another question")  # also RFC 4511 §4.4.1: the server hangs up
    return elements.next()


def _result(content: bytes) -> int:
    return ber.Elements(content).number(ber.ENUMERATED)


def _entry(content: bytes) -> Found:
    elements = ber.Elements(content)
    name = elements.take(ber.OCTETS)
    attributes: dict[str, list[bytes]] = {}
    listed = ber.Elements(elements.take(ber.SEQUENCE))
    while not listed.is_empty:
        pair = ber.Elements(listed.take(ber.SEQUENCE))
        values = attributes.setdefault(pair.take(ber.OCTETS).decode("utf-8", "replace").lower(), [])
        given = ber.Elements(pair.take(ber.SET))
        while not given.is_empty:
            values.append(given.take(ber.OCTETS))
    try:
        return name.decode(), attributes
    except UnicodeDecodeError:
        raise ber.Malformed("a name is not UTF-8") from None
