"""The backend contract on a Docker engine: both streams of our agent, the image's own agent, and none."""

from __future__ import annotations

import pytest

from tests.conformance.engines import EngineConformance
from tests.parts.engine import RealEngine

pytestmark = pytest.mark.docker


class OnDocker(EngineConformance):
    """The suite on Docker with the busybox image."""

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, busybox_image: str) -> None:
        self.real, self.image = docker_engine, busybox_image


class TestSocket(OnDocker):
    """Our agent, over a socket in a mounted directory."""

    execution = {"stream": "socket"}


class TestAttach(OnDocker):
    """Our agent, over the engine's attach."""

    execution = {"stream": "attach"}


class TestSession(OnDocker):
    """Our agent, a fresh container for each program."""

    execution = {"mode": "session"}


class TestContainersshAgent(EngineConformance):
    """The image's own agent; the engine starts the programs."""

    execution = {"agent": "containerssh", "shellCommand": ["/bin/sh"]}
    has_sftp = False
    has_pty_modes = False
    has_signals = False

    @pytest.fixture(autouse=True)
    def _parts(self, docker_engine: RealEngine, containerssh_image: str) -> None:
        self.real, self.image = docker_engine, containerssh_image


class TestNoAgent(OnDocker):
    """No agent at all; the engine starts the programs."""

    execution = {"disableAgent": True, "idleCommand": ["/bin/sleep", "100000"], "shellCommand": ["/bin/sh"]}
    has_sftp = False
    has_pty_modes = False
    has_signals = False
