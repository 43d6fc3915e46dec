"""The Kubernetes backend: one pod a login, one a program, or one that is there; with our agent, an image's, or none."""

from __future__ import annotations

from pathlib import Path

import structlog

from moorage.agent.guest import AgentGuest, open_guest
from moorage.agent.messages import GuestSettings
from moorage.backend.contract import CleanUps, Launcher
from moorage.backend.kubernetes.access import access
from moorage.backend.kubernetes.api import Api, Limit
from moorage.backend.kubernetes.execguest import ExecGuest
from moorage.backend.kubernetes.failures import backend_error
from moorage.backend.kubernetes.launch import PodLauncher, Site
from moorage.backend.kubernetes.ownership import Ownership, Pace
from moorage.backend.kubernetes.persistent import PersistentLauncher
from moorage.backend.kubernetes.standing import OwnPod, StandingPod
from moorage.backend.lease import Owner
from moorage.backend.observer import RequestObserver
from moorage.backend.sessionguest import SessionGuest
from moorage.backend.settings import guest_settings
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.sections.kubernetes import KubernetesConfig, KubernetesConnectionConfig, KubernetesPodConfig
from moorage.errors import BackendError, ConfigError
from moorage.gateway.contract import Guest, Progress
from moorage.gateway.model import Login


class KubernetesBackend:
    """Opens pods; implements `Backend`.

    Reads `kubernetes` of each login's own configuration, so different logins may use different clusters and namespaces.
    Nothing is touched before the first `open` or `prepare`.
    """

    def __init__(self, *, state_directory: Path, instance: str, pace: Pace | None = None) -> None:
        self._directory = state_directory / "kubernetes"
        self.instance = instance
        """Whose pods are ours, as their labels say."""

        self._pace = pace
        self._owner: Owner | None = None
        self._apis: dict[KubernetesConnectionConfig, Api] = {}
        self._sites: dict[tuple[KubernetesConnectionConfig, str], Site] = {}
        self._clean_ups = CleanUps()
        self._observer: RequestObserver | None = None
        self._log = structlog.get_logger()

    def observe(self, observer: RequestObserver) -> None:
        """Tell `observer` of the requests to clusters."""
        self._observer = observer

    async def prepare(self, config: AppConfig) -> None:
        """Begin to remove what dead gateways have left in the configured namespace."""
        self.reconfigure(config)

    def reconfigure(self, config: AppConfig) -> None:
        """Logins from now on come with `config`."""
        try:
            self._site(config.kubernetes)
        except BackendError as error:
            self._log.warning("The cluster cannot be prepared", code=error.code, error=str(error))

    async def open(self, login: Login, progress: Progress) -> Guest:
        """A guest for `login`; see `moorage.gateway.contract.Backend.open`."""
        site, config = self._site(login.config.kubernetes), login.config.kubernetes
        if config.pod.disable_agent or config.pod.agent == "containerssh":
            limit = Limit(config.connection.qps, config.connection.burst)
            pod = StandingPod if config.pod.mode == "persistent" else OwnPod
            standing = pod(site, login, limit=limit)
            return await ExecGuest(site, standing, login, self._clean_ups, limit=limit).open(progress)
        if config.pod.mode == "session":
            return SessionGuest(lambda: self._open(site, login, progress), self._clean_ups)
        return await self._open(site, login, progress)

    async def close(self) -> None:
        """Finish what is being removed and close the connections; idempotent."""
        await self._clean_ups.wait()
        while self._sites:
            _, site = self._sites.popitem()
            await site.close()
        while self._apis:
            _, api = self._apis.popitem()
            await api.close()
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    async def _open(self, site: Site, login: Login, progress: Progress) -> AgentGuest:
        config: KubernetesConfig = login.config.kubernetes
        limit = Limit(config.connection.qps, config.connection.burst)
        launcher: Launcher
        if config.pod.mode == "persistent":
            launcher = PersistentLauncher(site, login, limit=limit)
        else:
            launcher = PodLauncher(site, login, self._clean_ups, limit=limit)
        return await open_guest(
            lambda link: launcher.launch(link, progress),
            destroy=launcher.destroy,
            settings=_settings(config.pod),
            files=login.metadata.files,
            deadline=config.timeouts.pod_start.total_seconds(),
            start_deadline=config.timeouts.command_start.total_seconds(),
            failed=_failed,
        )

    def _site(self, config: KubernetesConfig) -> Site:
        connection, namespace = config.connection, str(config.pod.metadata["namespace"])
        key = (connection, namespace)
        if key not in self._sites:
            try:
                if connection not in self._apis:
                    self._apis[connection] = Api(access(connection), observer=self._observer)
                if self._owner is None:
                    self._owner = Owner(self._directory)
            except ConfigError as cause:
                raise BackendError(str(cause), user_text=cause.user_text, code=cause.code) from cause
            except OSError as cause:
                raise backend_error(Code.KUBERNETES_POD_CREATE_FAILED, "use the state directory", cause) from cause
            api, owner = self._apis[connection], self._owner
            ownership = Ownership(api, namespace, owner=owner, instance=self.instance, pace=self._pace)
            self._sites[key] = site = Site(
                api, namespace, instance=self.instance, owner=owner.token, ownership=ownership
            )
            site.ownership.start()
        return self._sites[key]


def _settings(config: KubernetesPodConfig) -> GuestSettings:
    return guest_settings(shell_command=config.shell_command, subsystems=config.subsystems)


def _failed(cause: BaseException, _: str) -> BackendError:
    if isinstance(cause, TimeoutError):
        return backend_error(Code.KUBERNETES_POD_WAIT_FAILED, "launch the pod in time", cause)
    return backend_error(Code.KUBERNETES_AGENT_FAILED, "greet the agent", cause)
