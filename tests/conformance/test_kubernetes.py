"""The backend contract on a real cluster, with the rights of ``deploy/kubernetes/role.yaml`` and no more.

Where each test takes a pod, and so some seconds, here is how bytes flow and guests live; ``make soak`` has all.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.conformance.clusters import NAMESPACE, ClusterStarts, OnCluster, cluster_config
from tests.conformance.test_docker import TRAP
from tests.parts.kubernetes import Cluster

from moorage.gateway.contract import Backend, Guest
from moorage.testing.backend import BackendConformance
from moorage.testing.suite import ended, run, start
from moorage.testing.suite_flow import FlowTests
from moorage.testing.suite_life import LifeTests
from moorage.testing.suite_programs import ProgramTests
from moorage.testing.suite_terminal import TerminalTests

pytestmark = pytest.mark.kubernetes


class TestAttach(OnCluster, FlowTests, LifeTests):
    """Our agent, one pod for all programs of a connection; programs are the same on any stream."""

    pod: ClassVar[Mapping[str, Any]] = {"spec": {"terminationGracePeriodSeconds": 0}}
    cancel_points = 4


@pytest.fixture(scope="module")
def persistent(kubernetes_cluster: Cluster) -> Iterator[str]:
    """The pod that stays; the first test has it made."""
    name = "shell-of-mia"
    yield name
    for pod in kubernetes_cluster.pods(NAMESPACE):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
        kubernetes_cluster.call("DELETE", path, query="gracePeriodSeconds=0")


class TestPersistent(OnCluster, BackendConformance):
    """A pod that stays: our agent in it by one exec for each connection."""

    @pytest.fixture(autouse=True)
    def _parts(self, kubernetes_cluster: Cluster, persistent: str) -> None:
        self.real = kubernetes_cluster
        pod = {"mode": "persistent", "createMissingPods": True, "metadata": {"name": persistent}}
        self._config = cluster_config(kubernetes_cluster, "busybox", **pod)

    async def leftovers(self, backend: Backend) -> list[str]:
        for _ in range(100):  # the stream is closed, which the cluster's node has yet to tell the agent
            if not agents():
                break
            await asyncio.sleep(0.1)
        return [f"agent {pid}" for pid in agents()]

    async def lose(self, backend: Backend, guest: Guest) -> None:
        for pid in agents():
            os.kill(pid, signal.SIGKILL)


class TestContainersshAgent(ClusterStarts, ProgramTests, TerminalTests):  # type: ignore[misc]
    """The image's own agent in a pod that stays: PIDs, signals and files come from it; the cluster starts programs."""

    @pytest.fixture(autouse=True)
    def _parts(self, kubernetes_cluster: Cluster, persistent: str) -> None:
        self.real = kubernetes_cluster
        pod = {"mode": "persistent", "createMissingPods": True, "metadata": {"name": f"{persistent}-too"}}
        more = {"agent": "containerssh", "shellCommand": ["/bin/sh"]}
        self._config = cluster_config(kubernetes_cluster, "containerssh", **pod, **more)

    async def leftovers(self, backend: Backend) -> list[str]:
        return []  # the pod stays

    async def test_signal_reaches_the_process(self, guest: Guest) -> None:
        process, recorder = await start(guest, TRAP)
        await recorder.until_output(b"ready")
        process.signal("USR1")
        assert (await ended(process)).code == 4
        assert b"caught" in recorder.stdout


class TestNoAgent(ClusterStarts):
    """No agent at all: what was started ends with its pod at the latest."""

    pod: ClassVar[Mapping[str, Any]] = {
        "disableAgent": True,
        "idleCommand": ["/bin/sleep", "100000"],
        "shellCommand": ["/bin/sh"],
        "spec": {"terminationGracePeriodSeconds": 0},
    }

    async def test_an_unknown_program_is_told_to_the_user(self, guest: Guest) -> None:
        result = await run(guest, "/no/such/program")
        assert result.status.code == 127
        assert b"no such file" in result.stderr


def agents() -> list[int]:
    """The agents that serve a connection in a pod that stays, and none of other guests on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (entry / "cmdline").exists():
            try:
                is_agent = (entry / "cmdline").read_bytes().startswith(b"/.moorage/agent\0serve\0")
                if is_agent and b"KUBERNETES_SERVICE_HOST=" in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
