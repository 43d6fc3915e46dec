"""The real parts as pytest fixtures, one for the whole session each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.parts import engine, images, podman
from tests.parts.engine import RealEngine


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[RealEngine]:
    """A Docker engine."""
    with engine.docker() as running:
        yield running


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[RealEngine]:
    """A Podman service."""
    with podman.podman() as running:
        yield running


@pytest.fixture(scope="session")
def busybox_image(docker_engine: RealEngine) -> str:
    """The busybox image's name on the Docker engine."""
    return images.busybox(docker_engine)


@pytest.fixture(scope="session")
def debian_image(docker_engine: RealEngine) -> str:
    """The Debian image's name on the Docker engine."""
    return images.debian(docker_engine)


@pytest.fixture(scope="session")
def scratch_image(docker_engine: RealEngine) -> str:
    """The name on the Docker engine of the image from scratch."""
    return images.scratch(docker_engine)


@pytest.fixture(scope="session")
def containerssh_image(docker_engine: RealEngine) -> str:
    """The name on the Docker engine of the image that brings an agent of its own."""
    return images.containerssh(docker_engine)


@pytest.fixture(scope="session")
def podman_busybox_image(podman_engine: RealEngine) -> str:
    """The busybox image's name on Podman."""
    return images.busybox(podman_engine)
