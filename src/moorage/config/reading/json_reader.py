"""JSON with the place of every value; strict, as RFC 8259 has it, with nesting bounded."""

from __future__ import annotations

import re
from json import JSONDecodeError, decoder
from typing import Any, Final

from moorage.config.problems import ConfigProblems
from moorage.config.reading.document import MAX_DEPTH, MAX_NODES, Document, Lines, unreadable
from moorage.config.section import Path

_scan_string: Final = decoder.scanstring  # type: ignore[attr-defined]  # the stubs do not know it
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}
_LONGEST_NUMBER: Final = 400


def read_json(text: str, file: str) -> Document:
    """The first value in `text`; what follows it is not looked at.  Raises `ConfigProblems`."""
    reader = _Reader(text, file)
    if not text.strip(" \t\r\n"):
        raise unreadable(file, "EOF: the file is empty", "write {} for a configuration of defaults")
    value, _ = reader.value(reader.skip(0), ())
    return Document(file, value, reader.marks, folds_case=True)


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.marks: dict[Path, tuple[int, int]] = {}
        self._text = text
        self._file = file
        self._lines = Lines(text)
        self._left = MAX_NODES

    def skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def value(self, at: int, path: Path) -> tuple[Any, int]:
        """The value that begins at `at`, and where it ends."""
        self._left -= 1
        if len(path) > MAX_DEPTH or self._left < 0:
            raise self._wrong(f"maps and lists are nested deeper than {MAX_DEPTH}, or are too many", at)
        self.marks.setdefault(path, self._lines.at(at))
        start = self._text[at : at + 1]
        if start == "{":
            return self._object(at + 1, path)
        if start == "[":
            return self._array(at + 1, path)
        if start == '"':
            return self._string(at)
        for word, meaning in _WORDS.items():
            if self._text.startswith(word, at):
                return meaning, at + len(word)
        return self._number(at)

    def _object(self, at: int, path: Path) -> tuple[dict[str, Any], int]:
        result: dict[str, Any] = {}
        at = self.skip(at)
        if self._text[at : at + 1] == "}":
            return result, at + 1
        while True:
            if self._text[at : at + 1] != '"':
                raise self._wrong("expected a key in double quotes", at)
            key, end = self._string(at)
            inner = (*path, key)
            self.marks[inner] = self._lines.at(at)
            end = self.skip(end)
            if self._text[end : end + 1] != ":":
                raise self._wrong("expected a colon", end)
            result.pop(key, None)  # of two equal keys the later one counts, also for the order
            result[key], end = self.value(self.skip(end + 1), inner)
            end = self.skip(end)
            if self._text[end : end + 1] == "}":
                return result, end + 1
            if self._text[end : end + 1] != ",":
                raise self._wrong("expected a comma or a closing brace", end)
            at = self.skip(end + 1)

    def _array(self, at: int, path: Path) -> tuple[list[Any], int]:
        result: list[Any] = []
        at = self.skip(at)
        if self._text[at : at + 1] == "]":
            return result, at + 1
        while True:
            value, end = self.value(at, (*path, len(result)))
            result.append(value)
            end = self.skip(end)
            if self._text[end : end + 1] == "]":
                return result, end + 1
            if self._text[end : end + 1] != ",":
                raise self._wrong("expected a comma or a closing bracket", end)
            at = self.skip(end + 1)

    def _string(self, at: int) -> tuple[str, int]:
        try:
            text, end = _scan_string(self._text, at + 1, True)
        except JSONDecodeError as error:
            raise self._wrong(error.msg[:1].lower() + error.msg[1:], error.pos) from None
        return text.encode("utf-8", "replace").decode(), end

    def _number(self, at: int) -> tuple[int | float, int]:
        match = _NUMBER.match(self._text, at)
        if not match or match.end() - at > _LONGEST_NUMBER:
            raise self._wrong("expected a value", at)
        return (float(match[0]) if match[1] or match[2] else int(match[0])), match.end()

    def _wrong(self, what: str, at: int) -> ConfigProblems:
        return unreadable(self._file, f"is not JSON: {what}", at=self._lines.at(at))
