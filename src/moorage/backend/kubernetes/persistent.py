"""A guest in a pod that outlives it: our agent, started in a running container by one exec for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from moorage.agent.link import AgentLink
from moorage.backend.kubernetes.api import Limit
from moorage.backend.kubernetes.attached import AttachedAgent
from moorage.backend.kubernetes.failures import step
from moorage.backend.kubernetes.launch import Site
from moorage.backend.kubernetes.spec import AGENT, INSTALLER, environment
from moorage.backend.kubernetes.standing import StandingPod
from moorage.codes import Code
from moorage.config.sections.kubernetes import KubernetesConfig
from moorage.gateway.contract import Progress
from moorage.gateway.model import Login

_ENVIRONMENT_LIMIT: Final = 32 * 1024
"""Bytes of variables that go with an exec: they are part of a URL."""


class PersistentLauncher:
    """Starts an agent in a named pod; implements `Launcher`.  What it started ends with its stream."""

    def __init__(self, site: Site, login: Login, *, limit: Limit) -> None:
        self._site = site
        self._login = login
        self._config: KubernetesConfig = login.config.kubernetes
        self._limit = limit

    async def launch(self, link: AgentLink, progress: Progress) -> None:
        """Find or make the pod and connect `link`; see `Launcher.launch`."""
        standing = StandingPod(self._site, self._login, limit=self._limit)
        try:
            container, _ = await standing.run(progress)
        finally:
            await asyncio.shield(standing.leave())  # from here on the stream tells whether it lives
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in self._command(standing.pod)]
        with step(Code.KUBERNETES_AGENT_FAILED, "start the agent in the pod"):
            await self._limit.turn()
            path = f"{self._site.path(standing.name)}/exec"
            seconds = self._config.timeouts.pod_start.total_seconds()
            stream, protocol = await self._site.api.stream(path, query, timeout=seconds)
        AttachedAgent(stream, link, protocol=protocol, ends_with_input=True)

    async def destroy(self, reason: str) -> None:
        """Nothing: the pod stays, and the agent ends with its stream."""

    def _command(self, pod: Mapping[str, Any]) -> list[str]:
        volumes = (pod.get("spec") or {}).get("volumes") or ()
        is_ours = any(volume.get("name") == INSTALLER for volume in volumes)
        agent = AGENT if is_ours else self._config.pod.agent_path
        size, settings = 0, []
        for name, value in environment(self._config.pod, self._login).items():
            entry = f"{name}={value}"
            size += len(entry.encode("utf-8", "replace"))
            usable = name and "=" not in name and not name.startswith("--") and "\0" not in entry
            if usable and size <= _ENVIRONMENT_LIMIT:
                settings += ["--env", entry]
        return [agent, "console", *settings, "--", agent, "serve"] if settings else [agent, "serve"]
