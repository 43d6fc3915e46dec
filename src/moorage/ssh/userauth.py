"""User authentication on the wire (RFC 4252 §5, RFC 4256): requests in, answers out, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncssh
from asyncssh.auth import MSG_USERAUTH_INFO_REQUEST, MSG_USERAUTH_INFO_RESPONSE, MSG_USERAUTH_PK_OK
from asyncssh.constants import DISC_PROTOCOL_ERROR, MSG_USERAUTH_FAILURE
from asyncssh.packet import Boolean, NameList, SSHPacket, String, UInt32

from moorage.gateway.model import Round
from moorage.ssh.auth import Answer, Authentication, Decider, algorithm_and_key
from moorage.ssh.gssapi import TicketPackets, signed_data

if TYPE_CHECKING:
    from moorage.ssh.connection import ServerConnection
    from moorage.ssh.refusal import RefusalTimes

MAX_ANSWER: Final = 4096
"""Characters of one answer."""


class Attempting(Decider, Protocol):
    """What is asked of the gateway's connection."""

    @property
    def methods(self) -> Sequence[str]: ...

    def take_notice(self) -> str: ...


class Exchange(Protocol):
    """Takes the packets of a method that needs more than one (RFC 4252 §6: numbers 60 to 79)."""

    def process_packet(self, kind: int, number: int, packet: SSHPacket) -> bool:
        """False for a packet that does not belong here: it is then answered with UNIMPLEMENTED."""

    def log_received_packet(self, *_: object) -> None:
        """Stay silent."""

    def cancel(self) -> None:
        """The connection is gone."""


class UserAuth:
    """The requests of one connection, until one of them is accepted."""

    def __init__(
        self, connection: ServerConnection, attempts: Attempting, *, banner: str, refusals: RefusalTimes
    ) -> None:
        self._connection = connection
        self._attempts = attempts
        self._authentication = Authentication(attempts)
        self._banner = banner
        self._refusals = refusals
        self._since = 0.0
        self._exchanging: asyncio.Task[None] | None = None

    async def requested(self, packet: SSHPacket, session_id: bytes) -> None:
        """Decide about one request; raises `PacketDecodeError` if it is not well-formed."""
        self._since = self._now()
        await self.abandon()
        username = packet.get_string()
        service = packet.get_string()
        method = packet.get_string()
        if service != b"ssh-connection":
            raise asyncssh.ServiceNotAvailable("Unexpected service in auth request")
        if self._banner:
            self._connection.send_auth_banner(self._banner)
            self._banner = ""
        answer = await self._authentication.decide(username, method.decode("ascii", "replace"), packet, session_id)
        if answer is Answer.CONVERSATION:
            self._converse(username)
        elif answer is Answer.NEGOTIATION:
            self._negotiate(username, session_id)
        elif answer is Answer.KEY_WELCOME and not self._authentication.exhausted:
            self._send(MSG_USERAUTH_PK_OK, *map(String, algorithm_and_key(packet)))
        else:
            await self._answer(answer, username, is_attempt=method != b"none")

    async def abandon(self) -> None:
        """A method under way is given up (RFC 4252 §5.1: the client has begun another).  Idempotent."""
        exchanging, self._exchanging = self._exchanging, None
        self._connection.expect_auth_packets(None)
        if exchanging is not None and not exchanging.done():
            exchanging.cancel()
            await asyncio.wait({exchanging})

    async def _answer(self, answer: Answer, username: bytes, *, is_attempt: bool = True) -> None:
        if answer is Answer.FAILURE and is_attempt:
            await asyncio.sleep(self._refusals.owed(username, self._now() - self._since))
        if not self._connection.is_alive:
            return
        if answer is Answer.SUCCESS:
            await self._connection.auth_succeeded(username.decode("utf-8"))
            return
        if notice := self._attempts.take_notice():
            # RFC 4252 §5.4: a banner may be sent at any time before authentication is complete.
            self._connection.send_auth_banner(f"{notice}\r\n")
        if self._authentication.exhausted and answer is not Answer.PARTIAL:
            self._connection.disconnect(DISC_PROTOCOL_ERROR, "Too many authentication failures")
        else:
            methods = NameList([method.encode() for method in self._attempts.methods])
            self._send(MSG_USERAUTH_FAILURE, methods, Boolean(answer is Answer.PARTIAL))

    def _now(self) -> float:
        return self._connection.get_loop().time()

    def _send(self, kind: int, *args: bytes) -> None:
        if self._connection.is_alive:
            self._connection.send_packet(kind, *args)

    # -- methods that need more than one packet ------------------------------------------------

    def _converse(self, username: bytes) -> None:
        conversation = Conversation(self._show, self._answered)
        self._exchange(username, conversation, self._authentication.converse(username, conversation.ask))

    def _negotiate(self, username: bytes, session_id: bytes) -> None:
        packets = TicketPackets(self._send, signed_data(session_id, username), self._answered)
        packets.begin()
        self._exchange(username, packets, self._authentication.negotiate(username, packets))

    def _exchange(
        self, username: bytes, exchange: Conversation | TicketPackets, work: Coroutine[Any, Any, Answer]
    ) -> None:
        """Have `work` decide while `exchange` takes the client's packets, as long as they are in order."""

        async def exchanging() -> None:
            asking = asyncio.ensure_future(work)
            try:
                await asyncio.wait((asking, exchange.broken), return_when=asyncio.FIRST_COMPLETED)
                answer = asking.result() if asking.done() else self._authentication.broke_off()
            finally:
                if not asking.done():
                    asking.cancel()
                    await asyncio.wait((asking,))
            self._connection.expect_auth_packets(None)
            await self._answer(answer, username)

        self._connection.expect_auth_packets(exchange)
        self._exchanging = self._connection.start_task(exchanging(), "auth")

    def _answered(self) -> None:
        self._since = self._now()

    def _show(self, shown: Round) -> None:
        prompts = [String(prompt.text) + Boolean(prompt.echo) for prompt in shown.prompts]
        self._send(
            MSG_USERAUTH_INFO_REQUEST,
            String(shown.name),
            String(shown.instruction),
            String(""),
            UInt32(len(prompts)),
            *prompts,
        )


