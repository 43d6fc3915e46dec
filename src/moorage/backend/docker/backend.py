"""The Docker backend: one container a login, or one a program, with our agent, the image's own, or none."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import structlog

from moorage.agent.guest import AgentGuest, open_guest
from moorage.agent.messages import GuestSettings
from moorage.backend.contract import CleanUps
from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.execguest import open_exec_guest
from moorage.backend.docker.failures import backend_error
from moorage.backend.docker.injection import Doors
from moorage.backend.docker.launch import DockerLauncher, Site
from moorage.backend.docker.programguest import ProgramGuest
from moorage.backend.docker.ready import ReadyContainer, fits, kind_of, nobodys
from moorage.backend.docker.reaper import Reaper
from moorage.backend.lease import Owner
from moorage.backend.observer import RequestObserver
from moorage.backend.pool import Pool
from moorage.backend.sessionguest import SessionGuest
from moorage.backend.settings import guest_settings
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.config.sections.docker import DockerConfig, DockerConnectionConfig, DockerExecutionConfig
from moorage.errors import BackendError, ConfigError
from moorage.gateway.contract import Guest, Progress
from moorage.gateway.model import Login


class DockerBackend:
    """Opens containers; implements `Backend`.

    Reads `docker` of each login's own configuration, so different logins may use different engines.
    Nothing is touched before the first `open` or `prepare`.
    """

    def __init__(self, *, state_directory: Path, instance: str) -> None:
        self._directory = state_directory / "docker"
        self.instance = instance
        """Whose containers are ours, as their labels say."""

        self._owner: Owner | None = None
        self._doors: Doors | None = None
        self._sites: dict[EngineAddress, Site] = {}
        self._reapers: dict[EngineAddress, Reaper] = {}
        self._clean_ups = CleanUps()
        self._pool: Pool[ReadyContainer] = Pool()
        self._observer: RequestObserver | None = None
        self._log = structlog.get_logger()

    def observe(self, observer: RequestObserver) -> None:
        """Tell `observer` of the requests to engines."""
        self._observer = observer
        self._pool.observer = observer

    async def prepare(self, config: AppConfig) -> None:
        """Begin to remove what dead gateways have left on the configured engine, and to fill the pool."""
        self.reconfigure(config)

    def reconfigure(self, config: AppConfig) -> None:
        """Logins from now on come with `config`: what is kept ready follows it."""
        try:
            site = self._site(config.docker.connection)
        except BackendError as error:
            self._log.warning("The container engine cannot be prepared", code=error.code, error=str(error))
            return
        kind = kind_of(config.docker)
        if kind is not None:
            self._pool.pin(kind, config.docker.pool, partial(self._ready, site, config))
        else:
            self._pool.unpin()

    async def open(self, login: Login, progress: Progress) -> Guest:
        """A guest for `login`; see `moorage.gateway.contract.Backend.open`."""
        config: DockerConfig = login.config.docker
        site = self._site(config.connection)
        execution = config.execution
        if execution.disable_agent or execution.agent == "containerssh":
            if execution.mode == "session":
                return SessionGuest(lambda: self._program(site, login, progress), self._clean_ups)
            return await open_exec_guest(site, login, progress, clean_ups=self._clean_ups)
        if execution.mode == "session":
            return SessionGuest(lambda: self._open(site, login, progress), self._clean_ups)
        return await self._open(site, login, progress)

    async def close(self) -> None:
        """Finish what is being removed and close the connections; idempotent."""
        await self._pool.close()
        for reaper in self._reapers.values():
            await reaper.close()
        self._reapers.clear()
        await self._clean_ups.wait()
        while self._sites:
            _, site = self._sites.popitem()
            await site.engine.close()
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    async def _open(self, site: Site, login: Login, progress: Progress) -> Guest:
        config: DockerConfig = login.config.docker
        kind = kind_of(config)
        if kind is not None and fits(login):
            ready = self._pool.take(kind, config.pool, partial(self._ready, site, login.config))
            if ready is not None:
                return await ready.adopt(login, _settings(config.execution))
        return await self._launched(DockerLauncher(site, login, self._clean_ups), login, progress)

    async def _ready(self, site: Site, config: AppConfig) -> ReadyContainer:
        login = nobodys(config)
        launcher = DockerLauncher(site, login, self._clean_ups)
        return ReadyContainer(await self._launched(launcher, login, lambda line: None), launcher, self._clean_ups)

    async def _launched(self, launcher: DockerLauncher, login: Login, progress: Progress) -> AgentGuest:
        config: DockerConfig = login.config.docker
        return await open_guest(
            lambda link: launcher.launch(link, progress),
            destroy=launcher.destroy,
            settings=_settings(config.execution),
            files=login.metadata.files,
            deadline=config.timeouts.container_start.total_seconds(),
            start_deadline=config.timeouts.command_start.total_seconds(),
            failed=_failed,
        )

    async def _program(self, site: Site, login: Login, progress: Progress) -> Guest:
        return ProgramGuest(site, login, progress, self._clean_ups)

    def _site(self, connection: DockerConnectionConfig) -> Site:
        try:
            address = EngineAddress.parse(
                connection.host,
                ca=connection.cacert,
                certificate=connection.cert,
                key=connection.key.get_secret_value(),
            )
            if address not in self._sites:
                owner, doors = self._own()
                self._sites[address] = site = Site(
                    Engine(address, observer=self._observer), instance=self.instance, owner=owner, doors=doors
                )
                self._reapers[address] = Reaper(site)
                self._reapers[address].start()
        except ConfigError as cause:
            raise BackendError(str(cause), user_text=cause.user_text, code=cause.code) from cause
        return self._sites[address]

    def _own(self) -> tuple[Owner, Doors]:
        if self._owner is None or self._doors is None:
            try:
                self._owner = Owner(self._directory)
                self._doors = Doors(self._owner.directory)
            except OSError as cause:
                raise backend_error(Code.DOCKER_CONTAINER_CREATE_FAILED, "use the state directory", cause) from cause
        return self._owner, self._doors


def _settings(config: DockerExecutionConfig) -> GuestSettings:
    return guest_settings(shell_command=config.shell_command, subsystems=config.subsystems)


def _failed(cause: BaseException, _: str) -> BackendError:
    if isinstance(cause, TimeoutError):
        return backend_error(Code.DOCKER_CONTAINER_START_FAILED, "launch the container in time", cause)
    return backend_error(Code.DOCKER_AGENT_FAILED, "greet the agent", cause)
