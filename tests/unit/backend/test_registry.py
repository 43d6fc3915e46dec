"""Backends are found by name, made once and late, and closed together."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.backend.docker.backend import DockerBackend
from moorage.backend.registry import Backends
from moorage.config import AppConfig
from moorage.errors import ConfigError


@pytest.fixture
def backends(tmp_path: Path) -> Backends:
    return Backends(state_directory=tmp_path / "state", instance="instance")


def test_the_built_in_backends_are_installed() -> None:
    assert {"docker", "sandbox"} <= Backends.names()


async def test_a_backend_is_made_once_and_touches_nothing(backends: Backends, tmp_path: Path) -> None:
    backend = backends.get("docker")
    assert isinstance(backend, DockerBackend)
    assert backends.get("docker") is backend
    assert not (tmp_path / "state").exists()
    await backends.close()
    await backends.close()
    assert backends.get("docker") is not backend


def test_an_unknown_backend_is_told_with_those_that_exist(backends: Backends) -> None:
    with pytest.raises(ConfigError, match=r"no backend 'nomad'.*docker.*sandbox"):
        backends.get("nomad")


async def test_starting_without_a_configuration_makes_nothing(backends: Backends) -> None:
    await backends.start()
    await backends.close()


async def test_starting_prepares_the_configured_backend(backends: Backends, tmp_path: Path) -> None:
    connection = {"host": f"unix://{tmp_path / 'no-engine'}"}
    await backends.start(AppConfig.model_validate({"backend": "docker", "docker": {"connection": connection}}))
    assert (tmp_path / "state" / "docker").is_dir()
    await backends.close()
