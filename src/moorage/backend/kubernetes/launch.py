"""From a login to a connected agent: pod, schedule, attach.  The launcher of the Kubernetes backend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import structlog

from moorage.agent.link import AgentLink
from moorage.backend.contract import CleanUps
from moorage.backend.kubernetes.api import Api, Limit
from moorage.backend.kubernetes.attached import AttachedAgent
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError, step
from moorage.backend.kubernetes.ownership import Ownership
from moorage.backend.kubernetes.pods import PodWatch, Subscription, when_running
from moorage.backend.kubernetes.spec import agent_pod, companion, console_container, pod_name
from moorage.backend.lease import INSTANCE, OWNER
from moorage.codes import Code
from moorage.config.sections.kubernetes import KubernetesConfig
from moorage.gateway.contract import Progress
from moorage.gateway.model import Login

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_ATTACH_TRIES: Final = 20
_ATTACH_PAUSE: Final = 0.1


class Site:
    """What all guests in one namespace of one cluster share."""

    def __init__(self, api: Api, namespace: str, *, instance: str, owner: str, ownership: Ownership) -> None:
        self.api = api
        self.namespace = namespace
        self.instance = instance
        self.owner = owner
        self.ownership = ownership
        self.watch = PodWatch(api, self.pods, [("labelSelector", f"{OWNER}={owner}")])

    @property
    def pods(self) -> str:
        """The path of the namespace's pods."""
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/pods"

    def path(self, name: str) -> str:
        """The path of the pod `name`."""
        return f"{self.pods}/{quote(name, safe='')}"

    async def close(self) -> None:
        """Stop to watch, give the lease back.  Idempotent."""
        await self.watch.close()
        await self.ownership.close()


class Pod:
    """One pod: created under a name of ours, removed for sure."""

    def __init__(self, site: Site, config: KubernetesConfig, name: str, limit: Limit) -> None:
        self.site = site
        self.name = name
        self.limit = limit
        self._config = config
        self._creating: asyncio.Task[Any] | None = None
        self._subscription: Subscription | None = None
        self._is_made = False

    @property
    def path(self) -> str:
        """The pod's path."""
        return self.site.path(self.name)

    @property
    def start_seconds(self) -> float:
        """The deadline of a launch."""
        return self._config.timeouts.pod_start.total_seconds()

    async def create(self, body: Mapping[str, Any]) -> None:
        """Create it.  Raises `BackendError`."""
        with step(Code.KUBERNETES_POD_CREATE_FAILED, "take the gateway's lease"):
            await self.site.ownership.hold(timeout=self.start_seconds)
        self._subscription = self.site.watch.subscribe(self.name)
        # In a task of its own: a request that is cut off may still create.
        self._creating = asyncio.get_running_loop().create_task(
            self._create(body), name=f"kubernetes/create/{self.name}"
        )
        with step(Code.KUBERNETES_POD_CREATE_FAILED, "create the pod"):
            await asyncio.shield(self._creating)

    async def _create(self, body: Mapping[str, Any]) -> None:
        try:
            await self.site.api.call("POST", self.site.pods, body=body, timeout=self.start_seconds, limit=self.limit)
        except ApiError as error:
            if error.status != 409 or not await self._is_ours(body):
                raise
        self._is_made = True

    async def _is_ours(self, body: Mapping[str, Any]) -> bool:
        """A create without an answer, which was sent again, has made it the first time."""
        found = await self.site.api.call("GET", self.path, timeout=self.start_seconds)
        labels, ours = found["metadata"].get("labels") or {}, body["metadata"]["labels"]
        return all(labels.get(key) == ours[key] for key in (INSTANCE, OWNER, "containerssh_connection_id"))

    async def running(self, container: str, told: Progress) -> Subscription:
        """Returns when `container` runs, with where its end is heard of; raises `BackendError` when it never will."""
        assert self._subscription is not None
        with step(Code.KUBERNETES_POD_WAIT_FAILED, "wait for the pod"):
            await when_running(self._subscription, container, told, seconds=self.start_seconds)
        return self._subscription

    async def attach(self, container: str, link: AgentLink) -> None:
        """Connect `link` to the standard streams of `container`; raises `BackendError`."""
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        with step(Code.KUBERNETES_AGENT_FAILED, "attach to the pod"):
            for number in range(_ATTACH_TRIES):
                await self.limit.turn()
                try:
                    stream, protocol = await self.site.api.stream(
                        f"{self.path}/attach", query, timeout=self.start_seconds
                    )
                except ApiError as error:
                    # The kubelet may not have heard yet what the API server knows.
                    if (error.status < 500 and error.status != 404) or number + 1 == _ATTACH_TRIES:
                        raise
                    await asyncio.sleep(_ATTACH_PAUSE)
                else:
                    AttachedAgent(stream, link, protocol=protocol)
                    return

    async def remove(self) -> None:
        """Remove what there is of it, within the configured time; logs what it could not."""
        creating, self._creating = self._creating, None
        if creating is None:
            return
        seconds = self._config.timeouts.pod_stop.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait([creating])
                cause = None if creating.cancelled() else creating.exception()
                if not (isinstance(cause, ApiError) and cause.status < 500):  # else the server has refused it
                    await self._delete(seconds)
        except TimeoutError:
            structlog.get_logger().warning(
                "A pod could not be removed in time",
                code=Code.KUBERNETES_POD_REMOVE_FAILED,
                namespace=self.site.namespace,
                pod=self.name,
            )
        finally:
            creating.cancel()
            self.site.watch.unsubscribe(self.name)

    async def _delete(self, seconds: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.site.api.call("DELETE", self.path, timeout=seconds)
                break
            except ApiError as error:
                if error.status == 404:
                    return
            except ApiUnreachableError:
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        await self._gone(seconds)

    async def _gone(self, seconds: float) -> None:
        """Returns when the API server knows it no more: as the watch says, which is asked after if it is silent."""
        pause = _LONGEST_PAUSE
        subscription = self._subscription
        while subscription is not None and not subscription.is_gone:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(subscription.change(), pause)
                continue
            try:
                await self.site.api.call("GET", self.path, timeout=seconds)
            except ApiError as error:
                if error.status == 404:
                    return
            except ApiUnreachableError:
                pass


class PodLauncher:
    """Launches one pod with our agent as the first process of a container; implements `Launcher`."""

    def __init__(self, site: Site, login: Login, clean_ups: CleanUps, *, limit: Limit) -> None:
        self._site = site
        self._login = login
        self._config: KubernetesConfig = login.config.kubernetes
        self._clean_ups = clean_ups
        self._limit = limit
        self._pod: Pod | None = None
        self._destroying: asyncio.Task[None] | None = None

    async def launch(self, link: AgentLink, progress: Progress) -> None:
        """Make the pod and connect `link`; see `Launcher.launch`."""
        config = self._config.pod
        self._pod = pod = Pod(self._site, self._config, pod_name(config.metadata), self._limit)
        body = agent_pod(
            config,
            self._login,
            name=pod.name,
            instance=self._site.instance,
            owner=self._site.owner,
            command=companion(config),
        )
        await pod.create(body)
        container = console_container(config)
        await pod.running(container, progress)
        await pod.attach(container, link)

    async def destroy(self, reason: str) -> None:
        """Remove the pod; see `Launcher.destroy`."""
        del reason
        if self._destroying is None:
            self._destroying = self._clean_ups.begin(self._undo(), name="kubernetes/remove")
        await asyncio.shield(self._destroying)

    async def _undo(self) -> None:
        if self._pod is not None:
            await self._pod.remove()
