"""Receivers that write down what they are told, to be awaited in tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

DEADLINE = 15.0
"""Seconds that a test waits for anything."""


class Recorder:
    """A `ProcessReceiver` that records every call, checks their order, and can be waited for."""

    def __init__(self, *, keep: bool = True) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.count = 0
        """Bytes of standard output so far, also when they are not kept."""
        self.sha256 = hashlib.sha256()
        self.calls: list[str] = []
        """All calls but ``data_received`` and ``stderr_received``, in order."""
        self.cause: Exception | None = None
        self.is_writing_paused = False
        self.on_data: Callable[[bytes], None] | None = None
        self._keep = keep
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        assert data, "empty data"
        assert not {"eof_received", "connection_lost"} & set(self.calls), "data after the end"
        self.count += len(data)
        if self._keep:
            self.stdout += data
        else:
            self.sha256.update(data)
        if self.on_data is not None:
            self.on_data(data)
        self._changed.set()

    def stderr_received(self, data: bytes) -> None:
        assert data, "empty error data"
        assert not {"eof_received", "connection_lost"} & set(self.calls), "error data after the end"
        self.stderr += data
        self._changed.set()

    def eof_received(self) -> None:
        self._note("eof_received")

    def pause_writing(self) -> None:
        assert not self.is_writing_paused, "pause_writing twice"
        self.is_writing_paused = True
        self._note("pause_writing")

    def resume_writing(self) -> None:
        assert self.is_writing_paused, "resume_writing without pause_writing"
        self.is_writing_paused = False
        self._note("resume_writing")

    def connection_lost(self, cause: Exception | None) -> None:
        self.cause = cause
        self._note("connection_lost")

    @property
    def is_lost(self) -> bool:
        return "connection_lost" in self.calls

    async def until(self, condition: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Returns when `condition` holds; looked at after every call."""
        async with asyncio.timeout(deadline):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_output(self, text: bytes, deadline: float = DEADLINE) -> None:
        """Returns when `text` has come on standard output."""
        await self.until(lambda: text in self.stdout, deadline)

    async def until_lost(self, deadline: float = DEADLINE) -> None:
        """Returns after ``connection_lost``."""
        await self.until(lambda: self.is_lost, deadline)

    def _note(self, call: str) -> None:
        assert "connection_lost" not in self.calls, f"{call} after connection_lost"
        if call == "eof_received":
            assert call not in self.calls, "eof_received twice"
        self.calls.append(call)
        self._changed.set()
