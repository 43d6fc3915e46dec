"""What the conformance tests on a cluster share: a backend with the least rights, and a look at what it leaves."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import yaml
from tests.conformance.test_docker import EngineStarts
from tests.parts.kubernetes import Cluster

from moorage.backend.kubernetes import KubernetesBackend
from moorage.backend.kubernetes.ownership import Pace
from moorage.backend.lease import INSTANCE
from moorage.config import AppConfig
from moorage.gateway.contract import Backend, Guest
from moorage.testing.suite import Suite, run

NAMESPACE: Final = "guests"
_ROLE: Final = Path(__file__).parents[2] / "deploy" / "kubernetes" / "role.yaml"


def gateway_token(cluster: Cluster) -> str:
    """A token of an account that may do what ``deploy/kubernetes/role.yaml`` says, in the namespace of the guests."""
    cluster.namespace(NAMESPACE)
    for document in yaml.safe_load_all(_ROLE.read_text()):
        for subject in document.get("subjects", ()):
            subject["namespace"] = NAMESPACE
        cluster.apply(document, NAMESPACE)
    return cluster.token(NAMESPACE, "moorage")


def cluster_values(cluster: Cluster, image: str, **pod: Any) -> dict[str, Any]:
    """The ``kubernetes`` section for guests of `image` on `cluster`."""
    console = {"name": "shell", "image": cluster.images[image], **pod.pop("container", {})}
    return {
        "connection": {
            "host": cluster.url,
            "cacertFile": str(cluster.ca),
            "bearerToken": gateway_token(cluster),
        },
        "pod": {
            "metadata": {"namespace": NAMESPACE, "generateName": "guest-", **pod.pop("metadata", {})},
            "spec": {"containers": [console], **pod.pop("spec", {})},
            "agentImage": cluster.images["agent"],
            **pod,
        },
    }


def cluster_config(cluster: Cluster, image: str, **pod: Any) -> AppConfig:
    """The configuration for guests of `image` on `cluster`."""
    return AppConfig.model_validate({"backend": "kubernetes", "kubernetes": cluster_values(cluster, image, **pod)})


@asynccontextmanager
async def kubernetes_backend(state: Path, *, pace: Pace | None = None) -> AsyncIterator[KubernetesBackend]:
    """A backend of its own, closed at the end."""
    backend = KubernetesBackend(state_directory=state, instance=uuid.uuid4().hex[:16], pace=pace)
    try:
        yield backend
    finally:
        await backend.close()


def pods_of(cluster: Cluster, backend: KubernetesBackend) -> list[dict[str, Any]]:
    """All pods of `backend` on `cluster`."""
    return cluster.pods(NAMESPACE, f"{INSTANCE}={backend.instance}")


class OnCluster(Suite):
    """A real cluster under test; a subclass says how a pod is made."""

    pod: ClassVar[Mapping[str, Any]] = {}
    image: ClassVar[str] = "busybox"
    real: Cluster
    _config: AppConfig

    @pytest.fixture(autouse=True)
    def _parts(self, kubernetes_cluster: Cluster) -> None:
        self.real = kubernetes_cluster
        self._config = cluster_config(kubernetes_cluster, self.image, **self.pod)

    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        with tempfile.TemporaryDirectory(prefix="moorage-state-") as state:
            async with kubernetes_backend(Path(state)) as backend:
                yield backend

    def config(self) -> AppConfig:
        return self._config

    async def leftovers(self, backend: Backend) -> list[str]:
        assert isinstance(backend, KubernetesBackend)
        return [f"{pod['metadata']['name']} {pod['status'].get('phase')}" for pod in pods_of(self.real, backend)]

    async def lose(self, backend: Backend, guest: Guest) -> None:
        assert isinstance(backend, KubernetesBackend)
        for pod in pods_of(self.real, backend):
            self.real.kill(pod)


class ClusterStarts(OnCluster, EngineStarts):  # type: ignore[misc]
    """The cluster starts the programs."""

    async def test_every_exit_code_comes_back(self, guest: Guest) -> None:
        """Of a failure, seen with 126, the cluster itself says now and then, once in some 50 times, "Success"."""
        for code in (0, 1, 2, 42, 126, 127, 128, 130, 137, 254, 255):
            found = [(await run(guest, f"exit {code}")).status.code]
            while found[-1] == 0 != code and len(found) < 3:
                found.append((await run(guest, f"exit {code}")).status.code)
            assert found[-1] == code, found
