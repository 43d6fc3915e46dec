"""A document as it was read: plain values, and where each of them stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from moorage.config.problems import ConfigProblems, Place, Problem
from moorage.config.section import Path

MAX_BYTES: Final = 4 * 1024 * 1024
"""A larger file is no configuration."""

MAX_DEPTH: Final = 64
"""Maps and lists in each other."""

MAX_NODES: Final = 200_000
"""Values after all aliases are expanded: a short file can stand for billions."""


class Text(str):
    """A YAML scalar's own text: what it means depends on the field that takes it, and on quotes (not `plain`)."""

    __slots__ = ("plain",)

    plain: bool

    def __new__(cls, text: str, *, plain: bool) -> Text:
        made = super().__new__(cls, text)
        made.plain = plain
        return made


@dataclass(slots=True)
class Document:
    """Plain values (dict, list, `Text` or JSON's own scalars, None) with the place of each."""

    file: str
    value: Any
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    folds_case: bool = False
    """JSON: keys match in any case."""

    moves: list[tuple[Path, Path]] = field(default_factory=list)
    """New path → path in the file, for values that old layouts keep elsewhere."""

    def origin(self, path: Path) -> Path:
        """Where the value at `path` is written in the file."""
        best: tuple[Path, Path] = ((), ())
        for new, old in self.moves:
            if path[: len(new)] == new and len(new) > len(best[0]):
                best = (new, old)
        return (*best[1], *path[len(best[0]) :]) if best[0] else path

    def place(self, path: Path) -> Place:
        """The line and column of the key at `path`, or of the nearest map or list around it that is written down."""
        origin = self.origin(path)
        for length in range(len(origin), -1, -1):
            mark = self.marks.get(self._spelled(origin[:length]))
            if mark:
                return Place(self.file, *mark)
        return Place(self.file)

    def is_written(self, path: Path) -> bool:
        """True if the file itself says something at `path`."""
        return self._spelled(self.origin(path)) in self.marks

    def _spelled(self, path: Path) -> Path:
        """`path` with the keys as the file spells them."""
        if path in self.marks:
            return path
        found: list[str | int] = []
        value = self.value
        for part in path:
            name = part
            if isinstance(part, str) and isinstance(value, dict) and part not in value:
                wanted = part.lower()
                name = next((key for key in value if key.lower() == wanted), part)
            found.append(name)
            value = self._child(value, name)
        return tuple(found)

    @staticmethod
    def _child(value: Any, name: str | int) -> Any:
        if isinstance(value, dict):
            return value.get(name)
        if isinstance(value, list) and isinstance(name, int) and name < len(value):
            return value[name]
        return None


class Lines:
    """Turns offsets in a text into lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        start = text.find("\n")
        while start >= 0:
            self._starts.append(start + 1)
            start = text.find("\n", start + 1)

    def at(self, offset: int) -> tuple[int, int]:
        """The line and column, from 1, of the character at `offset`."""
        from bisect import bisect_right

        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def unreadable(file: str, what: str, mend: str = "", at: tuple[int, int] = (0, 0)) -> ConfigProblems:
    """The error for a document that cannot be read at all."""
    return ConfigProblems([Problem(Place(file, *at), (), what, mend)])


def decode(content: bytes, file: str) -> str:
    """The text of `content`: UTF-8, or UTF-16 with a byte order mark.  Raises `ConfigProblems`."""
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        if b"\0" in content[:1024]:
            raise unreadable(file, "is not a text file", at=(0, 0)) from None
        raise unreadable(file, "is not UTF-8 text", "save the file as UTF-8", (line, column)) from None
