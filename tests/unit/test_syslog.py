"""Syslog, with daemons that listen, restart, stall and are not there."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import structlog

from moorage import log, syslog
from moorage.codes import Code
from moorage.syslog import LONGEST_LINE, MOST_LINES, Syslog

AUTH = 4
FIRST_OF_MARCH = datetime(2026, 3, 1, 9, 8, 7, 6000, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    log.configure(level="debug", destination=log.Destination(stream=io.StringIO()))
    structlog.reset_defaults()
    logging.getLogger().handlers[:], logging.getLogger().level = before[0], before[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def listening(path: Path, kind: socket.SocketKind) -> socket.socket:
    """A daemon's socket at `path`; reading it has a deadline."""
    daemon = socket.socket(socket.AF_UNIX, kind)
    daemon.settimeout(10)
    daemon.bind(str(path))
    if kind is socket.SOCK_STREAM:
        daemon.listen()
    return daemon


def udp() -> socket.socket:
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.settimeout(10)
    daemon.bind(("127.0.0.1", 0))
    return daemon


def at(daemon: socket.socket) -> str:
    host, port = daemon.getsockname()
    return f"{host}:{port}"


def test_a_local_datagram_has_the_form_of_the_c_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(path, socket.SOCK_DGRAM) as daemon:
        target = Syslog(str(path), facility=AUTH, tag="ContainerSSH", clock=lambda: FIRST_OF_MARCH)
        target.error("text")
        said = daemon.recv(9000).decode()
        target.close()
    month = FIRST_OF_MARCH.astimezone()
    assert said == f"<35>Mar  1 {month:%H:%M:%S} ContainerSSH: text"


def test_a_stream_is_preferred_and_framed_by_line_feeds(path: Path) -> None:
    with listening(path, socket.SOCK_STREAM) as daemon:
        target = Syslog(str(path), facility=AUTH, tag="t", with_pid=True)
        target.info("one")
        target.debug("two")
        target.close()
        connection, _ = daemon.accept()
        with connection, connection.makefile() as lines:
            said = lines.read().splitlines()
    shape = r"<{}>[A-Z][a-z]{{2}} [ 123]\d \d\d:\d\d:\d\d t\[{}\]: {}"
    assert re.fullmatch(shape.format(38, os.getpid(), "one"), said[0])
    assert re.fullmatch(shape.format(39, os.getpid(), "two"), said[1])


@pytest.mark.parametrize(("with_pid", "shown"), [(True, str(os.getpid())), (False, "-")], ids=["with", "without"])
def test_by_udp_goes_rfc_5424(with_pid: bool, shown: str) -> None:
    with udp() as daemon:
        target = Syslog(at(daemon), facility=23, tag="my program\n", with_pid=with_pid, clock=lambda: FIRST_OF_MARCH)
        target.critical("täxt")
        said = daemon.recv(9000).decode()
        target.close()
    assert said == f"<186>1 2026-03-01T07:08:07.006Z {socket.gethostname()} myprogram {shown} - - täxt"


def test_each_level_of_the_log_has_its_severity() -> None:
    with udp() as daemon:
        target = Syslog(at(daemon), facility=0, tag="t")
        log.configure(level="debug", destination=target)
        logger = structlog.get_logger()
        for method in ("debug", "info", "warning", "error", "critical"):
            getattr(logger, method)("x")
        try:
            raise KeyError("k")
        except KeyError:
            logger.exception("x")
        said = [daemon.recv(9000).decode().split(">")[0] for _ in range(6)]
        target.close()
    assert said == ["<7", "<6", "<4", "<3", "<2", "<3"]


def test_the_line_is_the_reference_s_object_without_what_stands_before_it() -> None:
    with udp() as daemon:
        target = Syslog(at(daemon), facility=0, tag="t")
        log.configure(level="info", destination=target)
        structlog.get_logger().info("Something", code=Code.SSH_CONNECTED, username="a\nb", apiToken="canary")
        body = daemon.recv(9000).decode().split(" ", 7)[7]
        target.close()
    assert json.loads(body) == {
        "code": "SSH_CONNECTED",
        "message": "Something",
        "details": {"username": "a\nb", "apiToken": "***"},
    }
    assert "\n" not in body


