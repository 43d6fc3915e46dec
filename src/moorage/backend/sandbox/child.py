"""A child process under a pidfd: no thread, no signal handler, no process table poll."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence


class Child:
    """A started program.  `wait` may be awaited any number of times; `kill` is idempotent."""

    def __init__(self, arguments: Sequence[str], *, stdin: int, pass_fds: Sequence[int] = ()) -> None:
        """Start `arguments`; raises `OSError` if that fails.  Diagnostics are kept for `complaint`."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._diagnostics = reader
        try:
            os.set_blocking(writer, True)
            self._process = subprocess.Popen(
                arguments,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=writer,
                pass_fds=pass_fds,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                cwd="/",
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set_result(self._process.wait())

    @property
    def is_running(self) -> bool:
        """False once the program has ended."""
        return not self._ended.done()

    def kill(self) -> None:
        """End the program at once."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int:
        """The program's return code, negative for a signal."""
        return await asyncio.shield(self._ended)

    def complaint(self) -> str:
        """What the program has said on its standard error so far, at most 4,096 bytes."""
        try:
            return os.read(self._diagnostics, 4096).decode("utf-8", "replace").strip()
        except (BlockingIOError, OSError):
            return ""

    def close(self) -> None:
        """Let go of the descriptors; after the end.  Idempotent."""
        if self._diagnostics >= 0:
            os.close(self._diagnostics)
            self._diagnostics = -1
