"""What the parts of the backend conformance suite share: how a test meets the backend, and how it runs a program."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from moorage.config import AppConfig
from moorage.gateway.contract import Backend, Guest, Process
from moorage.gateway.model import (
    Address,
    Attempt,
    ConnectionId,
    ExitStatus,
    FileValue,
    Login,
    Metadata,
    Program,
    ProgramKind,
    Pty,
    TextValue,
)
from moorage.testing.streams import DEADLINE, Recorder

T = TypeVar("T")

_unique = itertools.count(1)

needs = pytest.mark.needs
"""``@needs("has_perl")``: the test exists only for suites whose flag is true; `moorage.testing.plugin` sees to it."""


@dataclass(frozen=True)
class Result:
    """What became of a program."""

    status: ExitStatus
    stdout: bytes
    stderr: bytes


class Suite(abc.ABC):
    """A backend under test: what a test module gives, and what the tests build on.

    A module inherits `moorage.testing.backend.BackendConformance` and supplies the fixture ``backend``,
    `leftovers` and `lose`; it overrides `config` and the flags where they do not fit.
    """

    has_sftp = True
    """The subsystem ``sftp`` is there without the image's help."""
    has_jail = True
    """An SFTP client is held to `Program.jail`; otherwise such a program is refused."""
    has_pty_modes = True
    """Terminal modes of RFC 4254 §8 are applied."""
    has_signals = True
    """Signals reach the process group, and a process that a signal ended is told apart from one with a code."""
    has_forwarding = True
    """`Guest.dial` and `Guest.listen` work; otherwise they are refused."""
    has_agent = True
    """Our agent is in the guest: it says why something inside is refused, offers displays and ssh-agents, and ends
    what reads a terminal when its input ends."""
    has_perl = False
    """The guest has perl, the only ordinary program that shows a terminal's size in pixels."""
    cancel_points = 10
    """At how many moments of its duration `Backend.open` is cancelled."""
    scratch = "/tmp"
    """A directory of the guest that its user may write to."""

    def config(self) -> AppConfig:
        """The configuration of every login of the suite."""
        return AppConfig()

    @abc.abstractmethod
    async def leftovers(self, backend: Backend) -> list[str]:
        """All that guests of `backend` have left behind, one line for each thing: containers, processes, files."""

    @abc.abstractmethod
    async def lose(self, backend: Backend, guest: Guest) -> None:
        """Break `guest` from outside, as a crash would: kill its container or its agent."""

    # ---- for the tests

    def login(self, *, environment: Mapping[str, str] | None = None, files: Mapping[str, bytes] | None = None) -> Login:
        """A login as authentication would leave it, with these variables and files."""
        attempt = Attempt(
            connection_id=ConnectionId(uuid.uuid4().hex),
            remote_address=Address("127.0.0.1", 40022),
            client_version="SSH-2.0-conformance",
            username="foo",
            authenticated_username="foo",
            metadata=Metadata(
                environment={name: TextValue(value) for name, value in (environment or {}).items()},
                files={path: FileValue(content) for path, content in (files or {}).items()},
            ),
        )
        return Login(attempt, "password", self.config())

    def path(self, name: str) -> str:
        """A path in the guest's scratch directory that no other test uses."""
        return f"{self.scratch}/moorage-{os.getpid()}-{next(_unique)}-{name}"

    @contextlib.asynccontextmanager
    async def opened(self, backend: Backend, login: Login | None = None) -> AsyncIterator[Guest]:
        """A guest, closed at the end; nothing may be left of it."""
        guest = await asyncio.wait_for(backend.open(login or self.login(), lambda line: None), DEADLINE)
        try:
            yield guest
        finally:
            await asyncio.wait_for(guest.close("the test is over"), DEADLINE)
        assert await self.leftovers(backend) == []

    @pytest.fixture
    async def guest(self, backend: Backend) -> AsyncIterator[Guest]:
        async with self.opened(backend) as guest:
            yield guest


def command(text: str | bytes, *, environment: Mapping[bytes, bytes] | None = None, pty: Pty | None = None) -> Program:
    """An exec of `text`."""
    data = text if isinstance(text, bytes) else text.encode()
    return Program(ProgramKind.EXEC, data, environment or {}, pty)


async def start(guest: Guest, program: Program | str, *, keep: bool = True) -> tuple[Process, Recorder]:
    """Start a program and record what it does."""
    recorder = Recorder(keep=keep)
    program = command(program) if isinstance(program, str) else program
    return await asyncio.wait_for(guest.start(program, recorder), DEADLINE), recorder


async def run(guest: Guest, program: Program | str, stdin: bytes = b"") -> Result:
    """Run a program to its end."""
    process, recorder = await start(guest, program)
    process.write(stdin)
    process.write_eof()
    status = await ended(process)
    await recorder.until_lost()
    return Result(status, bytes(recorder.stdout), bytes(recorder.stderr))


async def ended(process: Process) -> ExitStatus:
    """The exit status, in time."""
    return await asyncio.wait_for(process.wait(), DEADLINE)


async def given_up(asked: Coroutine[Any, Any, T], steps: int) -> T | None:
    """Cancel `asked` after so many turns of the event loop; what it brought if it was quicker, else None."""
    task = asyncio.create_task(asked)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


async def feed(process: Process, recorder: Recorder, chunks: Iterable[bytes]) -> None:
    """Write `chunks`, no faster than the process takes them, then EOF."""
    for chunk in chunks:
        if recorder.is_writing_paused:
            await recorder.until(lambda: not recorder.is_writing_paused)
        process.write(chunk)
    process.write_eof()


def resident_bytes() -> int:
    """The memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
