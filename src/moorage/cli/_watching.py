"""The live view of `moorage sessions watch`: what all servers tell, as lines of JSON or as a table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from moorage.net.unixsocket import short_address

_LINE_BYTES: Final = 64 * 1024
"""The longest line of a server that is read."""
_ROWS: Final = 100_000
"""Connections that are remembered; a server that names more is not believed."""
_WAITING: Final = 256
"""Facts that wait for the screen, before the servers have to keep them."""
_REDRAW: Final = 0.2
"""Seconds between two pictures."""

Row = dict[str, Any]


class WatchError(Exception):
    """Watching cannot go on; the text says why."""


async def watch(sockets: Sequence[Path], show: Callable[[Row], None], idle: Callable[[], None]) -> None:
    """Tell `show` each fact of all servers that live, in their order, and call `idle` when nothing more is there.

    Returns at SIGINT or SIGTERM.  When a server goes, `show` is told of the end of each of its connections.  Raises
    `WatchError` when no server is left, or one could not be followed.
    """
    facts: asyncio.Queue[tuple[Path, Row | WatchError]] = asyncio.Queue(_WAITING)
    known: dict[Path, dict[str, Row]] = {path: {} for path in sockets}
    cause = "no server is running"
    with _signals(resized=idle) as stop:
        tasks = [asyncio.create_task(_follow(path, facts), name=f"watch/{path.name}") for path in sockets]
        try:
            while known:
                if facts.empty():
                    idle()
                next_fact = asyncio.ensure_future(facts.get())
                either: tuple[asyncio.Future[Any], ...] = (next_fact, stop)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not next_fact.done():
                    next_fact.cancel()
                    return
                path, fact = next_fact.result()
                if isinstance(fact, WatchError):
                    cause = str(fact) or cause
                    for row in known.pop(path).values():
                        show({**row, "event": "end", "at": time.time()})
                else:
                    _remember(known[path], fact)
                    show(fact)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    raise WatchError(cause)


def _remember(rows: dict[str, Row], fact: Row) -> None:
    if fact["event"] == "end":
        rows.pop(fact["id"], None)
    elif len(rows) < _ROWS:
        rows[fact["id"]] = fact


async def _follow(path: Path, facts: asyncio.Queue[tuple[Path, Row | WatchError]]) -> None:
    """Put each fact of one server into `facts`, and in the end why there are no more."""
    why = ""
    try:
        with short_address(path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=_LINE_BYTES)
        try:
            writer.write(b'{"do": "watch"}\n')
            while line := await reader.readline():
                await facts.put((path, _fact(line)))
            why = "the server has ended"
        finally:
            writer.close()
    except ConnectionRefusedError:
        pass  # left by a server that was killed
    except (OSError, ValueError, WatchError) as error:
        why = str(error)
    await facts.put((path, WatchError(why)))


def _fact(line: bytes) -> Row:
    fact = json.loads(line)
    match fact:
        case {"event": "begin" | "change" | "end", "id": str(), "since": float() | int()}:
            return dict(fact)
        case {"event": "lost"}:
            raise WatchError("the server had more to tell than could be shown; start again")
        case {"error": "the request is unknown"}:
            raise WatchError("the server is older than this command and cannot be watched")
        case {"error": str(text)}:
            raise WatchError(text)
    raise WatchError("the server has answered with something else than facts")


@contextmanager
def _signals(resized: Callable[[], None]) -> Iterator[asyncio.Future[None]]:
    """A future that is done at SIGINT or SIGTERM, which end nothing else inside the block; SIGWINCH calls `resized`."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not stop.done():
            stop.set_result(None)

    handlers = {signal.SIGINT: end, signal.SIGTERM: end, signal.SIGWINCH: resized}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield stop
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


class Lines:
    """Each fact as one line of JSON."""

    def show(self, fact: Row) -> None:
        """Write it, at once."""
        sys.stdout.write(json.dumps(fact) + "\n")

    def idle(self) -> None:
        """Let the reader have what was written."""
        sys.stdout.flush()


class Screen:
    """A table on a terminal, drawn anew when something has changed."""

    def __init__(self, table: Callable[[Sequence[Row]], list[str]]) -> None:
        self._table = table
        self._rows: dict[str, Row] = {}
        self._drawn = 0.0
        self._later: asyncio.TimerHandle | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The terminal's other screen without a cursor; in the end it is as it was."""
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        try:
            yield
        finally:
            if self._later is not None:
                self._later.cancel()
            sys.stdout.write("\x1b[?25h\x1b[?1049l")
            sys.stdout.flush()

    def show(self, fact: Row) -> None:
        """Take it in; the picture follows within a fifth of a second."""
        if fact["event"] == "end":
            self._rows.pop(fact["id"], None)
        elif len(self._rows) < _ROWS:
            self._rows[fact["id"]] = fact
        self.idle()

    def idle(self) -> None:
        """See to it that there is a picture soon."""
        if self._later is None:
            wait = max(0.0, self._drawn + _REDRAW - time.monotonic())
            self._later = asyncio.get_running_loop().call_later(wait, self.draw)

    def draw(self) -> None:
        """Draw the table into the terminal as it is now: the oldest connections first, as many as there is room for."""
        self._later, self._drawn = None, time.monotonic()
        size = os.get_terminal_size(sys.stdout.fileno())  # and not what LINES says, which may be of another day
        rows = sorted(self._rows.values(), key=lambda row: (float(row["since"]), row["id"]))
        room = max(size.lines - 3, 1)
        lines = [f"{len(rows)} connection{'' if len(rows) == 1 else 's'}; Ctrl-C ends this", *self._table(rows[:room])]
        if len(rows) > room:
            lines.append(f"and {len(rows) - room} more")
        # Never in the last column: a terminal waits there before it wraps, and what erases would erase the letter.
        sys.stdout.write("\x1b[H" + "\r\n".join(f"{line[: size.columns - 1]}\x1b[K" for line in lines) + "\x1b[J")
        sys.stdout.flush()


def run(sockets: Sequence[Path], view: Lines | Screen) -> None:
    """Watch until Ctrl-C.  Raises `WatchError`."""
    with view.opened() if isinstance(view, Screen) else contextlib.nullcontext():
        asyncio.run(watch(sockets, view.show, view.idle))
