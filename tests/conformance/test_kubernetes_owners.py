"""Gateways on one cluster: each removes what a dead one has left, and none a living one's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from tests.conformance.clusters import NAMESPACE, OnCluster, kubernetes_backend, pods_of
from tests.parts.kubernetes import Cluster

from moorage.backend.kubernetes import KubernetesBackend
from moorage.backend.kubernetes.ownership import Pace
from moorage.gateway.contract import Guest
from moorage.testing.suite import run

pytestmark = pytest.mark.kubernetes

PACE: Final = Pace(renew=0.5, duration=3, look=0.7)
LEASES: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"

Make = Callable[[], Any]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(50):
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.1)


async def looks(backend: KubernetesBackend, count: int) -> None:
    """Let `backend` look at everything so many times, over more than a lease's duration."""
    (site,) = backend._sites.values()
    for _ in range(count):
        await site.ownership.look()
        await asyncio.sleep(PACE.duration / 2)


def die(backend: KubernetesBackend) -> None:
    """End what a gateway does by itself, as its death would; what it has made stays."""
    for site in backend._sites.values():
        for task in site.ownership._tasks:
            task.cancel()


class TestOwners(OnCluster):
    """Three gateways, each with a state directory of its own."""

    @pytest.fixture
    async def make(self, tmp_path: Path) -> AsyncIterator[Make]:
        async with AsyncExitStack() as stack:
            numbers = iter(range(9))

            async def one() -> tuple[KubernetesBackend, Guest]:
                state = tmp_path / str(next(numbers))
                backend = await stack.enter_async_context(kubernetes_backend(state, pace=PACE))
                guest = await backend.open(self.login(), lambda line: None)
                stack.push_async_callback(guest.close, "the test is over")
                return backend, guest

            yield one

    def leases(self, backend: KubernetesBackend) -> list[str]:
        items = self.real.call("GET", LEASES, query=f"labelSelector=moorage_instance={backend.instance}")["items"]
        return [item["metadata"]["name"] for item in items]

    async def test_a_dead_gateway_s_pods_go_and_a_living_one_s_stay(self, make: Make) -> None:
        (dead, _), (living, guest), (other, further) = await asyncio.gather(make(), make(), make())
        die(dead)
        await until(lambda: not pods_of(self.real, dead))
        await looks(living, 3)
        await looks(other, 3)
        for survivor in (guest, further):
            assert (await run(survivor, "echo alive")).stdout == b"alive\n"
        await until(lambda: not self.leases(dead))

    async def test_a_gateway_whose_lease_was_deleted_takes_it_again_and_keeps_its_pods(
        self, make: Make, kubernetes_cluster: Cluster
    ) -> None:
        (first, guest), (second, _) = await asyncio.gather(make(), make())
        (name,) = self.leases(first)
        kubernetes_cluster.call("DELETE", f"{LEASES}/{name}")
        await until(lambda: bool(self.leases(first)))
        await looks(second, 3)
        assert (await run(guest, "echo alive")).stdout == b"alive\n"

    async def test_a_gateway_that_ends_gives_its_lease_back(self, tmp_path: Path) -> None:
        async with kubernetes_backend(tmp_path, pace=PACE) as backend:
            guest = await backend.open(self.login(), lambda line: None)
            assert len(self.leases(backend)) == 1
            await guest.close("over")
        assert not self.leases(backend)
        assert not pods_of(self.real, backend)

    async def leftovers(self, backend: Any) -> list[str]:
        return []
