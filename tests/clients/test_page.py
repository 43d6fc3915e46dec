"""The page says what the roster promises, no more and no less."""

from __future__ import annotations

import json

from tests.clients.page import BACKENDS, PAGE, lacking, read, render, row
from tests.clients.roster import ROSTER


def _results() -> list[str]:
    return [
        json.dumps({"client": entry.name, "backend": backend, "facts": sorted(entry.promised), "version": "1.2"})
        for entry in ROSTER.values()
        for backend in sorted(BACKENDS)
    ]


def test_the_page_names_every_client_with_what_it_does() -> None:
    lines = PAGE.read_text().splitlines()
    for entry in ROSTER.values():
        [line] = [line for line in lines if line.startswith(f"| {entry.name} |")]
        assert line == row(entry, line.split("|")[2].strip())


def test_all_promises_shown_make_a_page() -> None:
    clients = read(_results())
    assert lacking(clients) == []
    assert render(clients).count("| 1.2 |") == len(ROSTER)


def test_a_promise_that_nobody_showed_is_named() -> None:
    assert len(lacking(read(_results()[1:]))) == len(next(iter(ROSTER.values())).promised)
