"""User authentication (RFC 4252), one request after the other.

Requests are decided in order and completely before the next one is read, as §5.1 wants.
Nothing here sends: an `Answer` says what is to be sent.
"""

from __future__ import annotations

import base64
import enum
import re
from typing import Final, Protocol

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket, String
from asyncssh.public_key import decode_ssh_public_key

from moorage.auth.certificates.certificate import certified_key
from moorage.auth.certificates.signatures import presence
from moorage.gateway.attempts import Outcome
from moorage.gateway.contract import Ask, TicketExchange
from moorage.ssh.algorithms import SIGNATURES
from moorage.ssh.gssapi import offers_kerberos

MAX_REQUESTS: Final = 128
"""Requests of one connection, whatever their outcome; accepted key queries would be free otherwise."""

MAX_USERNAME: Final = 255
"""Bytes of a user name."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""No user has such a character in his name, and what passes names on need not know that."""

_ALLOWED: Final = frozenset(name.encode() for name in SIGNATURES)
_CERTIFICATE: Final = b"-cert-v01@openssh.com"


class Decider(Protocol):
    """What is asked of the gateway's connection; see `moorage.gateway.attempts.Attempts`."""

    async def begin(self, username: str) -> None: ...

    async def password(self, username: str, password: bytes) -> Outcome: ...

    async def keyboard_interactive(self, username: str, ask: Ask) -> Outcome: ...

    async def public_key(self, username: str, key: str) -> bool: ...

    async def key_verified(self, username: str, key: str, *, touched: bool, verified: bool) -> Outcome: ...

    async def ticket(self, username: str, exchange: TicketExchange) -> Outcome: ...

    def tries_left(self) -> int: ...


class Answer(enum.Enum):
    """What a request is answered with."""

    FAILURE = "failure"
    PARTIAL = "partial success"
    SUCCESS = "success"
    KEY_WELCOME = "pk_ok"
    CONVERSATION = "conversation"
    """Not yet: `Authentication.converse` asks the user."""
    NEGOTIATION = "negotiation"
    """Not yet: `Authentication.negotiate` takes the client's tokens."""


_ANSWERS: Final = {
    Outcome.REFUSED: Answer.FAILURE,
    Outcome.PARTIAL: Answer.PARTIAL,
    Outcome.ACCEPTED: Answer.SUCCESS,
}


class Authentication:
    """The requests of one connection and how many of them failed."""

    def __init__(self, gateway: Decider) -> None:
        self._gateway = gateway
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
        is_name = 0 < len(username) <= MAX_USERNAME and not _CONTROL.search(name)
        if method == "none" and not self._saw_none:
            self._saw_none = True
            if is_name:
                await self._gateway.begin(name)
            return Answer.FAILURE
        if not is_name:
            return self._unheard()
        if method == "password":
            return await self._password(name, packet)
        if method == "publickey":
            return await self._public_key(name, packet, session_id)
        if method == "keyboard-interactive":
            packet.get_string()  # the language: deprecated
            packet.get_string()  # the kinds of questions that the client would like: ours are the gateway's to choose
            packet.check_end()
            return Answer.CONVERSATION
        if method == "gssapi-with-mic":
            return Answer.NEGOTIATION if offers_kerberos(packet) else self._unheard()
        return self._unheard()

    async def converse(self, username: bytes, ask: Ask) -> Answer:
        """The answer to a request that `decide` has answered with `Answer.CONVERSATION`."""
        return _ANSWERS[await self._gateway.keyboard_interactive(username.decode("utf-8"), ask)]

    async def negotiate(self, username: bytes, exchange: TicketExchange) -> Answer:
        """The answer to a request that `decide` has answered with `Answer.NEGOTIATION`."""
        return _ANSWERS[await self._gateway.ticket(username.decode("utf-8"), exchange)]

    def broke_off(self) -> Answer:
        """The answer to a client that did not keep to the protocol of its conversation."""
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
        return _ANSWERS[await self._gateway.password(username, password)]

    async def _public_key(self, username: str, packet: SSHPacket, session_id: bytes) -> Answer:
        is_signed = packet.get_boolean()
        algorithm = packet.get_string()
        blob = packet.get_string()
        signed = String(session_id) + packet.get_consumed_payload()
        signature = packet.get_string() if is_signed else b""
        packet.check_end()
        key = usable_key(algorithm, blob)
        if key is None:
            return self._unheard()
        line = key_line(blob)
        if not is_signed:
            return Answer.KEY_WELCOME if await self._gateway.public_key(username, line) else Answer.FAILURE
        if not await self._gateway.public_key(username, line):
            return Answer.FAILURE
        if not is_valid(key, algorithm, signed, signature):
            return self._unheard()
        touched, verified = presence(signature) if algorithm.startswith(b"sk-") else (True, True)
        return _ANSWERS[await self._gateway.key_verified(username, line, touched=touched, verified=verified)]


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


def usable_key(algorithm: bytes, blob: bytes) -> asyncssh.SSHKey | None:
    """The public key in `blob`, or the one that a certificate there is about, if it may sign by `algorithm`, else None.

    What a certificate is worth is for the gateway's authenticator to judge, which is shown all of it.
    """
    plain = _plain(algorithm)
    if plain not in _ALLOWED:
        return None
    try:
        key = decode_ssh_public_key(blob if plain == algorithm else certified_key(blob))
    except (asyncssh.KeyImportError, PacketDecodeError, ValueError):
        return None
    return key if plain in key.sig_algorithms else None


def _plain(algorithm: bytes) -> bytes:
    """What a key signs with where `algorithm` is a certificate's: ``sk-…`` names put their domain behind that."""
    stem = algorithm.removesuffix(_CERTIFICATE)
    return stem + b"@openssh.com" if stem != algorithm and stem.startswith(b"sk-") else stem


def is_valid(key: asyncssh.SSHKey, algorithm: bytes, signed: bytes, signature: bytes) -> bool:
    """Was `signed` signed with `key` by the very algorithm that was announced?  (RFC 8332 §3.2)"""
    try:
        used = SSHPacket(signature).get_string()
        return used == _plain(algorithm) and key.verify(signed, signature)
    except (PacketDecodeError, ValueError):
        return False
