"""What the tests have shown, as a file that the page is made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.clients.roster import ROSTER


@dataclass
class Recorder:
    """Takes what a client has done at one backend; without a file it only checks that the roster promises it."""

    backend: str
    file: Path | None

    def __call__(self, client: str, *facts: str, version: str = "") -> None:
        """`client` has just done `facts`: call it after the assertions, never before."""
        strange = set(facts) - ROSTER[client].promised
        assert not strange, f"the roster does not promise for {client}: {sorted(strange)}"
        if self.file is not None:
            line = {"client": client, "backend": self.backend, "facts": facts, "version": version}
            with self.file.open("a") as results:
                results.write(json.dumps(line) + "\n")
