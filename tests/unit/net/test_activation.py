"""Sockets from a service manager, and telling it how we are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from moorage.errors import ConfigError
from moorage.net.activation import ServiceManager, inherited_sockets


def _duplicate(*sockets: socket.socket) -> int:
    """Copies of `sockets` in descriptors that follow each other; the first one."""
    first = 200
    for index, one in enumerate(sockets):
        os.dup2(one.fileno(), first + index)
    return first


def test_sockets_are_taken_over_and_the_variables_with_them() -> None:
    environment = {"LISTEN_FDS": "2", "LISTEN_PID": "77", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        taken = inherited_sockets(environment, pid=77, first=_duplicate(one, other))
        assert [t.getsockname() for t in taken] == [one.getsockname(), other.getsockname()]
    assert environment == {"HOME": "/"}
    assert not any(t.get_inheritable() or t.getblocking() for t in taken)
    for t in taken:
        t.close()


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "78"}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "77"}],
)
def test_what_is_meant_for_nobody_or_another_is_left_alone(environment: dict[str, str]) -> None:
    assert inherited_sockets(environment, pid=77, first=200) == []
    assert "LISTEN_PID" not in environment


def test_a_descriptor_that_does_not_listen_is_an_error() -> None:
    with socket.socket() as quiet:
        first = _duplicate(quiet)
        with pytest.raises(ConfigError, match="no listening stream socket"):
            inherited_sockets({"LISTEN_FDS": "1", "LISTEN_PID": "77"}, pid=77, first=first)
        os.close(first)


def test_a_descriptor_that_is_no_socket_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        os.dup2(file.fileno(), 200)
    with pytest.raises(ConfigError, match="is no socket"):
        inherited_sockets({"LISTEN_FDS": "1", "LISTEN_PID": "77"}, pid=77, first=200)
    os.close(200)
    with pytest.raises(ConfigError, match="65 sockets"):
        inherited_sockets({"LISTEN_FDS": "65", "LISTEN_PID": "77"}, pid=77, first=200)


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_manager_is_told(tmp_path: Path, is_abstract: bool) -> None:
    place = f"\0moorage-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": place.replace("\0", "@")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place)
        manager.settimeout(5)
        ServiceManager(environment).tell("RELOADING=1", "MONOTONIC_USEC=5")
        assert manager.recv(100) == b"RELOADING=1\nMONOTONIC_USEC=5"
    assert environment == {}


def test_no_manager_and_one_that_has_gone_are_not_told(tmp_path: Path) -> None:
    ServiceManager({}).tell("READY=1")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")}).tell("READY=1")
