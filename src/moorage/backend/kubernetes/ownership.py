"""Who owns pods, and who removes those of the dead: a Lease object for each gateway, and a look at all of them by each.

A gateway renews its Lease (``coordination.k8s.io``) as long as it lives.  A pod bears its owner's token as a label.
It is a leftover when

* its owner's Lease was not renewed for as long as it says, *as seen by our own clock*: clocks of gateways never meet;
* its owner has no Lease for as long as ours lasts;
* its owner was a process of this machine's gateway `instance` that is dead.

A living gateway's pods are nobody else's business, whatever state they are in.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import structlog

from moorage.backend.kubernetes.api import Api
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError
from moorage.backend.lease import INSTANCE, OWNER, Owner
from moorage.codes import Code

_CALL_SECONDS: Final = 15.0
_PODS: Final = "/api/v1/namespaces/{}/pods"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often gateways tell that they live, and look at each other; in seconds."""

    renew: float = 15.0
    duration: float = 60.0
    """A Lease that was not renewed for so long is a dead gateway's."""

    look: float = 30.0


class Ownership:
    """This gateway's Lease in one namespace, and its looks at all others'."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        *,
        owner: Owner,
        instance: str,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._leases = _LEASES.format(quote(namespace, safe=""))
        self._pods = _PODS.format(quote(namespace, safe=""))
        self._owner = owner
        self._instance = instance
        self._pace = pace or Pace()
        self._clock = clock
        self._name = f"moorage-{owner.token}"
        self._seen: dict[str, tuple[str, float]] = {}
        """Owner → what its Lease said last, and since when it says that; for a missing one, an empty text."""

        self._held = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look for leftovers; returns at once."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._renewed(), name="kubernetes/lease"),
                loop.create_task(self._looked(), name="kubernetes/reconciler"),
            ]

    async def hold(self, *, timeout: float) -> None:
        """Returns when our Lease is there: nothing may be created before.  Raises as `Api.call`."""
        if self._held.is_set():
            return
        if self._taking is None or self._taking.done():
            # In a task of its own: one login that is cancelled is no reason for others to wait.
            self._taking = asyncio.get_running_loop().create_task(self._taken(timeout), name="kubernetes/take-lease")
            self._taking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._taking)

    async def close(self) -> None:
        """Stop, and give our Lease back: all pods of ours are gone.  Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._taking is not None:
            await asyncio.wait((self._taking,))
        if self._held.is_set():
            self._held.clear()
            with contextlib.suppress(ApiError, ApiUnreachableError, TimeoutError):
                await self._api.call("DELETE", f"{self._leases}/{self._name}", timeout=_CALL_SECONDS)

    # Our own Lease.

    async def _taken(self, timeout: float) -> None:
        await self._take(timeout)
        self._held.set()

    async def _take(self, timeout: float) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "labels": {INSTANCE: self._instance, OWNER: self._owner.token}},
            "spec": {
                "holderIdentity": self._owner.token,
                "leaseDurationSeconds": max(int(self._pace.duration), 1),
                "acquireTime": _now(),
                "renewTime": _now(),
            },
        }
        try:
            await self._api.call("POST", self._leases, body=body, timeout=timeout)
        except ApiError as error:
            if error.status != 409:
                raise

    async def _renewed(self) -> None:
        while True:
            await asyncio.sleep(self._pace.renew)
            if not self._held.is_set():
                continue
            try:
                body = {"spec": {"renewTime": _now()}}
                path = f"{self._leases}/{self._name}"
                await self._api.call("PATCH", path, body=body, patch=True, timeout=_CALL_SECONDS)
            except ApiError as error:
                if error.status == 404:  # somebody has deleted it: our pods must not look like a dead one's
                    with contextlib.suppress(ApiError, ApiUnreachableError, TimeoutError):
                        await self._take(_CALL_SECONDS)
                    continue
                self._failed("Could not renew this gateway's lease", error)
            except (ApiUnreachableError, OSError) as error:
                self._failed("Could not renew this gateway's lease", error)

    # Everybody's.

    async def _looked(self) -> None:
        while True:
            try:
                await self.look()
            except (ApiError, ApiUnreachableError, OSError) as error:
                self._failed("Could not look for leftover pods", error)
            await asyncio.sleep(self._pace.look)

    async def look(self) -> int:
        """Remove the leftovers of this moment; how many there were."""
        # Pods first: whoever has made one of these had a Lease before.
        pods, _ = await self._api.list(self._pods, [("labelSelector", OWNER)], timeout=_CALL_SECONDS)
        found, _ = await self._api.list(self._leases, [("labelSelector", OWNER)], timeout=_CALL_SECONDS)
        leases = {_label(lease, OWNER): lease for lease in found}
        dead = self._dead({_label(pod, OWNER): _label(pod, INSTANCE) for pod in pods}, leases)
        reaped = 0
        for pod in pods:
            if _label(pod, OWNER) in dead and not _map(pod.get("metadata")).get("deletionTimestamp"):
                await self._remove(
                    f"{self._pods}/{_map(pod['metadata']).get('name')}", _map(pod["metadata"]).get("uid")
                )
                reaped += 1
                structlog.get_logger().info(
                    "A leftover pod was removed", code=Code.GUEST_REAPED, pod=_map(pod["metadata"]).get("name")
                )
        left = {_label(pod, OWNER) for pod in pods}
        for owner, lease in leases.items():
            if owner not in left and self._is_over(owner, lease):
                meta = _map(lease.get("metadata"))
                await self._remove(f"{self._leases}/{meta.get('name')}", meta.get("uid"))
        self._seen = {owner: seen for owner, seen in self._seen.items() if owner in left or owner in leases}
        return reaped

    def _dead(self, owners: Mapping[str, str], leases: Mapping[str, Any]) -> set[str]:
        dead = set()
        for owner, instance in owners.items():
            is_ours = instance == self._instance and not self._owner.is_alive(owner)
            if owner != self._owner.token and (is_ours or self._is_over(owner, leases.get(owner))):
                dead.add(owner)
        return dead

    def _is_over(self, owner: str, lease: Any) -> bool:
        """The Lease of `owner` has not been renewed for its whole duration, or is missing for some time."""
        if owner == self._owner.token:
            return False
        spec = _map(_map(lease).get("spec"))
        said, now = str(spec.get("renewTime") or ""), self._clock()
        before = self._seen.get(owner)
        if before is None or before[0] != said:
            self._seen[owner] = (said, now)
            return False
        duration = spec.get("leaseDurationSeconds")
        wait = float(duration) if isinstance(duration, int) and lease is not None else self._pace.duration
        return now - before[1] > wait

    async def _remove(self, path: str, uid: object) -> None:
        body = {"preconditions": {"uid": uid}} if uid else {}
        try:
            await self._api.call("DELETE", path, body=body, timeout=_CALL_SECONDS)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def _failed(self, what: str, error: Exception) -> None:
        structlog.get_logger().warning(what, code=Code.GUEST_REAPED, error=str(error) or type(error).__name__)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _label(item: Any, name: str) -> str:
    return str(_map(_map(_map(item).get("metadata")).get("labels")).get(name) or "")


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
