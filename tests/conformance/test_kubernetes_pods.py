"""Pods that stay are found, made where that is allowed, used as they are, and never removed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.clusters import NAMESPACE, OnCluster, cluster_config, gateway_token, kubernetes_backend
from tests.parts.kubernetes import ApiError, Cluster

from moorage.backend.kubernetes import KubernetesBackend
from moorage.errors import BackendError
from moorage.testing.suite import run

pytestmark = pytest.mark.kubernetes

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@pytest.fixture
def name(kubernetes_cluster: Cluster) -> Iterator[str]:
    """A name for a pod of this test."""
    yield "of-this-test"
    with suppress(ApiError):  # a test may have made none
        kubernetes_cluster.call("DELETE", f"{PODS}/of-this-test", query="gracePeriodSeconds=0")


class TestPods(OnCluster):
    """One pod, called as the test says."""

    @pytest.fixture
    async def backend(self, tmp_path: Path) -> AsyncIterator[KubernetesBackend]:
        async with kubernetes_backend(tmp_path) as backend:
            yield backend

    def configured(self, name: str, **pod: Any) -> None:
        self._config = cluster_config(self.real, "busybox", mode="persistent", metadata={"name": name}, **pod)

    async def test_one_that_is_not_there_is_told(self, backend: KubernetesBackend, name: str) -> None:
        self.configured(name)
        with pytest.raises(BackendError, match="createMissingPods") as caught:
            await backend.open(self.login(), lambda line: None)
        assert caught.value.user_text == "Your environment does not exist."
        assert not self.real.pods(NAMESPACE)

    async def test_one_that_is_made_stays_and_each_login_has_its_own_variables(
        self, backend: KubernetesBackend, name: str
    ) -> None:
        self.configured(name, createMissingPods=True)
        for number in ("1", "2"):
            guest = await backend.open(self.login(environment={"NUMBER": f"$({number})"}), lambda line: None)
            assert (await run(guest, 'printf "$NUMBER"; echo x >>/tmp/kept; wc -l </tmp/kept')).stdout == (
                f"$({number}){number}\n".encode()
            )
            await guest.close("over")
        (pod,) = self.real.pods(NAMESPACE)
        assert (pod["metadata"]["name"], pod["status"]["phase"]) == (name, "Running")
        assert not any(label.startswith("moorage") for label in pod["metadata"]["labels"])

    async def test_somebody_else_s_is_used_with_the_agent_in_its_image(
        self, backend: KubernetesBackend, name: str
    ) -> None:
        gateway_token(self.real)
        containers = [
            {"name": "side", "image": self.real.images["busybox"], "command": ["/bin/sleep", "1000"]},
            {"name": "main", "image": self.real.images["containerssh"], "command": ["/bin/sleep", "1000"]},
        ]
        spec = {"containers": containers, "terminationGracePeriodSeconds": 0}
        self.real.call("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        self.configured(name, spec={"containers": containers}, consoleContainerNumber=1)
        guest = await backend.open(self.login(files={"/tmp/file": b"content"}), lambda line: None)
        assert (await run(guest, "cat /tmp/file; ls /usr/bin")).stdout == b"contentcontainerssh-agent\n"
        await guest.close("over")
        assert self.real.pods(NAMESPACE)

    async def test_one_that_has_ended_is_told_at_once(self, backend: KubernetesBackend, name: str) -> None:
        gateway_token(self.real)
        container = {"name": "main", "image": self.real.images["busybox"], "command": ["/bin/false"]}
        spec = {"containers": [container], "restartPolicy": "Never"}
        self.real.call("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        deadline = time.monotonic() + 50
        while self.real.call("GET", f"{PODS}/{name}")["status"].get("phase") != "Failed":
            assert time.monotonic() < deadline
        self.configured(name)
        with pytest.raises(BackendError, match="the pod has ended"):
            await backend.open(self.login(), lambda line: None)

    async def lose(self, backend: Any, guest: Any) -> None:
        raise NotImplementedError
