"""Where the agent's binaries are, and what is said when they are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moorage.agent import install
from moorage.errors import BackendError


@pytest.mark.parametrize("name", ["amd64", "x86_64", "arm64", "aarch64"])
def test_there_is_an_agent_for_every_architecture(name: str) -> None:
    path = install.agent_binary(name)
    assert path.name == f"moorage-agent-linux-{'amd64' if name in ('amd64', 'x86_64') else 'arm64'}"
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("name", ["riscv64", "", "../../etc/passwd"])
def test_another_architecture_is_an_error(name: str) -> None:
    with pytest.raises(BackendError, match="only for amd64, arm64"):
        install.agent_binary(name)


def test_a_package_without_the_agent_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(BackendError, match="install a wheel"):
        install.agent_binary("amd64")
