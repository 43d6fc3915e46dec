"""What needs no engine: addresses, frames, argument lists, container bodies and leases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.backend.argv import program_argv, program_environment
from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.demux import STDERR, STDOUT, Demux, FramingError
from moorage.backend.docker.injection import Doors
from moorage.backend.docker.spec import Injection, agent_container, idle_container, platform_name, program_container
from moorage.backend.lease import Lease, Owner
from moorage.config import AppConfig
from moorage.config.sections.docker import DockerExecutionConfig
from moorage.errors import ConfigError, Refused
from moorage.gateway.model import (
    Address,
    Attempt,
    ConnectionId,
    Login,
    Metadata,
    Program,
    ProgramKind,
    Pty,
    Size,
    TextValue,
)

LEASE = Lease("instance", "owner", 1000.0, 1060.0)
INJECTION = Injection({"Type": "bind", "Source": "/d", "Target": "/.moorage"}, ("/.moorage/agent", "serve"), False)


def login(execution: Mapping[str, Any] | None = None, *, username: str = "alice", **variables: Any) -> Login:
    config = AppConfig.model_validate({"docker": {"execution": {"container": {"Image": "i"}, **(execution or {})}}})
    metadata = Metadata(
        metadata={"M": TextValue("shown"), "BOTH": TextValue("metadata")},
        environment={name: TextValue(value) for name, value in variables.items()},
    )
    attempt = Attempt(ConnectionId("ab" * 16), Address("2001:db8::1", 4), "x", username, metadata=metadata)
    return Login(attempt, "password", config)


def execution(of: Login) -> DockerExecutionConfig:
    return of.config.docker.execution


# Addresses


@pytest.mark.parametrize(
    ("text", "url", "secure"),
    [
        ("tcp://h:1", "http://h:1", False),
        ("h:1", "http://h:1", False),
        ("127.0.0.1:2375", "http://127.0.0.1:2375", False),
        ("http://h", "http://h:2375", False),
        ("https://h", "https://h:2376", True),
        ("tcp://[::1]:9/base/", "http://[::1]:9/base", False),
    ],
)
def test_an_address_may_be_written_in_many_ways(text: str, url: str, secure: bool) -> None:
    address = EngineAddress.parse(text)
    assert (address.base_url, address.secure, address.is_local) == (url, secure, False)


def test_a_unix_socket_is_local() -> None:
    address = EngineAddress.parse("unix:///run/x.sock")
    assert (address.socket, address.is_local) == (Path("/run/x.sock"), True)


@pytest.mark.parametrize(
    "text", ["unix://relative", "npipe:////./pipe/x", "ssh://h", "tcp://", "tcp://h:port", "tcp://u@h:1", "tcp://h:1?x"]
)
def test_an_unusable_address_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"docker\.connection\.host"):
        EngineAddress.parse(text)


def test_certificates_mean_tls_and_never_show() -> None:
    address = EngineAddress.parse("tcp://h", ca="CA", certificate="CERT", key="SECRET")
    assert address.base_url == "https://h:2376"
    assert "SECRET" not in repr(address)
    with pytest.raises(ConfigError, match="certificate cannot be used"):
        address.context()


# Frames


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.binary(max_size=50))), st.data())
def test_frames_come_apart_however_they_are_cut(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    wire = b"".join(bytes([kind, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for kind, part in frames)
    demux, got = Demux(), {STDOUT: b"", STDERR: b""}
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        for kind, piece in demux.feed(wire[:size]):
            assert piece
            got[kind] += piece
        wire = wire[size:]
    assert got[STDOUT] == b"".join(part for kind, part in frames if kind != 2)
    assert got[STDERR] == b"".join(part for kind, part in frames if kind == 2)
    assert demux.is_between_frames


@pytest.mark.parametrize("header", [b"\x03\0\0\0\0\0\0\1", b"\1\1\0\0\0\0\0\1", b"HTTP/1.1"])
def test_what_is_no_frame_is_an_error(header: bytes) -> None:
    with pytest.raises(FramingError):
        list(Demux().feed(header))


def test_a_lying_length_costs_nothing() -> None:
    demux = Demux()
    assert list(demux.feed(b"\1\0\0\0\xff\xff\xff\xff" + b"x" * 10)) == [(1, b"x" * 10)]
    assert not demux.is_between_frames


# Argument lists


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("/bin/echo a  b", ["/bin/echo", "a", "b"]),
        ("/bin/echo a; rm b", ["/bin/sh", "-c", "/bin/echo a; rm b"]),
        ("/bin/ls | wc -l", ["/bin/sh", "-c", "/bin/ls | wc -l"]),
        ("/bin/echo $HOME *", ["/bin/sh", "-c", "/bin/echo $HOME *"]),
        ("/bin/echo 'a b'", ["/bin/sh", "-c", "/bin/echo 'a b'"]),
        ("/bin/a\nb", ["/bin/sh", "-c", "/bin/a\nb"]),
        ("~/x", ["/bin/sh", "-c", "~/x"]),
        ("", ["/bin/sh", "-c", ""]),
        ("   ", ["/bin/sh", "-c", "   "]),
        (";", ["/bin/sh", "-c", ";"]),
        ("ls", ["/bin/sh", "-c", "ls"]),
        ("./x y", ["/bin/sh", "-c", "./x y"]),
    ],
)
def test_only_plain_absolute_commands_go_without_a_shell(text: str, argv: list[str]) -> None:
    program = Program(ProgramKind.EXEC, text.encode())
    assert program_argv(program, shell=["/bin/bash"], subsystems={}) == argv


def test_shell_and_subsystem_are_what_is_configured() -> None:
    shell = program_argv(Program(ProgramKind.SHELL), shell=["/bin/zsh", "-l"], subsystems={})
    assert shell == ["/bin/zsh", "-l"]
    sftp = Program(ProgramKind.SUBSYSTEM, b"sftp")
    assert program_argv(sftp, shell=[], subsystems={"sftp": "/s"}) == ["/s"]
    for refused in (
        Program(ProgramKind.SHELL),
        sftp,
        Program(ProgramKind.EXEC, b"\xff"),
        Program(ProgramKind.EXEC, b"\0"),
    ):
        with pytest.raises(Refused) as caught:
            program_argv(refused, shell=[], subsystems={})
        assert caught.value.user_text


def test_a_terminal_sets_term() -> None:
    program = Program(ProgramKind.SHELL, environment={b"A": b"1"}, pty=Pty(b"xterm", Size()))
    assert program_environment(program) == {"A": "1", "TERM": "xterm"}


# Container bodies


def test_what_is_configured_passes_unchanged() -> None:
    host = {"Memory": 5, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "NetworkMode": "n", "Init": True}
    of = login({"host": host, "container": {"Image": "i", "User": "7", "WorkingDir": "/w", "Labels": {"mine": "1"}}})
    body = agent_container(execution(of), of, LEASE, INJECTION, companion=()).body
    assert host.items() <= body["HostConfig"].items()
    assert (body["User"], body["WorkingDir"], body["Labels"]["mine"]) == ("7", "/w", "1")
    assert body["HostConfig"]["AutoRemove"] is True
    assert body["HostConfig"]["LogConfig"]["Type"] == "none"
    assert body["Entrypoint"] == ["/.moorage/agent"]
    assert body["Cmd"] == ["serve"]


def test_the_configuration_itself_stays_as_it_is() -> None:
    of = login({"host": {"Mounts": [{"Target": "/x"}]}})
    before = of.config.model_dump()
    for _ in range(2):
        body = agent_container(execution(of), of, LEASE, INJECTION, companion=()).body
        assert [mount["Target"] for mount in body["HostConfig"]["Mounts"]] == ["/x", "/.moorage"]
    assert of.config.model_dump() == before


def test_a_guest_is_never_restarted() -> None:
    of = login({"host": {"RestartPolicy": {"Name": "always"}}})
    assert "RestartPolicy" not in agent_container(execution(of), of, LEASE, INJECTION, companion=()).body["HostConfig"]


def test_a_companion_is_handed_to_the_agent() -> None:
    of = login()
    body = agent_container(execution(of), of, LEASE, INJECTION, companion=("/entry", "a b")).body
    assert body["Cmd"] == ["serve", "--idle", "--", "/entry", "a b"]


def test_labels_tell_who_it_is_for_and_whose_it_is() -> None:
    of = login(username="al\nice" + "x" * 1000)
    labels = idle_container(execution(of), of, LEASE).body["Labels"]
    assert labels["containerssh_connection_id"] == "ab" * 16
    assert labels["containerssh_ip"] == "2001:db8::1"
    assert labels["containerssh_username"] == "al?ice" + "x" * 250
    assert Lease.read(labels) == LEASE


@pytest.mark.parametrize(("expose", "shown"), [(True, ["M=shown", "BOTH=given"]), (False, ["BOTH=given"])])
def test_the_environment_is_the_same_in_every_mode(expose: bool, shown: list[str]) -> None:
    of = login(
        {"exposeAuthMetadataAsEnv": expose, "container": {"Image": "i", "Env": ["BOTH=configured", "C=1", "GONE"]}},
        BOTH="given",
    )
    wanted = {"C=1", "GONE", *shown}
    bodies = [
        agent_container(execution(of), of, LEASE, INJECTION, companion=()).body,
        idle_container(execution(of), of, LEASE).body,
        program_container(execution(of), of, LEASE, argv=["/x"], environment={}, tty=False).body,
    ]
    assert [set(body["Env"]) for body in bodies] == [wanted] * 3


def test_variables_are_bounded_and_possible() -> None:
    of = login(None, **{"A=B": "x", "N": "a\0b", "": "x", "BIG": "x" * 200_000, "OK": "1"})
    assert idle_container(execution(of), of, LEASE).body["Env"] == ["OK=1"]


def test_names_are_ours_unless_configured() -> None:
    of = login()
    names = {idle_container(execution(of), of, LEASE).name for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("moorage-abababab") for name in names)
    named = login({"containername": "mine"})
    assert idle_container(execution(named), named, LEASE).name == "mine"


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ({}, ""),
        ({"architecture": "arm64", "os": "linux"}, "linux/arm64"),
        ({"Architecture": "arm", "OS": "linux", "Variant": "v7"}, "linux/arm/v7"),
        ({"architecture": "arm64"}, "linux/arm64"),
        ({"os.version": "1"}, ""),
    ],
)
def test_a_platform_is_written_as_the_engine_wants_it(platform: dict[str, str], name: str) -> None:
    assert platform_name(platform) == name


# Leases


def test_labels_that_hold_no_lease_are_none() -> None:
    assert Lease.read({}) is None
    assert Lease.read({**LEASE.labels(), "moorage_created": "soon"}) is None


def test_a_launch_is_over_after_its_deadline_and_some_slack() -> None:
    assert not LEASE.launch_is_over(1060.0 + 119)
    assert LEASE.launch_is_over(1060.0 + 121)


def test_an_owner_lives_as_long_as_its_process(tmp_path: Path) -> None:
    first = Owner(tmp_path / "o")
    second = Owner(tmp_path / "o")
    assert second.is_alive(first.token)
    assert first.directory.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "o").stat().st_mode & 0o777 == 0o700
    first.release()
    first.release()
    assert not second.is_alive(first.token)
    assert not first.directory.exists()
    second.release()


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        owner = Owner(tmp_path)
        (owner.directory / "guest").mkdir()
        os._exit(0)  # as a kill would: nothing is released
    os.waitpid(child, 0)
    (left,) = (path.name for path in tmp_path.iterdir() if path.is_dir())
    owner = Owner(tmp_path)
    assert not owner.is_alive(left)
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", owner.token, f"{owner.token}.lock"}
    owner.release()


@pytest.mark.parametrize("token", ["", "../x", "none"])
def test_a_strange_token_is_nobody(tmp_path: Path, token: str) -> None:
    owner = Owner(tmp_path)
    assert not owner.is_alive(token)
    owner.release()


# Doors


def test_a_door_is_open_to_any_user_of_the_guest_and_gone_when_closed(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)  # longer than a socket's address
    directory.mkdir()
    door = Doors(directory).open("amd64")
    (source,) = (Path(door.injection.mount["Source"]) for _ in "x")
    assert source.stat().st_mode & 0o777 == 0o755
    assert (source / "socket").stat().st_mode & 0o777 == 0o666
    assert (source / "agent").stat().st_mode & 0o777 == 0o555
    assert door.injection.mount["ReadOnly"] is True
    door.close()
    door.close()
    assert not source.exists()
