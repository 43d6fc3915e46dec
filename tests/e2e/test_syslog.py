"""A real rsyslogd understands every line, by each way and in both forms; nothing is lost while it restarts."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.waiting import until
from tests.parts.rsyslog import Rsyslog, Understood, rsyslog

from moorage.net.tls import client_context
from moorage.syslog import Syslog

LOCAL0, INFO = 16, 6


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rsyslog]:
    with rsyslog(tmp_path_factory.mktemp("rsyslog")) as running:
        yield running


def target(daemon: Rsyslog, way: str, *, is_rfc_5424: bool | None = None) -> Syslog:
    tls = client_context(ca=daemon.authority.read_text()) if way == "tls" else None
    where = daemon.destinations[way]
    return Syslog(where, facility=LOCAL0, tag="moor", with_pid=True, is_rfc_5424=is_rfc_5424, tls=tls)


def found(daemon: Rsyslog, mark: str, count: int = 1) -> list[Understood]:
    def those() -> list[Understood]:
        return [one for one in daemon.understood() if mark in one.text]

    until(lambda: len(those()) >= count, f"{count} lines with {mark} have come", seconds=20)
    return those()


@pytest.mark.parametrize("is_rfc_5424", [True, False])
@pytest.mark.parametrize("way", ["unix", "udp", "tcp", "tls"])
def test_a_line_is_understood_by_each_way_and_in_both_forms(daemon: Rsyslog, way: str, is_rfc_5424: bool) -> None:
    mark = f"{way}-{is_rfc_5424}"
    sender = target(daemon, way, is_rfc_5424=is_rfc_5424)
    sender.info(f"a täxt {mark}")
    sender.error(f"another {mark} " + "x" * 7000)
    sender.close()
    first, second = found(daemon, mark, 2)
    assert (first.priority, second.priority) == (LOCAL0 * 8 + INFO, LOCAL0 * 8 + 3)
    assert (first.tag, first.pid, first.text) == ("moor", str(os.getpid()), f"a täxt {mark}")
    assert second.text.endswith("x" * 7000)
    if way != "unix" or is_rfc_5424:
        assert first.protocol == str(int(is_rfc_5424))
    if is_rfc_5424 and way != "unix":
        assert (first.host, first.message_id, first.data) == (socket.gethostname(), "-", "-")


def test_a_daemon_with_another_certificate_hears_nothing(daemon: Rsyslog) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Syslog(daemon.destinations["tls"], facility=LOCAL0, tag="moor", tls=client_context())


@pytest.mark.parametrize("way", ["unix", "tcp", "tls"])
def test_no_line_is_lost_while_the_daemon_restarts(tmp_path: Path, way: str) -> None:
    with rsyslog(tmp_path / "rsyslog") as own:
        sender = target(own, way)
        sender.info("before the restart")
        found(own, "before the restart")
        own.stop()
        for number in range(5):
            sender.info(f"while it was away {number}")
        own.start()
        sender.info("after the restart")
        assert [one.text[-1] for one in found(own, "while it was away", 5)] == list("01234")
        found(own, "after the restart")
        sender.close()


def test_a_server_logs_to_it_by_tls_and_connects_anew_on_hup(daemon: Rsyslog, serve: Serve) -> None:
    settings = {
        "destination": daemon.destinations["tls"],
        "cacert": str(daemon.authority),
        "facility": "local1",
        "tag": "whole",
    }
    place = serve("sandbox", log={"level": "debug", "destination": "syslog", "syslog": settings})

    def lines() -> list[Understood]:
        return [one for one in daemon.understood() if one.tag == "whole"]

    def codes() -> list[str]:
        return [json.loads(one.text)["code"] for one in lines()]

    assert place.user.run("echo in").stdout == b"in\n"
    until(lambda: "SSH_EXIT" in codes(), "the program's end is logged", seconds=20)
    place.server.signal(signal.SIGHUP)
    until(lambda: "CONFIG_RELOADED" in codes(), "the reload is logged", seconds=20)
    assert place.server.log() == ""
    assert all(one.protocol == "1" and one.priority // 8 == 17 for one in lines())
    said = [json.loads(one.text) for one in lines()]
    [connection] = {one["details"]["connectionId"] for one in said if one["code"] == "SSH_AUTH_SUCCESSFUL"}
    details = [one["details"] for one in said if one["details"].get("connectionId") == connection]
    assert all(one["remoteAddr"] == "127.0.0.1" for one in details)
    named = [one.get("username", "") for one in details]
    assert set(named[named.index(place.user.user) :]) == {place.user.user}
    assert [one["channelId"] for one in details if "exitCode" in one] == [0]
