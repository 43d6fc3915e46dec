"""``moorage sessions`` beside a real server and a real client."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.e2e.conftest import Serve
from tests.e2e.places import USER, Place
from tests.e2e.serving import MOORAGE
from tests.e2e.waiting import until


def sessions(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    line = [str(MOORAGE), "sessions", *words, "--config", str(place.server.config_file)]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)


def rows(place: Place) -> list[dict[str, Any]]:
    done = sessions(place, "ls", "--json")
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)["connections"]
    return listed


def test_a_login_is_listed_and_ended_with_a_text(serve: Serve) -> None:
    place = serve("sandbox")
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    (row,) = rows(place)
    assert (row["user"], row["backend"], row["guest"], row["sessions"]) == (USER, "sandbox", "open", 1)
    table = sessions(place, "ls").stdout.splitlines()
    assert table[0].split() == ["ID", "USER", "ADDRESS", "SINCE", "BACKEND", "GUEST", "SESSIONS"]
    assert table[1].split()[:2] == [row["id"][:12], USER]
    done = sessions(place, "end", row["id"][:12], "--text", "The lesson is over.")
    assert done.stdout == f"ended {row['id'][:12]}\n", done.stderr
    complaint = client.communicate(timeout=20)[1]
    assert b"The lesson is over." in complaint
    until(lambda: not rows(place), "the row is gone")
    again = sessions(place, "end", row["id"])
    assert (again.returncode, "there is no connection" in again.stderr) == (1, True)


def test_without_a_server_it_says_so(serve: Serve) -> None:
    place = serve("sandbox")
    place.server.end()
    done = sessions(place, "ls")
    assert done.returncode == 1
    assert "no server can be asked" in done.stderr
