"""User authentication (RFC 4252), one request after the other.

Requests are decided in order and completely before the next one is read, as §5.1 wants.
Nothing here sends: an `Answer` says what is to be sent.
"""

from __future__ import annotations

import base64
import enum
from ipaddress import ip_address
from typing import Final, Protocol, cast

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket, String
from asyncssh.public_key import SSHOpenSSHCertificate, decode_ssh_certificate, decode_ssh_public_key

from moorage.ssh.algorithms import SIGNATURES

MAX_REQUESTS: Final = 128
"""Requests of one connection, whatever their outcome; accepted key queries would be free otherwise."""

MAX_USERNAME: Final = 255
"""Bytes of a user name."""

_ALLOWED: Final = frozenset(name.encode() for name in SIGNATURES)
_CERTIFICATE: Final = b"-cert-v01@openssh.com"
_USER_CERTIFICATE: Final = 1


class Decider(Protocol):
    """What is asked of the gateway's connection."""

    async def password(self, username: str, password: bytes) -> bool: ...

    async def public_key(self, username: str, key: str) -> bool: ...

    async def key_verified(self, username: str, key: str) -> bool: ...

    def tries_left(self) -> int: ...


class Answer(enum.Enum):
    """What a request is answered with."""

    FAILURE = "failure"
    SUCCESS = "success"
    KEY_WELCOME = "pk_ok"


class Authentication:
    """The requests of one connection and how many of them failed."""

    def __init__(self, gateway: Decider, peer_host: str) -> None:
        self._gateway = gateway
        self._peer_host = peer_host
        self._requests = 0
        self._unasked = 0
        self._saw_none = False

    @property
    def exhausted(self) -> bool:
        """True if the connection has had all the tries it gets."""
        return self._gateway.tries_left() - self._unasked <= 0 or self._requests >= MAX_REQUESTS

    async def decide(self, username: bytes, method: str, packet: SSHPacket, session_id: bytes) -> Answer:
        """The answer to one request; `packet` stands after the method's name.

        Raises `PacketDecodeError` for a request that is not well-formed.
        """
        self._requests += 1
        try:
            name = username.decode("utf-8")
        except UnicodeDecodeError:
            return self._unheard()
        if method == "none" and not self._saw_none:
            self._saw_none = True
            return Answer.FAILURE
        if not 0 < len(username) <= MAX_USERNAME:
            return self._unheard()
        if method == "password":
            return await self._password(name, packet)
        if method == "publickey":
            return await self._public_key(name, packet, session_id)
        return self._unheard()

    def _unheard(self) -> Answer:
        """A failure that the gateway was not asked about, and so has not counted."""
        self._unasked += 1
        return Answer.FAILURE

    async def _password(self, username: str, packet: SSHPacket) -> Answer:
        wants_change = packet.get_boolean()
        password = packet.get_string()
        if wants_change:  # RFC 4252 §8: nobody was told that a password has expired
            return self._unheard()
        packet.check_end()
        return Answer.SUCCESS if await self._gateway.password(username, password) else Answer.FAILURE

    async def _public_key(self, username: str, packet: SSHPacket, session_id: bytes) -> Answer:
        is_signed = packet.get_boolean()
        algorithm = packet.get_string()
        blob = packet.get_string()
        signed = String(session_id) + packet.get_consumed_payload()
        signature = packet.get_string() if is_signed else b""
        packet.check_end()
        key = usable_key(algorithm, blob, username, self._peer_host)
        if key is None:
            return self._unheard()
        line = key_line(blob)
        if not is_signed:
            return Answer.KEY_WELCOME if await self._gateway.public_key(username, line) else Answer.FAILURE
        if not await self._gateway.public_key(username, line):
            return Answer.FAILURE
        if not is_valid(key, algorithm, signed, signature):
            return self._unheard()
        return Answer.SUCCESS if await self._gateway.key_verified(username, line) else Answer.FAILURE


def algorithm_and_key(request: SSHPacket) -> tuple[bytes, bytes]:
    """What a public key query has asked about, to be sent back (RFC 4252 §7)."""
    query = SSHPacket(request.get_consumed_payload())
    query.get_byte()
    for _ in range(3):  # user name, service, method
        query.get_string()
    query.get_boolean()
    return query.get_string(), query.get_string()


def key_line(blob: bytes) -> str:
    """The key as a line of an authorized_keys file: its type and the base64 of all of it, no comment."""
    kind = SSHPacket(blob).get_string().decode("ascii")
    return f"{kind} {base64.b64encode(blob).decode('ascii')}"


def usable_key(algorithm: bytes, blob: bytes, username: str, peer_host: str) -> asyncssh.SSHKey | None:
    """The public key in `blob` if it may sign by `algorithm`, else None.

    A certificate must be a user certificate in force for `username` and `peer_host`; who
    issued it is for the services to judge, which are shown all of it.  A forced command
    is refused, for nothing here would hold the user to it.
    """
    plain = algorithm.removesuffix(_CERTIFICATE)
    if plain not in _ALLOWED and algorithm not in _ALLOWED:
        return None
    try:
        if not algorithm.endswith(_CERTIFICATE):
            key = decode_ssh_public_key(blob)
            return key if algorithm in key.sig_algorithms else None
        certificate = decode_ssh_certificate(blob)
        if not isinstance(certificate, SSHOpenSSHCertificate):
            return None
        certificate.validate(_USER_CERTIFICATE, username)
    except (asyncssh.KeyImportError, PacketDecodeError, ValueError):
        return None
    options = certificate.options
    sources = cast("list[object]", options.get("source-address") or [])
    address = ip_address(peer_host)
    if sources and not any(address in network for network in sources):  # type: ignore[operator]
        return None
    if "force-command" in options:
        return None
    return certificate.key if algorithm in certificate.sig_algorithms or _certifies(certificate, plain) else None


def _certifies(certificate: SSHOpenSSHCertificate, algorithm: bytes) -> bool:
    return algorithm in certificate.key.sig_algorithms


def is_valid(key: asyncssh.SSHKey, algorithm: bytes, signed: bytes, signature: bytes) -> bool:
    """Was `signed` signed with `key` by the very algorithm that was announced?  (RFC 8332 §3.2)"""
    try:
        used = SSHPacket(signature).get_string()
        return used == algorithm.removesuffix(_CERTIFICATE) and key.verify(signed, signature)
    except (PacketDecodeError, ValueError):
        return False
