"""A pod that runs: one of our own, that idles and goes with us, or one that stays, found by its name or made once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.backend.kubernetes.api import Limit
from moorage.backend.kubernetes.failures import ApiError, PodError, step
from moorage.backend.kubernetes.launch import Pod, Site
from moorage.backend.kubernetes.pods import PodWatch, Subscription, when_running
from moorage.backend.kubernetes.spec import console_container, idle_pod, persistent_pod, pod_name
from moorage.codes import Code
from moorage.config.sections.kubernetes import KubernetesConfig
from moorage.errors import BackendError
from moorage.gateway.contract import Progress
from moorage.gateway.model import Login


class OwnPod:
    """A pod that idles by its own command, for programs that the cluster starts in it; implements `Standing`."""

    def __init__(self, site: Site, login: Login, *, limit: Limit) -> None:
        self._site = site
        self._login = login
        self._config: KubernetesConfig = login.config.kubernetes
        self._pod = Pod(site, self._config, pod_name(self._config.pod.metadata), limit)
        self.name = self._pod.name

    async def run(self, told: Progress) -> tuple[str, Subscription]:
        """Make it and wait for it; see `Standing.run`."""
        body = idle_pod(
            self._config.pod, self._login, name=self.name, instance=self._site.instance, owner=self._site.owner
        )
        await self._pod.create(body)
        container = console_container(self._config.pod)
        return container, await self._pod.running(container, told)

    async def leave(self) -> None:
        """Remove it."""
        await self._pod.remove()


class StandingPod:
    """The pod of a configured name, which is nobody's, so that nobody removes it; implements `Standing`."""

    def __init__(self, site: Site, login: Login, *, limit: Limit) -> None:
        self._site = site
        self._login = login
        self._config: KubernetesConfig = login.config.kubernetes
        self._limit = limit
        self.name = str(self._config.pod.metadata.get("name") or "")
        self.pod: Mapping[str, Any] = {}
        """What was found."""

        self._watch = PodWatch(site.api, site.pods, [("fieldSelector", f"metadata.name={self.name}")])

    async def run(self, told: Progress) -> tuple[str, Subscription]:
        """Find or make it, and wait for it; see `Standing.run`."""
        seconds = self._config.timeouts.pod_start.total_seconds()
        self.pod = await self._found(seconds)
        with step(Code.KUBERNETES_POD_NOT_FOUND, "use the pod"):
            container = _console(self.pod, self._config.pod.console_container_number)
        subscription = self._watch.subscribe(self.name)
        with step(Code.KUBERNETES_POD_WAIT_FAILED, "wait for the pod"):
            await when_running(subscription, container, told, seconds=seconds)
        return container, subscription

    async def leave(self) -> None:
        """Hear no more of it."""
        await self._watch.close()

    async def _found(self, seconds: float) -> Mapping[str, Any]:
        path, is_made = self._site.path(self.name), False
        while True:
            with step(Code.KUBERNETES_POD_NOT_FOUND, "find the pod"):
                try:
                    found: Mapping[str, Any] = await self._site.api.call(
                        "GET", path, timeout=seconds, limit=self._limit
                    )
                    return found
                except ApiError as error:
                    if error.status != 404 or is_made:
                        raise
            if not self._config.pod.create_missing_pods:
                raise BackendError(
                    f"there is no pod {self.name!r} in {self._site.namespace!r}, and createMissingPods is off",
                    user_text="Your environment does not exist.",
                    code=Code.KUBERNETES_POD_NOT_FOUND,
                )
            is_made = True
            await self._make(seconds)

    async def _make(self, seconds: float) -> None:
        body = persistent_pod(self._config.pod, self._login, name=self.name)
        with step(Code.KUBERNETES_POD_CREATE_FAILED, "create the pod"):
            try:
                await self._site.api.call("POST", self._site.pods, body=body, timeout=seconds, limit=self._limit)
            except ApiError as error:
                if error.status != 409:  # another login of the same user was faster
                    raise


def _console(pod: Mapping[str, Any], number: int) -> str:
    containers = (pod.get("spec") or {}).get("containers") or ()
    if not 0 <= number < len(containers):
        raise PodError(f"the pod has {len(containers)} containers, none of them number {number}")
    return str(containers[number].get("name", ""))
