"""YAML as configuration files use it: scalars stay text, aliases are bounded, every value keeps its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from moorage.config.problems import ConfigProblems, Place, Problem
from moorage.config.reading.document import MAX_DEPTH, MAX_NODES, Document, Lines, Text, unreadable
from moorage.config.section import Path, shown

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS: Final = "tag:yaml.org,2002:"
_TYPED: Final = frozenset(_TAGS + name for name in ("null", "bool", "int", "float", "timestamp"))


@dataclass(slots=True)
class _Node:
    line: int
    column: int
    content: Any
    """A `Text`, None, a list of nodes, or a list of (key node, value node) in `_Map`."""


class _Map(list[tuple[_Node, _Node]]):
    """A mapping's entries as they are written."""


def read_yaml(text: str, file: str) -> Document:
    """The first document in `text`.  Raises `ConfigProblems`."""
    try:
        root = _Composer(text, file).compose()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, file) from None
    except yaml.reader.ReaderError as error:
        at = Lines(text).at(_characters(text, error.position))
        raise unreadable(file, "there is a control character", "only text belongs here", at) from None
    expansion = _Expansion(file)
    value = expansion.expand(root, ())
    if expansion.problems:
        raise ConfigProblems(expansion.problems)
    return Document(file, value, expansion.marks)


def _characters(text: str, position: int) -> int:
    return len(text.encode()[:position].decode("utf-8", "ignore"))


def _syntax(error: yaml.MarkedYAMLError, file: str) -> ConfigProblems:
    mark = error.problem_mark or error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    what = str(error.problem or error.context or "is not YAML")[:200]
    mend = "indent with spaces, not tabs" if "\\t" in what or "\t" in what or "token" in what else ""
    return unreadable(file, f"is not YAML: {what}", mend, at)


class _Composer:
    """Events to nodes, with the depth bounded before the parser goes deeper."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, _Node | None] = {}
        self._left = MAX_NODES

    def compose(self) -> _Node:
        """The first document's root."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                return self._node(next(self._events), 0)
        raise unreadable(self._file, "EOF: the file is empty", "write {} for a configuration of defaults")

    def _node(self, event: Any, depth: int) -> _Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if depth > MAX_DEPTH:
            raise unreadable(self._file, f"maps and lists are nested deeper than {MAX_DEPTH}", at=(line, column))
        self._left -= 1
        if self._left < 0:
            raise unreadable(self._file, "there are too many values", at=(line, column))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", line, column)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = _Node(line, column, None)
        if isinstance(event, yaml.ScalarEvent):
            node.content = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.content = self._sequence(depth)
        else:
            node.content = self._mapping(depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, depth: int) -> list[_Node]:
        elements = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            elements.append(self._node(event, depth + 1))
        return elements

    def _mapping(self, depth: int) -> _Map:
        entries = _Map()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            entries.append((key, self._node(next(self._events), depth + 1)))
        return entries

    def _alias(self, name: str, line: int, column: int) -> _Node:
        if name not in self._anchors:
            raise unreadable(self._file, f"unknown anchor {shown(name)}", at=(line, column))
        node = self._anchors[name]
        if node is None:
            raise unreadable(self._file, f"anchor {shown(name)} contains itself", at=(line, column))
        return node


def _scalar(event: Any) -> Text | None:
    tag = event.tag or ""
    plain = (event.implicit[0] and not event.style) or tag in _TYPED
    if plain and not tag and event.value in _NULL:
        return None
    if tag == _TAGS + "null":
        return None
    return Text(event.value, plain=plain)


class _Expansion:
    """Nodes to plain values: aliases followed, merges applied, duplicates found, all within a budget."""

    def __init__(self, file: str) -> None:
        self.marks: dict[Path, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._left = MAX_NODES

    def expand(self, node: _Node, path: Path) -> Any:
        """The value of `node`, which stands at `path`."""
        self._left -= 1
        if self._left < 0:
            raise unreadable(self._file, "aliases stand for too many values", at=(node.line, node.column))
        if len(path) > MAX_DEPTH:
            raise unreadable(self._file, f"maps and lists are nested deeper than {MAX_DEPTH}")
        self.marks.setdefault(path, (node.line, node.column))
        content = node.content
        if isinstance(content, _Map):
            return self._mapping(content, path)
        if isinstance(content, list):
            return [self.expand(element, (*path, index)) for index, element in enumerate(content)]
        return content

    def _mapping(self, entries: _Map, path: Path) -> dict[str, Any]:
        found: dict[str, tuple[_Node, _Node]] = {}
        merged: list[_Node] = []
        for key, value in entries:
            name = key.content
            if isinstance(name, list):
                self._problem(key, path, "a key must be a text")
            elif name == "<<" and name.plain:
                merged.append(value)
            elif (text := str(name or "")) in found:
                first = found[text][0]
                self._problem(key, (*path, text), f"the key is given twice, first in line {first.line}")
            else:
                found[text] = (key, value)
        for source in merged:
            for text, entry in self._merged(source, path, 0).items():
                found.setdefault(text, entry)
        result = {}
        for text, (key, value) in found.items():
            inner = (*path, text)
            self.marks[inner] = (key.line, key.column)
            result[text] = self.expand(value, inner)
        return result

    def _merged(self, node: _Node, path: Path, depth: int) -> dict[str, tuple[_Node, _Node]]:
        """The entries that ``<<: node`` brings in; of several sources the earlier one wins."""
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise unreadable(self._file, "merges stand for too many values", at=(node.line, node.column))
        found: dict[str, tuple[_Node, _Node]] = {}
        if isinstance(node.content, _Map):
            sources = []
            for key, value in node.content:
                if key.content == "<<" and isinstance(key.content, Text) and key.content.plain:
                    sources.append(value)
                elif not isinstance(key.content, list):
                    found.setdefault(str(key.content or ""), (key, value))
        elif isinstance(node.content, list):
            sources = node.content
        else:
            self._problem(node, path, "<< needs a map or a list of maps")
            sources = []
        self._left -= len(found)
        for source in sources:
            for text, entry in self._merged(source, path, depth + 1).items():
                found.setdefault(text, entry)
        return found

    def _problem(self, node: _Node, path: Path, what: str) -> None:
        self.problems.append(Problem(Place(self._file, node.line, node.column), path, what))
