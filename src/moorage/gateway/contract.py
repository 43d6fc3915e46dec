"""The contracts between the gateway and everything around it.

Each sentence here has a test in `moorage.testing`.  The byte path uses asyncio's own
words on both sides, so that any two ends plug together with one `splice`:

* a `Transport` is what bytes are written to and what can be told to stop reading;
* a `Receiver` is what bytes are delivered to and what is told to stop writing.

``pause_writing`` on a receiver means: *the transport you write to is full*.  It may be
called from inside ``write``.  After ``pause_reading`` a transport makes no further
``data_received`` or ``eof_received`` call until ``resume_reading``; what was already
under way is kept by the transport, within its window.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import Refused
from moorage.gateway.model import (
    Address,
    Attempt,
    ExitStatus,
    ListenSpec,
    Login,
    Metadata,
    Program,
    Round,
    Size,
    Target,
    Verdict,
)


class Receiver(Protocol):
    """Where a transport delivers what it reads.  No method may raise or block."""

    def data_received(self, data: bytes) -> None:
        """Some bytes arrived; never empty, never after ``eof_received``."""

    def eof_received(self) -> None:
        """The other side will send no more; called at most once.  Writing may go on."""

    def pause_writing(self) -> None:
        """The transport holds enough: write no more until ``resume_writing``."""

    def resume_writing(self) -> None:
        """The transport has room again."""

    def connection_lost(self, cause: Exception | None) -> None:
        """The transport is closed in both directions; the last call ever made, exactly once.

        `cause` is None after an orderly end of both directions or our own ``close``.
        """


class ProcessReceiver(Receiver, Protocol):
    """A receiver that also takes a process's standard error.

    For a process ``eof_received`` means that standard output *and* standard error have ended.
    """

    def stderr_received(self, data: bytes) -> None:
        """Some bytes of standard error arrived; never with a PTY."""


class Transport(Protocol):
    """A duplex byte stream with half-close and back-pressure.  No method raises for a stream that has ended."""

    def write(self, data: bytes) -> None:
        """Send `data`, in order.  Never blocks; a no-op after ``write_eof``, ``close`` or the end."""

    def write_eof(self) -> None:
        """Close our direction once all written bytes are sent; idempotent.  Reading goes on."""

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``; idempotent."""

    def resume_reading(self) -> None:
        """Deliver again; idempotent."""

    def close(self) -> None:
        """End both directions; what was written is still sent.  Idempotent."""


class Process(Transport, Protocol):
    """A running program.  After its exit every method but ``wait`` is a no-op.

    ``close`` hangs up: the terminal or pipes are closed and HUP is sent to the process group.
    """

    def resize(self, size: Size) -> None:
        """Tell the terminal its new size; a no-op without a PTY."""

    def signal(self, name: str) -> None:
        """Send the signal `name` (without ``SIG``) to the process group; unknown names are ignored."""

    async def wait(self) -> ExitStatus:
        """The exit status, after the last byte of output was delivered, never before.

        May be awaited any number of times, before or after the end.  Raises `BackendError`
        when the guest was lost before the process ended.
        """


class Listener(Protocol):
    """A listening socket inside a guest."""

    port: int
    """The TCP port that is bound; 0 for a unix socket."""

    environment: Mapping[bytes, bytes]
    """What programs must have to find it: ``DISPLAY``, ``SSH_AUTH_SOCK``; empty for plain sockets."""

    async def close(self) -> None:
        """Accept no more; connections that were accepted go on.  Idempotent."""


Accepted = Callable[[Address | None, Transport], Receiver]
"""Called for each accepted connection with the peer's address (None for a unix socket) before any byte
of it; returns the receiver, or raises `Refused` to turn the connection away."""


