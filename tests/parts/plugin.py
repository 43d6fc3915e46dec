"""The real parts as pytest fixtures, one for the whole session each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from tests.parts import engine, images, kubernetes, podman
from tests.parts.engine import RealEngine

ONE_AT_A_TIME: Final = ("podman_engine", "kubernetes_cluster")
"""Fixtures of parts that a machine can have only once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several workers share the tests, a file stays with one of them, and so does a part that is there once."""
    for item in items:
        names: Sequence[str] = getattr(item, "fixturenames", ())
        parts = [name for name in ONE_AT_A_TIME if name in names]
        item.add_marker(pytest.mark.xdist_group(parts[0] if parts else item.nodeid.partition("::")[0]))


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


@pytest.fixture(scope="session")
def kubernetes_cluster() -> Iterator[kubernetes.Cluster]:
    """A Kubernetes of one node."""
    with kubernetes.cluster() as running:
        yield running
