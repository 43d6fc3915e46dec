"""A backend without isolation: the agent as a child process of ours.  For tests only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import socket
import subprocess
import uuid
from pathlib import Path

from moorage.agent.guest import AgentGuest, open_guest
from moorage.agent.install import agent_binary
from moorage.agent.messages import GuestSettings
from moorage.gateway.contract import Guest, Progress
from moorage.gateway.model import Login

MARK = "MOORAGE_TEST_GUEST"
"""The variable by which processes of a guest, and what they left behind, are found."""


class HostBackend:
    """Guests without walls: each is an agent of our own user on a socketpair; implements `Backend`."""

    def __init__(self, agent: Path | None = None) -> None:
        self._agent = agent
        self._mark = uuid.uuid4().hex
        self.agents: dict[Guest, subprocess.Popen[bytes]] = {}
        """Every guest that was opened, and its agent."""

    async def open(self, login: Login, progress: Progress) -> AgentGuest:
        """Start an agent; see `Backend.open`."""
        progress("starting the agent")
        mark = f"{self._mark}/{uuid.uuid4().hex}"
        ours, child = self._spawn(mark)

        async def destroy(reason: str) -> None:
            ours.close()
            child.kill()
            await asyncio.to_thread(child.wait)
            looks_in_vain = 0
            while looks_in_vain < 2:  # while a process is being executed it shows no environment
                pids = _marked(mark)
                looks_in_vain = 0 if pids else looks_in_vain + 1
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)

        loop = asyncio.get_running_loop()
        guest = await open_guest(
            lambda link: loop.create_unix_connection(lambda: link, sock=ours),
            destroy=destroy,
            settings=GuestSettings(environment={name: text.value for name, text in login.metadata.environment.items()}),
            files=login.metadata.files,
        )
        self.agents[guest] = child
        return guest

    def _spawn(self, mark: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """An agent, started without a wait in between: nobody can be cancelled while it is half there."""
        agent = self._agent or agent_binary(platform.machine())
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            return ours, subprocess.Popen(
                [agent, "serve", "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, MARK: mark},
                cwd="/tmp",
                start_new_session=True,
            )

    def leftovers(self) -> list[str]:
        """Processes that still run in guests of this backend."""
        return [f"process {pid}: {_command_line(pid)}" for pid in _marked(self._mark)]

    async def close(self) -> None:
        """There is nothing shared."""


def _marked(mark: str) -> list[int]:
    """Living processes with `mark` in their environment."""
    wanted = f"{MARK}={mark}".encode()
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # A zombie's environment is empty: it has ended, and is its parent's to reap.
                if wanted in (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
    return pids


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return "gone"
