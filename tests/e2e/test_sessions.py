"""``moorage sessions`` beside a real server and a real client."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.conftest import Serve
from tests.e2e.places import USER, Place
from tests.e2e.serving import MOORAGE
from tests.e2e.terminal import terminal
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


@contextmanager
def watching(place: Place, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    line = [str(MOORAGE), "sessions", "watch", *options, "--config", str(place.server.config_file)]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def facts_until(process: subprocess.Popen[bytes], event: str, **values: Any) -> list[dict[str, Any]]:
    """The facts up to the first of this kind with these values."""
    assert process.stdout is not None
    facts: list[dict[str, Any]] = []
    for line in process.stdout:
        facts.append(json.loads(line))
        if facts[-1]["event"] == event and values.items() <= facts[-1].items():
            return facts
    raise AssertionError(f"it ended with {facts}: {process.stderr and process.stderr.read()!r}")


def test_watch_tells_of_begin_change_and_end(serve: Serve) -> None:
    place = serve("sandbox")
    here = place.user.start("echo ready; exec sleep 1000")
    assert here.stdout is not None
    assert here.stdout.readline() == b"ready\n"
    with watching(place, "--json") as process:
        (before,) = facts_until(process, "begin", user=USER, guest="open", sessions=1)
        assert place.user.run("true").returncode == 0
        facts = facts_until(process, "end", user=USER)
        mine = [fact for fact in facts if fact["id"] == facts[-1]["id"]]
        assert mine[0]["event"] == "begin"
        assert {(fact["guest"], fact["sessions"]) for fact in mine} >= {("none", 0), ("opening", 0), ("open", 1)}
        assert mine[-1]["at"] >= mine[0]["at"] == mine[0]["since"]
        here.kill()
        assert facts_until(process, "end", id=before["id"])
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0


def test_watch_says_when_its_server_has_gone(serve: Serve) -> None:
    place = serve("sandbox")
    here = place.user.start("echo ready; exec sleep 1000")
    assert here.stdout is not None
    assert here.stdout.readline() == b"ready\n"
    with watching(place, "--json") as process:
        facts_until(process, "begin", user=USER)
        place.server.process.kill()
        facts_until(process, "end", user=USER)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (1, b"moorage: no server can be watched: the server has ended\n")
    with watching(place, "--json") as process:
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (1, b"moorage: no server can be watched: no server is running\n")


def test_watch_ends_with_the_reader_of_its_lines(serve: Serve) -> None:
    place = serve("sandbox")
    here = place.user.start("echo ready; exec sleep 1000")
    assert here.stdout is not None
    assert here.stdout.readline() == b"ready\n"
    line = f"{MOORAGE} sessions watch --json --config {place.server.config_file} | head -n 1"
    with subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "begin"
        here.kill()  # the next fact meets a closed pipe
        assert process.communicate(timeout=20)[1] == b""


def test_watch_draws_on_a_terminal_and_leaves_it_as_it_was(serve: Serve) -> None:
    place = serve("sandbox")
    command = shlex.join([str(MOORAGE), "sessions", "watch", "--config", str(place.server.config_file)])
    # An interactive shell gives the program a process group of its own, which alone hears Ctrl-C.
    with terminal(["bash", "--norc", "--noprofile", "-i"], {**os.environ, "PS1": "before> "}, size=(120, 6)) as window:
        window.shows("before> ")
        window.enter(f"clear; {command}")
        window.shows("0 connections; Ctrl-C ends this")
        assert "before" not in window.screen()
        clients = [place.user.start("echo ready; exec sleep 1000") for _ in range(4)]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"ready\n"
        window.shows("4 connections; Ctrl-C")
        window.shows("and 1 more")
        row = re.compile(rf"^[0-9a-f]{{12}}  {USER} .* sandbox +open +1 *$", re.MULTILINE)
        until(lambda: len(row.findall(window.screen())) == 3, "a row for each that there is room for")
        window.resize(120, 8)
        until(lambda: len(row.findall(window.screen())) == 4, "a row for each, now that there is room")
        for client in clients[1:]:
            client.kill()
        window.shows("1 connection; Ctrl-C")
        until(lambda: "more" not in window.screen(), "what has gone is wiped off")
        window.press("C-c")
        window.shows("before> ")
        assert "connection;" not in window.screen()
        window.enter("echo status=$?")
        window.shows("status=0")


def test_watch_needs_a_terminal_or_json(serve: Serve) -> None:
    done = sessions(serve("sandbox"), "watch")
    assert done.returncode == 2
    assert "with --json" in done.stderr
