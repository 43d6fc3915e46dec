"""The events of real logins arrive: in files, at a service that was away, in syslog; those of files with hashes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD, USER
from tests.e2e.serving import free_port
from tests.e2e.test_audit import audit
from tests.e2e.test_observability import scraped
from tests.e2e.waiting import until
from tests.parts.rsyslog import rsyslog

from moorage.audit.stream.kinds import BY_NAME, COMMON

Record = dict[str, Any]


def told(path: Path) -> list[Record]:
    """The records in a file; a line that is just being written is left out."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def closed(path: Path, count: int = 1) -> list[Record]:
    """The records in a file, once all connections have closed, and so many of them have tried to log in."""

    def have() -> bool:
        by_event = {name: {one["connectionId"] for one in told(path) if one["event"] == name} for name in BY_NAME}
        tried = by_event["auth.failed"] | by_event["auth.succeeded"]
        gone = by_event["connection.closed"]
        return len(tried & gone) >= count and by_event["connection.opened"] == gone

    until(have, f"{count} have closed")
    return told(path)


@dataclass
class Collector:
    """A service that takes JSON lines, or answers with `status`."""

    port: int
    status: int = 200
    asked: int = 0
    records: list[Record] = field(default_factory=list)


@contextmanager
def collecting(port: int) -> Iterator[Collector]:
    """A collector on the loopback for the time of the block."""
    running = Collector(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            running.asked += 1
            if running.status == 200:
                running.records.extend(json.loads(line) for line in body.splitlines())
            self.send_response(running.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_login_is_told_from_its_beginning_to_its_end(serve: Serve, backend: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    place = serve(backend, audit={"events": [{"sink": "file", "file": str(path)}]})
    wrong = replace(place.user, key=None, password="wrong")
    assert wrong.run("echo in").returncode == 255
    assert place.user.run("cat; exit 3", input=b"x").returncode == 3
    records = closed(path, 2)
    [last] = [one["connectionId"] for one in records if one["event"] == "login.accepted"]
    mine = [one for one in records if one["connectionId"] == last]
    assert [one["event"] for one in mine if not one["event"].startswith(("request.", "guest.", "auth.failed"))] == [
        *("connection.opened", "connection.identified", "auth.succeeded", "login.accepted", "session.opened"),
        *("program.started", "program.exited", "session.closed", "connection.closed"),
    ]
    by_name = {one["event"]: one for one in mine}
    assert by_name["auth.succeeded"]["key"].startswith("SHA256:")
    assert by_name["guest.opened"]["seconds"] > 0
    assert (by_name["login.accepted"]["username"], by_name["login.accepted"]["backend"]) == (USER, backend)
    assert by_name["program.started"]["command"] == "cat; exit 3"
    assert by_name["program.exited"]["exitCode"] == 3
    [failed] = [one for one in records if one["event"] == "auth.failed" and one["method"] == "password"]
    assert (failed["username"], failed["remoteAddr"]) == (USER, "127.0.0.1")
    assert "password" not in failed
    assert len({one["id"] for one in records}) == len(records)
    for record in records:
        assert set(record) <= {*COMMON, *BY_NAME[record["event"]].fields}


def test_passwords_and_groups_are_a_matter_of_each_sink(serve: Serve, tmp_path: Path) -> None:
    with_passwords, without = tmp_path / "with.jsonl", tmp_path / "without.jsonl"
    intercept = {"passwords": True}
    sinks = [
        {"sink": "file", "file": str(with_passwords), "only": ["auth", "connection"], "passwords": True},
        {"sink": "file", "file": str(without), "only": ["auth", "connection"]},
    ]
    place = serve("sandbox", audit=audit(tmp_path / "audit", intercept=intercept, events=sinks))
    assert replace(place.user, key=None, password="hunter2").run("echo in").returncode == 255
    first, second = closed(with_passwords), closed(without)
    assert {one["event"].partition(".")[0] for one in first} == {"auth", "connection"}
    assert [one.get("password") for one in first if one["event"] == "auth.failed" and one["method"] == "password"] == [
        "hunter2"
    ]
    assert [{**one, "password": None} for one in first] == [{**one, "password": None} for one in second]
    assert "hunter2" not in without.read_text()
    assert PASSWORD not in without.read_text()


def test_files_are_told_with_their_hashes(serve: Serve, backend: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [{"sink": "file", "file": str(path), "only": ["file"]}]
    place = serve(backend, audit=audit(tmp_path / "audit", intercept={"files": True}, events=events))
    content = b"#!/bin/sh\n" * 5000
    (tmp_path / "tool").write_bytes(content)
    done = place.user.tool("sftp", "-b", "-", "guest", input=f"put {tmp_path}/tool\nrename tool kit\n".encode())
    assert done.returncode == 0, done.stderr
    until(lambda: [one["event"] for one in told(path)].count("file.seen") >= 2, "both are told")
    upload, rename = (one for one in told(path) if one["event"] == "file.seen")
    connections = {one["connectionId"] for one in told(path) if one.get("username") == USER}
    assert (upload["operation"], upload["path"].rpartition("/")[2], upload["size"]) == ("upload", "tool", len(content))
    assert (upload["sha256"], upload["result"]) == (hashlib.sha256(content).hexdigest(), "ok")
    assert (rename["operation"], rename["target"].rpartition("/")[2]) == ("rename", "kit")
    assert {upload["username"], rename["username"]} == {USER}
    assert {upload["connectionId"], rename["connectionId"]} == connections


def test_a_service_that_is_away_gets_everything_once_it_is_back(serve: Serve, tmp_path: Path) -> None:
    port, copy = free_port(), tmp_path / "events.jsonl"
    sinks = [
        {"sink": "webhook", "webhook": {"url": f"http://127.0.0.1:{port}/events"}},
        {"sink": "file", "file": str(copy)},
    ]
    metrics = free_port()
    place = serve("sandbox", audit={"events": sinks}, metrics={"enable": True, "listen": f"127.0.0.1:{metrics}"})
    assert place.user.run("echo one").stdout == b"one\n"
    closed(copy)

    def codes() -> list[str]:
        return [record["code"] for record in place.server.records()]

    until(lambda: "EVENTS_FAILED" in codes(), "the failure is logged")
    with collecting(port) as collector:
        collector.status = 503
        until(lambda: collector.asked, "it is asked again", seconds=20)
        assert place.user.run("echo two").stdout == b"two\n"
        everything = closed(copy, 2)
        collector.status = 200
        until(lambda: len(collector.records) >= len(everything), "all have come", seconds=40)
        assert collector.records == everything
    assert codes().count("EVENTS_FAILED") == 1
    until(lambda: "EVENTS_WORK" in codes(), "the end of the failure is logged")
    values = scraped(metrics)
    assert values["moorage_events_sent_total{sink=0:webhook}"] == len(everything)
    assert values["moorage_events_lost_total{sink=0:webhook}"] == 0
    assert values["moorage_events_waiting{sink=1:file}"] == 0


def test_what_waits_is_sent_when_the_server_ends(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    place = serve("sandbox", audit={"events": [{"sink": "file", "file": str(path)}]})
    client = place.user.start("echo ready; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    place.server.end()
    client.communicate(timeout=15)
    assert [one["event"] for one in told(path)][-1] == "connection.closed"


def test_a_syslog_daemon_and_standard_output_take_them_too(serve: Serve, tmp_path: Path) -> None:
    with rsyslog(tmp_path / "rsyslog") as daemon:
        syslog = {"destination": daemon.destinations["tcp"], "facility": "local2", "tag": "events"}
        events = [{"sink": "syslog", "syslog": syslog, "only": ["program"]}, {"sink": "stdout", "only": ["program"]}]
        place = serve("sandbox", audit={"events": events})
        assert place.user.run("exit 7").returncode == 7

        def by_syslog() -> list[Record]:
            return [json.loads(one.text) for one in daemon.understood() if one.tag == "events"]

        def by_stdout() -> list[Record]:
            return [one for one in place.server.records() if "event" in one]

        until(lambda: len(by_syslog()) >= 2 and len(by_stdout()) >= 2, "both have both", seconds=20)
        assert by_syslog() == by_stdout()
        assert [one["event"] for one in by_syslog()] == ["program.started", "program.exited"]


@pytest.mark.parametrize(
    ("sink", "complaint"),
    [
        ({"sink": "file"}, "audit.events[0].file"),
        ({"sink": "carrier"}, "audit.events[0].sink"),
        ({"sink": "stdout", "only": ["auht"]}, "auth"),
        ({"sink": "stdout", "passwords": True}, "audit.events[0].passwords"),
        ({"sink": "webhook"}, "audit.events[0].webhook.url"),
        ({"sink": "plugin", "plugin": {"name": "none"}}, "no package brings the sink 'none'"),
    ],
    ids=["no file", "unknown sink", "unknown group", "no passwords", "no url", "no package"],
)
def test_what_cannot_be_is_said_before_the_start(tmp_path: Path, sink: Record, complaint: str) -> None:
    from tests.e2e.test_failures import moorage

    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"state": {"directory": str(tmp_path)}, "audit": {"events": [sink]}}))
    done = moorage("serve", "--config", str(config))
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
