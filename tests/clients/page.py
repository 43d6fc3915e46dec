"""Write docs/clients.md from what the tests have recorded: ``python -m tests.clients.page RESULTS``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.clients.roster import COLUMNS, ROSTER, Entry

PAGE: Final = Path(__file__).parents[2] / "docs" / "clients.md"
BACKENDS: Final = frozenset({"sandbox", "docker"})

_HEAD: Final = """\
# Clients

Real clients, in the form in which people run them, against a real server with the `sandbox` and the `docker` backend.
`make clients` drives each of them and writes this page: what stands here has just worked on both, every byte compared
by hash. “–” means that the program has no such thing, or that the suite does not drive it.
"""

_FOOT: Final = """\
- *Commands*: output and errors arrive apart. *Exit status*: the program's own number (a transfer program and autossh:
  success and failure). *End of input*: the client closes its side and goes on reading. *Terminal*: a shell on a PTY of
  the size that the client asked for (ssh2-python cannot ask).
- mosh needs UDP from the client to the guest, which is not carried: it is refused with a line that says so, unless
  `security.allowMosh` is on for guests that share the server's network.
"""


@dataclass
class Shown:
    """What has been seen of one client."""

    version: str = ""
    where: dict[str, set[str]] = field(default_factory=dict)


def read(lines: Iterable[str]) -> dict[str, Shown]:
    """The recorded results by client."""
    clients: dict[str, Shown] = {}
    for line in lines:
        result: dict[str, Any] = json.loads(line)
        shown = clients.setdefault(result["client"], Shown())
        shown.version = result["version"] or shown.version
        for fact in result["facts"]:
            shown.where.setdefault(fact, set()).add(result["backend"])
    return clients


def lacking(clients: Mapping[str, Shown]) -> list[str]:
    """Promises of the roster that were not shown on every backend."""
    return [
        f"{entry.name}: {fact} on {', '.join(sorted(BACKENDS - found))}"
        for entry in ROSTER.values()
        for fact in sorted(entry.promised)
        if BACKENDS - (found := clients.get(entry.name, Shown()).where.get(fact, set()))
    ]


def row(entry: Entry, version: str) -> str:
    """The line of one client."""
    cells = [_cell(entry, name) for name in COLUMNS]
    return f"| {entry.name} | {version or '–'} | {' | '.join(cells)} | {', '.join(entry.more) or '–'} |"


def _cell(entry: Entry, name: str) -> str:
    if name not in entry.does:
        return "–"
    return entry.amount if name in ("stream", "files") else "yes"


def render(clients: Mapping[str, Shown]) -> str:
    """The whole page."""
    head = ["Client", "Version", *COLUMNS.values(), "And"]
    rows = [row(entry, clients[entry.name].version) for entry in ROSTER.values()]
    table = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows])
    return f"{_HEAD}\n{table}\n\n{_FOOT}"


def main(results: str) -> int:
    """Write the page, or say what is lacking."""
    clients = read(Path(results).read_text().splitlines())
    if missing := lacking(clients):
        sys.stderr.write("Not shown, so the page stays as it is:\n" + "".join(f"  {line}\n" for line in missing))
        return 1
    PAGE.write_text(render(clients))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
