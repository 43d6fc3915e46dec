"""Messages as asciicast version 2: what was shown, for players; one file for each connection, as ContainerSSH's."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from moorage.audit.codec import Entry
from moorage.audit.kinds import STDERR, STDOUT

_SHELL: Final = "/bin/sh"
_COMMANDS: Final = {403: "program", 405: "", 407: ""}


class AsciicastPacker:
    """Makes the lines of one file; the counterpart of `moorage.audit.codec.Packer`."""

    def __init__(self) -> None:
        self._start = 0
        self._width, self._height = 80, 25
        self._env: dict[str, str] = {}
        self._has_header = False
        self._decoders: dict[tuple[int | None, int], codecs.IncrementalDecoder] = {}

    def begin(self) -> bytes:
        """Nothing: the header waits for the terminal's size."""
        return b""

    def pack(self, entries: Iterable[Entry]) -> bytes:
        """The lines for `entries`."""
        return "".join(line for entry in entries for line in self._lines(entry)).encode("utf-8", "replace")

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _lines(self, entry: Entry) -> Iterator[str]:
        payload = entry.payload
        match entry.number:
            case 0:
                self._start = entry.timestamp
            case 402:
                self._env[payload["name"]] = payload["value"]
            case 404:
                self._env["TERM"] = payload["term"]
                if not self._has_header:
                    self._width, self._height = payload["columns"] or 80, payload["rows"] or 25
            case 403 | 405 | 407 | 500 if not self._has_header:
                yield self._header(payload.get("program", _SHELL))
            case 1 if not self._has_header:
                yield self._header("")
            case _:
                pass
        if entry.number == 500 and payload["stream"] in {STDOUT, STDERR} and (shown := self._text(entry)):
            seconds = round((entry.timestamp - self._start) / 1e9, 6)
            yield json.dumps([seconds, "o", shown], ensure_ascii=False, separators=(",", ":")) + "\n"

    def _text(self, entry: Entry) -> str:
        """What was shown; a character that is split over two messages comes whole with the second."""
        stream = (entry.channel, entry.payload["stream"])
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(entry.payload["data"])

    def _header(self, command: str) -> str:
        self._has_header = True
        return header(
            width=self._width,
            height=self._height,
            timestamp=self._start // 1_000_000_000,
            command=command,
            env=self._env,
        )


def header(*, width: int, height: int, timestamp: int, command: str, env: dict[str, str]) -> str:
    """The first line of a file, its keys in the reference's order."""
    head: dict[str, Any] = {"version": 2, "width": width, "height": height, "timestamp": timestamp}
    head |= {"command": command, "title": "", "env": env}
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n"