class Conversation:
    """Rounds of questions and answers with one client (RFC 4256 §3)."""

    def __init__(self, show: Callable[[Round], None], answered: Callable[[], None] = lambda: None) -> None:
        """`show` sends a round; `answered` hears that the client has said something."""
        self._show = show
        self._answered = answered
        self._expected = 0
        self._answers: asyncio.Future[Sequence[str]] | None = None
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the client has not kept to the protocol."""

    async def ask(self, shown: Round) -> Sequence[str]:
        """Show a round; the answers to it, one for each prompt."""
        self._expected = len(shown.prompts)
        self._answers = asyncio.get_running_loop().create_future()
        self._show(shown)
        try:
            return await self._answers
        finally:
            self._answers = None

    def process_packet(self, kind: int, _number: int, packet: SSHPacket) -> bool:
        """The client's answers; more or fewer than were asked for break the conversation (RFC 4256 §3.4)."""
        if kind != MSG_USERAUTH_INFO_RESPONSE or self._answers is None or self._answers.done():
            return False
        self._answered()
        count = packet.get_uint32()
        if count == self._expected:
            answers = [packet.get_string() for _ in range(count)]
            packet.check_end()
            try:
                texts = [answer.decode("utf-8") for answer in answers]
            except UnicodeDecodeError:
                texts = []
            if len(texts) == count and all(len(text) <= MAX_ANSWER for text in texts):
                self._answers.set_result(texts)
                return True
        if not self.broken.done():
            self.broken.set_result(None)
        return True

    def log_received_packet(self, *_: object) -> None:
        """Stay silent."""

    def cancel(self) -> None:
        """The connection is gone, and its tasks with it."""