def test_a_text_is_one_line_even_with_a_trace() -> None:
    with udp() as daemon:
        target = Syslog(at(daemon), facility=0, tag="t")
        log.configure(level="info", format="text", destination=target)
        try:
            raise KeyError("k")
        except KeyError:
            structlog.get_logger().exception("It failed", code=Code.SSH_INTERNAL_ERROR, username="a\nb")
        body = daemon.recv(9000).decode().split(" ", 7)[7]
        target.close()
    assert body.startswith('SSH_INTERNAL_ERROR It failed  username=a\\nb exception="Traceback')
    assert "\n" not in body


def test_what_cannot_be_reached_at_the_start_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Syslog(str(path), facility=0, tag="t")


def test_a_stream_that_refuses_is_told_as_such(path: Path) -> None:
    listening(path, socket.SOCK_STREAM).close()
    with pytest.raises(ConnectionRefusedError):
        Syslog(str(path), facility=0, tag="t")


def test_lines_wait_for_a_daemon_that_restarts(path: Path) -> None:
    with listening(path, socket.SOCK_DGRAM) as daemon:
        target = Syslog(str(path), facility=0, tag="t")
        target.info("before")
        assert daemon.recv(9000).endswith(b"before")
    path.unlink()
    for text in ("while 1", "while 2"):
        target.info(text)
    with listening(path, socket.SOCK_DGRAM) as daemon:
        assert [daemon.recv(9000).rpartition(b": ")[2] for _ in range(2)] == [b"while 1", b"while 2"]
        target.close()


def test_a_rotation_connects_anew(path: Path) -> None:
    with listening(path, socket.SOCK_DGRAM) as old:
        target = Syslog(str(path), facility=0, tag="t")
        log.configure(level="info", destination=target)
        path.unlink()
        with listening(path, socket.SOCK_DGRAM) as new:
            log.configure(level="info")
            structlog.get_logger().info("after")
            assert b"after" in new.recv(9000)
            target.close()
        old.setblocking(False)
        with pytest.raises(BlockingIOError):
            old.recv(1)


def test_nobody_waits_for_a_daemon_that_is_away_and_the_loss_is_told(path: Path) -> None:
    with listening(path, socket.SOCK_DGRAM):
        target = Syslog(str(path), facility=0, tag="t")
    path.unlink()
    for number in range(MOST_LINES + 10):
        target.info(f"line {number}")
    with listening(path, socket.SOCK_DGRAM) as daemon:
        said = [daemon.recv(9000).decode().rpartition("t: ")[2] for _ in range(MOST_LINES)]
        target.close()
    assert said[0] == "line 0"
    lost = [line for line in said if line.endswith("lines of the log were lost (LOG_WRITE_FAILED)")]
    assert lost
    assert 9 <= int(lost[0].split()[0]) <= 10


def test_a_line_has_a_bound_and_is_cut_between_characters(path: Path) -> None:
    with listening(path, socket.SOCK_DGRAM) as daemon:
        target = Syslog(str(path), facility=0, tag="t")
        target.info("é" * LONGEST_LINE)
        target.info("half \udce9 a character")
        said = daemon.recv(100_000)
        assert LONGEST_LINE - 2 < len(said) <= LONGEST_LINE
        assert said.decode().endswith("é")
        assert daemon.recv(9000).endswith(b"half ? a character")
        target.close()


def test_closing_ends_the_thread_also_when_nobody_listens(path: Path) -> None:
    with listening(path, socket.SOCK_DGRAM):
        target = Syslog(str(path), facility=0, tag="t")
    for _ in range(3):
        target.info("nobody hears this")
    target.close()
    target.close()
    assert not target._sender.is_alive()
    assert target._socket is None


def test_closing_sends_what_waits(path: Path) -> None:
    with listening(path, socket.SOCK_STREAM) as daemon:
        target = Syslog(str(path), facility=0, tag="t")
        for number in range(500):
            target.info(f"line {number}")
        target.close()
        connection, _ = daemon.accept()
        with connection, connection.makefile() as lines:
            assert sum(1 for _ in lines) == 500


def test_the_clock_is_the_machine_s(path: Path) -> None:
    assert abs(syslog._now() - datetime.now(UTC)) < timedelta(minutes=1)
