"""A guest on a link: the whole `Guest` contract for every backend that can give us a stream to an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from moorage.agent import messages
from moorage.agent.channel import Silent
from moorage.agent.frames import ProtocolError
from moorage.agent.link import AgentLink, C, LinkError, OpenRefused
from moorage.agent.messages import GuestSettings, Refusal, Unsendable
from moorage.agent.process import LOST, FileChannel, ProcessChannel
from moorage.agent.tunnel import ListenChannel, TunnelChannel
from moorage.codes import Code
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Accepted, Listener, Process, ProcessReceiver, Receiver, Transport, cannot_jail
from moorage.gateway.model import FileValue, ListenSpec, Program, Target

START_DEADLINE: Final = 30.0
"""Seconds that an agent has to answer an OPEN."""

FILE_DEADLINE: Final = 60.0
"""Seconds that the files of a login may take in all."""

CLOSE_GRACE: Final = 2.0
"""Seconds that what was already written to the agent has to go out before its guest is destroyed."""

_REASONS: Final = {
    "not-found": "The program was not found.",
    "permission": "The program may not be started.",
    "no-shell": "There is no shell in this environment.",
    "cwd": "The working directory does not exist.",
    "user": "The configured user does not exist in this environment.",
    "limit": "Too many programs and connections at once.",
    "unsupported": "This environment does not support that.",
}
"""What the user is told for a refusal's code; for others it is the agent's own message, if it has one."""


class AgentGuest:
    """A guest whose agent is at the other end of `link`; implements `Guest`.

    `destroy` removes the guest itself, whatever state it is in; it is called once, by `close`, with the
    reason, and returns when nothing is left.
    """

    def __init__(
        self,
        link: AgentLink,
        *,
        destroy: Callable[[str], Awaitable[None]],
        settings: GuestSettings | None = None,
        start_deadline: float = START_DEADLINE,
        close_grace: float = CLOSE_GRACE,
    ) -> None:
        self._link = link
        self._destroy = destroy
        self._settings = settings or GuestSettings()
        self._start_deadline = start_deadline
        self._close_grace = close_grace
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """The stream to its agent stands."""
        return self._link.is_alive

    async def start(self, program: Program, receiver: ProcessReceiver) -> Process:
        """Start `program`; see `Guest.start`."""
        if program.jail is not None and messages.JAIL_FEATURE not in self._link.features:
            raise cannot_jail()
        with _as_refused():
            message = messages.open_program(program, self._settings)
        has_pty = "pty" in message
        return await self._open(message, lambda link, number: ProcessChannel(link, number, receiver, has_pty=has_pty))

    async def dial(self, target: Target, receiver: Receiver) -> Transport:
        """Connect inside the guest; see `Guest.dial`."""
        with _as_refused():
            message = messages.open_dial(target, self._settings)
        return await self._open(message, lambda link, number: TunnelChannel(link, number, receiver))

    async def listen(self, spec: ListenSpec, accepted: Accepted) -> Listener:
        """Listen inside the guest; see `Guest.listen`."""
        with _as_refused():
            message = messages.open_listen(spec, self._settings)
        channel = await self._open(message, lambda link, number: ListenChannel(link, number, accepted))
        try:
            return AgentListener(channel, *messages.read_listening(channel.opening, spec))
        except ProtocolError as error:
            channel.close()
            raise BackendError(f"the agent listens, but where? {error}", code=Code.AGENT_PROTOCOL_ERROR) from error

    async def adopt(self, settings: GuestSettings, files: Mapping[str, FileValue], *, deadline: float) -> None:
        """Make this guest, which has seen no program yet, the one of a login: `settings` hold from now on.

        Raises `BackendError` if `files` cannot be put in place within `deadline` seconds; the caller closes it then.
        """
        self._settings = settings
        if files:
            try:
                async with asyncio.timeout(deadline):
                    await self.write_files(files)
            except TimeoutError as error:
                raise _unreachable(error, f"no answer within {deadline:g} s{self._link.said()}") from error

    async def write_files(self, files: Mapping[str, FileValue], *, mode: int = 0o600) -> None:
        """Put `files` in place, one after the other; raises `BackendError` at the first that cannot be."""
        text = "A file that belongs to this login could not be put in place."
        try:
            async with asyncio.timeout(FILE_DEADLINE):
                for path, file in files.items():
                    await self._write_file(path, file.value, mode)
        except (Refused, OSError, TimeoutError) as error:
            raise BackendError(
                f"{type(error).__name__}: {error}", user_text=text, code=Code.GUEST_OPEN_FAILED
            ) from error

    async def lost(self) -> BaseException | None:
        """Returns when the guest has ended: None after `close`, otherwise the cause."""
        return await self._link.ended()

    async def close(self, reason: str) -> None:
        """End all processes and the guest; see `Guest.close`.  Once begun it is carried through."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason), name="guest/close")
        await asyncio.shield(self._closing)

    async def _close(self, reason: str) -> None:
        self._link.close()
        try:
            async with asyncio.timeout(self._close_grace):
                await self._link.ended()
        except TimeoutError:
            self._link.abort()
        finally:
            self._link.settle()
            await self._destroy(reason)

    async def _open(self, message: Mapping[str, Any], make: Callable[[AgentLink, int], C]) -> C:
        try:
            async with asyncio.timeout(self._start_deadline):
                return await self._link.open(message, make)
        except OpenRefused as error:
            refusal = error.refusal
            raise Refused(
                str(error), user_text=_REASONS.get(refusal.code) or _sentence(refusal, message["kind"])
            ) from error
        except LinkError as error:
            raise BackendError(f"the guest is lost: {error}", user_text=LOST, code=Code.GUEST_LOST) from error
        except TimeoutError as error:
            raise BackendError(
                f"the agent did not answer within {self._start_deadline:g} s",
                user_text="Your environment did not answer in time.",
                code=Code.AGENT_PROTOCOL_ERROR,
            ) from error
        except ValueError as error:
            raise Refused(str(error), user_text="That is too long to be sent to your environment.") from error

    async def _write_file(self, path: str, content: bytes, mode: int) -> None:
        with _as_refused():
            message = messages.open_file(path, mode, self._settings.user)
        channel = await self._open(message, lambda link, number: FileChannel(link, number, Silent(), has_pty=True))
        try:
            channel.write(content)
            channel.write_eof()
            status = await channel.wait()
        finally:
            channel.close()
        if status.code != 0:
            raise OSError(status.message or "the agent gave no reason")