class Guest(Protocol):
    """What a login lands in.  Ready for programs when `Backend.open` returns it."""

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Start `program`; any number at once, in any order, until ``close``.

        Returns when the program is running (after which the receiver may be called).
        Raises `Refused` if the guest has no such program, shell or subsystem, and
        `BackendError` if the guest is lost.  Cancelling starts nothing or ends what was started.
        """

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """Connect to `target` inside the guest's own network and file system.

        Raises `Refused` with the reason (RFC 4254 §5.1: connect failed) and `BackendError` if the guest is lost.
        """

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Listen inside the guest; raises `Refused` if the address cannot be bound."""

    async def lost(self) -> BaseException | None:
        """Returns when the guest has ended: None after `close`, otherwise the cause."""

    async def close(self, reason: str) -> None:
        """End all processes and the guest; idempotent; returns when nothing of it is left.

        Safe to call at any time, also while ``start`` or ``dial`` is under way; those raise `BackendError`.
        """


Progress = Callable[[str], None]
"""Takes a short line for a waiting user, such as ``pulling image: 43 %``.  Never raises, never blocks."""


class Backend(Protocol):
    """What provides guests."""

    async def open(self, login: Login, progress: Progress) -> Guest:
        """One guest, ready to start programs, with `login`'s environment and files in place.

        Raises `BackendError(user_text=…)`.  Cancelling it at any moment leaves nothing behind.
        """

    async def close(self) -> None:
        """Let go of shared resources once every guest is closed; idempotent."""


Ask = Callable[[Round], Awaitable[Sequence[str]]]
"""Shows a round to the user and returns one answer for each of its prompts, none of them longer than 4,096 characters.

Returns when the user has answered; it is cancelled when the user goes away or tries something else.  Never raises.
"""


class TicketExchange(Protocol):
    """The tokens of one attempt by Kerberos ticket (RFC 4462 §3).  Each wait is cancelled when the client goes away."""

    async def receive(self) -> bytes:
        """The client's next token, at most 64 KiB."""

    def send(self, token: bytes) -> None:
        """Send a token of ours.  Never blocks, never raises."""

    async def proof(self) -> tuple[bytes, bytes]:
        """What the client vouches for with the finished context, and its MIC of that (§3.5)."""


class Authenticator(Protocol):
    """All ways to log in, as one.  Every method fails closed.

    Raises `AuthError` when a service could not answer; the client sees the same refusal.
    A refusal takes as long for an unknown user as for a wrong secret.
    """

    @property
    def methods(self) -> Sequence[str]:
        """The SSH method names on offer, in order (RFC 4252): ``publickey``, ``password``, …"""

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        """Check a password (RFC 4252 §8).  `password` is never logged or kept."""

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        """May this key log in?  `key` is one authorized_keys line: type, space, base64.

        Asked before possession is proved; the answer counts only for a verified signature.
        """

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        """Ask the user, in as many rounds as it takes (RFC 4256).  Answers are never logged or kept.

        Cancelled when the user goes away or tries something else; the server's grace time bounds it.
        """

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        """Does the client hold a ticket that lets it in?  (RFC 4462)"""

    async def required(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        """The lists of methods of which one has to succeed from its beginning to its end; none: any one method.

        An unknown user gets what most users get.
        """

    async def ended(self, metadata: Metadata) -> None:
        """The connection is gone for which a method has attached `metadata`: what is in it is to be good for nothing.

        Takes 10 seconds at most.
        """

    async def authorize(self, attempt: Attempt) -> Verdict:
        """The step after authentication, once the final factor is verified; may change name and metadata."""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


class ConfigSource(Protocol):
    """Where the configuration for one login comes from."""

    async def resolve(self, attempt: Attempt) -> tuple[AppConfig, Attempt]:
        """The effective, validated configuration and the attempt with what the source attached.

        Raises `ConfigError` if the answer is unusable and `AuthError` if there is none.
        """

    def rebase(self, config: AppConfig) -> None:
        """Logins from now on start from `config`; what the source itself was made from stays."""

    async def close(self) -> None:
        """Let go of shared resources; idempotent."""


def cannot_jail() -> Refused:
    """What a guest raises that is to hold an SFTP client to rules (`Program.jail`) and cannot."""
    return Refused(
        "security.sftp needs our agent in the guest, which is not there",
        user_text="SFTP is not available in this environment.",
        code=Code.SECURITY_SUBSYSTEM_REJECTED,
    )
