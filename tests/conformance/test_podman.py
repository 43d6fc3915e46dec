"""The backend contract on Podman's Docker-compatible API, over both streams of our agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from tests.conformance.engines import OnEngine
from tests.parts.engine import RealEngine

from moorage.testing.backend import BackendConformance
from moorage.testing.suite_flow import FlowTests
from moorage.testing.suite_life import LifeTests

pytestmark = pytest.mark.podman


class OnPodman(OnEngine):
    """Podman with the busybox image."""

    cancel_points = 5

    @pytest.fixture(autouse=True)
    def _parts(self, podman_engine: RealEngine, podman_busybox_image: str) -> None:
        self.real, self.image = podman_engine, podman_busybox_image


class TestSocket(OnPodman, BackendConformance):
    """Our agent, over a socket in a mounted directory."""

    execution: ClassVar[Mapping[str, Any]] = {"stream": "socket"}


class TestAttach(OnPodman, FlowTests, LifeTests):
    """Our agent, over the engine's attach: how bytes flow and guests live; programs are the same on any stream."""

    execution: ClassVar[Mapping[str, Any]] = {"stream": "attach"}
