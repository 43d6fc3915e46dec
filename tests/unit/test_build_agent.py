"""The agent is compiled when its sources changed, the same way everywhere, and travels in the wheel."""

from __future__ import annotations

import os
import re
import shutil
import struct
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import build_agent
import pytest
from build_agent import ARCHITECTURES, GO_PACKAGE, ROOT, SKIP, Agent, BuildFailed, find_go, get_build_hook, release
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder


@pytest.fixture(autouse=True)
def not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SKIP, raising=False)


@pytest.fixture
def copy(tmp_path: Path) -> Agent:
    """The sources in a place of their own, not built."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "guest", root / "guest", ignore=shutil.ignore_patterns("testdata"))
    (root / "src" / "moorage").mkdir(parents=True)
    shutil.copy(ROOT / "src" / "moorage" / "__init__.py", root / "src" / "moorage" / "__init__.py")
    return Agent(root)


def pretend_built(agent: Agent) -> None:
    agent.bin.mkdir(parents=True)
    for name in ARCHITECTURES:
        agent.binary(name).write_bytes(b"binary")
    (agent.bin / "LICENSE.agent").write_text("licence")
    agent.stamp.write_text(agent.fingerprint() + "\n")


def fake_go(directory: Path, answer: str) -> Path:
    directory.mkdir(parents=True)
    go = directory / "go"
    go.write_text(f"#!/bin/sh\n{answer}\n")
    go.chmod(0o755)
    return go


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_agent, "find_go", lambda _needed: None)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("go1.26.8", (1, 26, 8)), ("1.25.0", (1, 25, 0)), ("go1.27rc2", (1, 27)), ("devel", (0,)), ("", (0,))],
)
def test_release(text: str, numbers: tuple[int, ...]) -> None:
    assert release(text) == numbers


def test_what_go_mod_asks_for() -> None:
    assert Agent().needed_go >= (1, 24)


@pytest.mark.parametrize("name", ["main.go", "go.mod", "go.sum", "licenses.txt", "nossh/ssh/ssh.go"])
def test_a_changed_source_is_noticed(copy: Agent, name: str) -> None:
    pretend_built(copy)
    assert copy.is_current()
    with (copy.sources / name).open("a") as file:
        file.write("\n")
    assert not copy.is_current()


def test_a_changed_version_is_noticed(copy: Agent) -> None:
    pretend_built(copy)
    (copy.sources.parent / "src" / "moorage" / "__init__.py").write_text('__version__ = "99"\n')
    assert copy.version == "99"
    assert not copy.is_current()


def test_a_test_is_no_source(copy: Agent) -> None:
    pretend_built(copy)
    (copy.sources / "new_test.go").write_text("package main\n")
    assert copy.is_current()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_missing_binary_is_noticed(copy: Agent, name: str) -> None:
    pretend_built(copy)
    copy.binary(name).unlink()
    assert not copy.is_current()


@pytest.mark.usefixtures("no_go")
def test_nothing_is_compiled_twice(copy: Agent) -> None:
    pretend_built(copy)
    copy.build()
    assert copy.binary("amd64").read_bytes() == b"binary"


@pytest.mark.usefixtures("no_go")
def test_without_go_it_says_what_to_do(copy: Agent) -> None:
    with pytest.raises(BuildFailed, match=rf"Go 1\.[0-9.]+ or later.*pip install {GO_PACKAGE}.*\n.*{SKIP}=1"):
        copy.build()
    assert not copy.bin.exists()


def test_a_compiler_error_is_shown_and_leaves_the_old_binaries(copy: Agent) -> None:
    pretend_built(copy)
    (copy.sources / "broken.go").write_text("package main\nfunc broken() { nonsense }\n")
    with pytest.raises(BuildFailed, match=r"amd64:\n(.|\n)*broken\.go:2.*nonsense"):
        copy.build()
    assert copy.binary("amd64").read_bytes() == b"binary"
    assert {path.name for path in copy.bin.iterdir()} >= {"LICENSE.agent"}
    assert not copy.is_current()
    assert not [path for path in copy.bin.iterdir() if path.is_dir()]


def test_an_old_go_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path / "old", "echo go1.19.8")
    packaged = fake_go(tmp_path / "site" / "go" / "bin", "echo go99.1")
    (tmp_path / "site" / "go" / "__init__.py").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_go((99,)) == packaged
    assert find_go((99, 2)) is None


def test_a_go_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path / "bin", "exit 3")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_go((99,)) is None


def test_the_environment_is_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GOFLAGS": "-race", "GOOS": "plan9", "CGO_ENABLED": "1", "GOTOOLCHAIN": "auto"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOCACHE", str(tmp_path))
    with build_agent.go_environment(tmp_path / "go", "arm64") as environment:
        assert environment["GOFLAGS"] == "-mod=readonly"
        assert (environment["GOOS"], environment["GOARCH"], environment["CGO_ENABLED"]) == ("linux", "arm64", "0")
        assert environment["GOTOOLCHAIN"] == "local"
        assert environment["GOCACHE"] == str(tmp_path)


def test_without_a_home_the_caches_are_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "GOPATH"):
        monkeypatch.delenv(name, raising=False)
    with build_agent.go_environment(tmp_path / "go", "amd64") as environment:
        caches = [Path(environment["GOCACHE"]), Path(environment["GOMODCACHE"])]
        assert all(cache.is_dir() for cache in caches)
    assert not any(cache.exists() for cache in caches)


def test_the_binaries_are_static_small_and_the_same_again(copy: Agent) -> None:
    Agent().build()
    copy.build()
    for name, machine in {"amd64": 62, "arm64": 183}.items():
        path = copy.binary(name)
        content = path.read_bytes()
        assert content[:5] == b"\x7fELF\x02"
        assert struct.unpack_from("<H", content, 18) == (machine,)
        program_headers = [struct.unpack_from("<I", content, 64 + 56 * i)[0] for i in range(content[56])]
        assert 3 not in program_headers, "a static program asks for no interpreter"
        assert len(content) <= 4_000_000
        assert path.stat().st_mode & 0o777 == 0o755
        assert str(ROOT).encode() not in content
        assert content == Agent().binary(name).read_bytes()
    assert copy.is_current()


def hook(root: Path, target: str) -> Any:
    builder = SimpleNamespace(PLUGIN_NAME=target)
    return get_build_hook()(str(root), {}, builder, SimpleNamespace(), str(root / "dist"), target)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_go")
def test_go_is_asked_for_only_where_it_is_needed(copy: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy.sources.parent
    assert hook(root, "wheel").dependencies() == [GO_PACKAGE]
    assert hook(root, "sdist").dependencies() == []
    monkeypatch.setenv(SKIP, "1")
    assert hook(root, "wheel").dependencies() == []
    monkeypatch.delenv(SKIP)
    pretend_built(copy)
    assert hook(root, "wheel").dependencies() == []


def test_with_go_nothing_is_asked_for(copy: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_agent, "find_go", lambda _needed: Path(sys.executable))
    assert hook(copy.sources.parent, "wheel").dependencies() == []


def test_skipping_is_said_aloud(
    copy: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SKIP, "1")
    data: dict[str, Any] = {"artifacts": []}
    hook(copy.sources.parent, "wheel").initialize("standard", data)
    assert data == {"artifacts": []}
    assert not copy.bin.exists()
    assert "no guest agent" in capsys.readouterr().err


def test_the_wheel_carries_both_and_is_the_same_again(tmp_path: Path) -> None:
    contents = []
    for directory in ("one", "two"):
        [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / directory), versions=["standard"])
        contents.append(Path(wheel).read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(wheel) as archive:
        for name in ARCHITECTURES:
            entry = archive.getinfo(f"moorage/agent/bin/moorage-agent-linux-{name}")
            assert entry.external_attr >> 16 & 0o777 == 0o755
            assert archive.read(entry) == Agent().binary(name).read_bytes()
        assert archive.read("moorage/agent/bin/LICENSE.agent") == (ROOT / "guest" / "licenses.txt").read_bytes()
        assert "moorage/agent/bin/moorage-agent-sources.sha256" not in archive.namelist()


def test_the_sdist_carries_the_sources_only(tmp_path: Path) -> None:
    [sdist] = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"build_agent.py", "guest/main.go", "guest/go.sum", "guest/licenses.txt"} <= names
    assert not [name for name in names if "moorage-agent-" in name]


def test_every_module_has_its_licence() -> None:
    text = (ROOT / "guest" / "go.mod").read_text()
    replaced = re.findall(r"^replace (\S+) => \./", text, re.MULTILINE)
    modules = set(re.findall(r"^\t(\S+\.\S+/\S+) v", text, re.MULTILINE)) - set(replaced)
    texts = (ROOT / "guest" / "licenses.txt").read_text()
    assert modules
    assert [module for module in modules if module not in texts] == []
    assert (Agent().bin / "LICENSE.agent").read_text() == texts