class AgentListener:
    """A socket listening in a guest; implements `Listener`."""

    def __init__(self, channel: ListenChannel, port: int, environment: Mapping[bytes, bytes]) -> None:
        self._channel = channel
        self.port = port
        self.environment = environment

    async def close(self) -> None:
        """Accept no more; what the agent accepts before it knows is turned away."""
        self._channel.close()


async def open_guest(
    connect: Callable[[AgentLink], Awaitable[object]],
    *,
    destroy: Callable[[str], Awaitable[None]],
    settings: GuestSettings | None = None,
    files: Mapping[str, FileValue] | None = None,
    deadline: float = START_DEADLINE,
    start_deadline: float = START_DEADLINE,
    failed: Callable[[BaseException, str], BackendError] | None = None,
) -> AgentGuest:
    """A guest that is ready for programs, with `files` in place, within `deadline` seconds.

    `connect` joins the given link to the stream: ``lambda link: loop.create_unix_connection(lambda: link, path)``.
    Each of its programs then has `start_deadline` seconds to start.

    On failure (`BackendError`) and on cancellation the guest is destroyed before this returns.  `failed` words what
    was not said by a `BackendError` already; it is given the cause and its text.
    """
    link = AgentLink()
    guest = AgentGuest(link, destroy=destroy, settings=settings, start_deadline=start_deadline)
    try:
        async with asyncio.timeout(deadline):
            await connect(link)
            await link.hello()
            if files:
                await guest.write_files(files)
    except BaseException as error:
        await guest.close("it could not be opened")
        if isinstance(error, LinkError | OSError | TimeoutError):
            why = str(error) or f"no answer within {deadline:g} s{link.said()}"
            raise (failed or _unreachable)(error, why) from error
        raise
    return guest


def _unreachable(_: BaseException, why: str) -> BackendError:
    return BackendError(
        f"the agent could not be reached: {why}",
        user_text="Your environment could not be started.",
        code=Code.GUEST_OPEN_FAILED,
    )


@contextmanager
def _as_refused() -> Iterator[None]:
    """What cannot be sent is refused, with the reason for the user."""
    try:
        yield
    except Unsendable as error:
        raise Refused(str(error), user_text=str(error)) from error


def _sentence(refusal: Refusal, kind: object) -> str:
    started = kind in ("process", "sftp", "file")
    return refusal.message or ("The program could not be started." if started else "The connection failed.")
