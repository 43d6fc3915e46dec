"""The command line of a sandbox, as a function of what it is to have."""

import os
from pathlib import Path

import pytest

from moorage.backend.sandbox.bubblewrap import AGENT_PATH, GuestSystem, account_name, command


def build(tmp_path: Path, **system: object) -> list[str]:
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    built = command("bwrap", GuestSystem(username="mia", **system), agent)  # type: ignore[arg-type]
    built.close()
    return built.arguments


def pairs(arguments: list[str], option: str) -> list[tuple[str, str]]:
    return [(arguments[i + 1], arguments[i + 2]) for i, argument in enumerate(arguments) if argument == option]


@pytest.mark.parametrize(
    ("username", "account"),
    [("mia", "mia"), ("m-1_x", "m-1_x"), ("root", "user"), ("", "user"), ("Mia", "user"), ("a" * 33, "user"),
     ("a/b", "user"), ("a\nb", "user"), ("1a", "user"), ("é", "user")],
)  # fmt: skip
def test_an_account_has_a_name_that_every_system_takes(username: str, account: str) -> None:
    assert account_name(username) == account


def test_every_namespace_is_private(tmp_path: Path) -> None:
    arguments = build(tmp_path)
    assert {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"} <= set(arguments)
    assert {"--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"} <= set(arguments)


def test_the_network_is_shared_only_when_asked_for(tmp_path: Path) -> None:
    assert "--unshare-net" not in build(tmp_path, share_network=True)
    assert ("/etc/resolv.conf", "/etc/resolv.conf") not in pairs(build(tmp_path), "--ro-bind-try")
    assert ("/etc/resolv.conf", "/etc/resolv.conf") in pairs(build(tmp_path, share_network=True), "--ro-bind-try")


def test_a_guest_without_a_network_knows_localhost_and_itself(tmp_path: Path) -> None:
    places = [place for _, place in pairs(build(tmp_path), "--ro-bind-data")]
    assert "/etc/hosts" in places
    assert "/etc/hosts" not in [place for _, place in pairs(build(tmp_path, share_network=True), "--ro-bind-data")]


def test_nothing_of_the_host_is_writable(tmp_path: Path) -> None:
    arguments = build(tmp_path)
    assert "--bind" not in arguments
    assert "--dev-bind" not in arguments
    assert arguments[arguments.index("--remount-ro") + 1] == "/"


def test_mounts_are_read_only_unless_they_may_be_written_to(tmp_path: Path) -> None:
    arguments = build(tmp_path, mounts=[("/host/a", "/srv/a", False), ("/host/b", "/home/mia/b", True)])
    assert ("/host/a", "/srv/a") in pairs(arguments, "--ro-bind")
    assert pairs(arguments, "--bind") == [("/host/b", "/home/mia/b")]
    assert arguments.index("--bind") < arguments.index("--remount-ro")
    assert "--dev-bind" not in arguments


def test_a_rootfs_is_mounted_entry_by_entry_but_for_the_guests_own_places(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("usr", "opt", "tmp", "home", "proc", "dev"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    arguments = build(tmp_path, rootfs=root)
    assert pairs(arguments, "--ro-bind")[:2] == [(str(root / "opt"), "/opt"), (str(root / "usr"), "/usr")]
    assert pairs(arguments, "--symlink") == [("usr/bin", "/bin")]


def test_the_agent_serves_its_standard_input(tmp_path: Path) -> None:
    arguments = build(tmp_path)
    assert arguments[arguments.index("--") + 1 :] == [AGENT_PATH, "serve", "--fd", "0"]
    arguments = build(tmp_path, rlimits={"nproc": 9, "data": 10})
    assert arguments[-4:] == ["--rlimit", "nproc=9", "--rlimit", "data=10"]


def test_an_agent_where_nobody_may_look_is_handed_over_as_content(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "agent").write_bytes(b"agent")
    built = command("bwrap", GuestSystem(username="mia"), private / "agent")
    assert AGENT_PATH in [place for _, place in pairs(built.arguments, "--ro-bind-data")]
    built.close()


def test_the_user_database_names_the_guest_and_its_shell(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nmia:x:7:7::/x:/x\nother:x:1000:5::/:/y\n")
    (root / "bin").mkdir()
    (root / "bin" / "sh").touch()
    (tmp_path / "agent").touch()
    built = command("bwrap", GuestSystem(username="mia", rootfs=root), tmp_path / "agent")
    passwd = next(int(number) for number, place in pairs(built.arguments, "--ro-bind-data") if place == "/etc/passwd")
    content = os.pread(passwd, 4096, 0).decode()
    built.close()
    assert content == "mia:x:1000:1000::/home/mia:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n"


def test_a_rootfs_that_cannot_be_read_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        build(tmp_path, rootfs=tmp_path / "missing")
    assert len(os.listdir("/proc/self/fd")) == before


def test_variables_are_in_a_file_and_not_among_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "agent").touch()
    system = GuestSystem(username="mia", environment={"TOKEN": "c4n4ry", "TWO": "a b\nc"})
    built = command("bwrap", system, tmp_path / "agent")
    assert "c4n4ry" not in " ".join(built.arguments)
    file = int(built.arguments[built.arguments.index("--args") + 1])
    words = os.pread(file, 4096, 0).decode().split("\0")
    built.close()
    assert {("TOKEN", "c4n4ry"), ("TWO", "a b\nc"), ("USER", "mia")} <= set(pairs(words, "--setenv"))


def test_a_variable_cannot_smuggle_in_an_option(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="NUL"):
        build(tmp_path, environment={"A": "b\0--bind\0/\0/host"})
    assert len(os.listdir("/proc/self/fd")) == before
