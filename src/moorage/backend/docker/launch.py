"""From a login to a connected agent: image, container, stream.  The launcher of the Docker backend."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from moorage.agent.link import AgentLink
from moorage.backend.contract import CleanUps
from moorage.backend.docker.attached import AttachedAgent
from moorage.backend.docker.engine import Engine, image_architecture
from moorage.backend.docker.failures import (
    EngineError,
    EngineUnreachableError,
    backend_error,
    is_injection_failure,
)
from moorage.backend.docker.injection import AgentVolumes, Door, Doors
from moorage.backend.docker.removal import remove_container
from moorage.backend.docker.spec import ContainerSpec, agent_container, platform_name
from moorage.backend.lease import OWNER, Lease, Owner
from moorage.codes import Code
from moorage.config.sections.docker import DockerConfig, DockerExecutionConfig
from moorage.config.sections.names import DEFAULT_IDLE_COMMAND
from moorage.errors import BackendError
from moorage.gateway.contract import Progress
from moorage.gateway.model import Login

_IMAGE_SECONDS: Final = 60.0
"""How long an image that was seen counts as present."""

_IMAGES: Final = 1024
_FALLBACK_SECONDS: Final = 600.0
"""How long an engine whose guests could not dial us is only attached to."""

_NAME_TRIES: Final = 10
_NAME_PAUSE: Final = 0.2
_FIRST_LOOK: Final = 0.25
_LAST_LOOK: Final = 2.0


class Site:
    """What all guests on one engine share."""

    def __init__(self, engine: Engine, *, instance: str, owner: Owner, doors: Doors) -> None:
        self.engine = engine
        self.instance = instance
        self.owner = owner
        self.doors = doors
        self.volumes = AgentVolumes(engine)
        self._architecture = ""
        self._images: dict[tuple[str, str], tuple[float, str]] = {}
        self._attach_until = 0.0

    def lease(self, seconds: float) -> Lease:
        """The lease of a container that is to be launched within `seconds`."""
        now = time.time()
        return Lease(self.instance, self.owner.token, now, now + seconds)

    def ways(self, wanted: str) -> Sequence[str]:
        """How to reach an agent here, best first, for the configured `wanted`."""
        if wanted != "auto":
            return (wanted,)
        if self.engine.address.is_local and time.monotonic() >= self._attach_until:
            return ("socket", "attach")
        return ("attach",)

    def socket_failed(self) -> None:
        """Guests cannot dial us here although they can be attached to: don't try for a while."""
        self._attach_until = time.monotonic() + _FALLBACK_SECONDS

    async def architecture(self, image: str, platform: str, *, timeout: float) -> str | None:
        """The image's architecture; None if the engine has no such image.  Remembered for a short while."""
        known = self._images.get((image, platform))
        if known is not None and time.monotonic() - known[0] < _IMAGE_SECONDS:
            return known[1]
        found = await self.engine.image(image, timeout=timeout)
        if found is None:
            return None
        architecture = image_architecture(found)
        if not architecture:
            self._architecture = self._architecture or await self.engine.architecture(timeout=timeout)
            architecture = self._architecture
        if len(self._images) >= _IMAGES:
            self._images.clear()
        self._images[(image, platform)] = (time.monotonic(), architecture)
        return architecture

    def forget_image(self, image: str, platform: str) -> None:
        """Look again: it may have been replaced."""
        self._images.pop((image, platform), None)


class Container:
    """One container: created under a name of ours, removed for sure."""

    def __init__(self, site: Site, login: Login, progress: Progress) -> None:
        self.site = site
        self._login = login
        self._config: DockerConfig = login.config.docker
        self._progress = progress
        self._creating: asyncio.Task[str] | None = None
        self._name = ""
        self.id = ""

    @property
    def start_seconds(self) -> float:
        """The deadline of a launch."""
        return self._config.timeouts.container_start.total_seconds()

    @property
    def stop_seconds(self) -> float:
        """The deadline of a removal."""
        return self._config.timeouts.container_stop.total_seconds()

    @property
    def http_seconds(self) -> float:
        """The deadline of a small call."""
        return self._config.timeouts.http.total_seconds()

    async def image(self) -> str:
        """Have the image on the engine, as the pull policy says; its architecture."""
        execution = self._config.execution
        name, platform = str(execution.container.get("Image", "")), platform_name(execution.platform)
        if execution.image_pull_policy == "Always":
            await self._pull(name, platform)
        async with step(Code.DOCKER_IMAGE_LISTING_FAILED, "look for the image"):
            found = await self.site.architecture(name, platform, timeout=self.http_seconds)
            if found is None and execution.image_pull_policy == "Never":
                raise EngineError(404, f"no such image: {name}")
        if found is None:
            await self._pull(name, platform)
            async with step(Code.DOCKER_IMAGE_LISTING_FAILED, "look for the image"):
                found = await self.site.architecture(name, platform, timeout=self.http_seconds)
                if found is None:
                    raise EngineError(404, f"no such image after its download: {name}")
        return found

    async def create(self, spec: ContainerSpec) -> str:
        """Create it; its id.  An image that has vanished meanwhile is pulled again."""
        async with step(Code.DOCKER_CONTAINER_CREATE_FAILED, "create the container"):
            try:
                return await self._create_named(spec)
            except EngineError as error:
                if error.status != 404 or "image" not in error.message.lower():
                    raise
                self.site.forget_image(spec.image, spec.platform)
                if self._config.execution.image_pull_policy != "IfNotPresent":
                    raise
        await self._pull(spec.image, spec.platform)
        async with step(Code.DOCKER_CONTAINER_CREATE_FAILED, "create the container"):
            return await self._create(spec)

    async def _create_named(self, spec: ContainerSpec) -> str:
        """A configured name may still be held by the user's last container, which is just being removed."""
        for _ in range(_NAME_TRIES if self._config.execution.containername else 0):
            try:
                return await self._create(spec)
            except EngineError as error:
                if error.status != 409:
                    raise
            await asyncio.sleep(_NAME_PAUSE)
        return await self._create(spec)

    async def _create(self, spec: ContainerSpec) -> str:
        self._name = spec.name
        # In a task of its own: a request that is cut off may still create, and then there is no id to remove.
        self._creating = asyncio.get_running_loop().create_task(
            self.site.engine.create(spec.name, spec.body, platform=spec.platform, timeout=self.start_seconds),
            name=f"docker/create/{spec.name}",
        )
        self.id = await asyncio.shield(self._creating)
        return self.id

    async def _pull(self, image: str, platform: str) -> None:
        auth = self._config.execution.auth
        fields = {} if auth is None else auth.model_dump()
        login = {key: _revealed(value) for key, value in fields.items() if _revealed(value)}
        self._progress("pulling image")
        self.site.forget_image(image, platform)
        async with step(Code.DOCKER_IMAGE_PULL_FAILED, "pull the image"):
            await self.site.engine.pull(image, auth=login, platform=platform, progress=self._progress)

    async def remove(self) -> None:
        """Remove what there is of it, within the configured time."""
        container = await self._settled()
        if container:
            await remove_container(self.site.engine, container, seconds=self.stop_seconds)
            self.id = ""

    async def _settled(self) -> str:
        creating, self._creating = self._creating, None
        if creating is None:
            return self.id
        await asyncio.wait([creating], timeout=self.stop_seconds)
        if not creating.done():
            creating.cancel()
            await asyncio.wait([creating])
        cause = None if creating.cancelled() else creating.exception()
        if not creating.cancelled() and cause is None:
            return creating.result()
        if isinstance(cause, EngineError):
            return ""  # the engine has refused: what bears that name is not ours
        return await self._found()

    async def _found(self) -> str:
        """The id of what a create without an answer may have left."""
        with contextlib.suppress(EngineError, EngineUnreachableError, TimeoutError):
            found = await self.site.engine.inspect(self._name, timeout=self.http_seconds)
            labels = ((found or {}).get("Config") or {}).get("Labels") or {}
            ours = self._login.connection_id
            if labels.get(OWNER) == self.site.owner.token and labels.get("containerssh_connection_id") == ours:
                return str((found or {}).get("Id", ""))
        return ""


class DockerLauncher:
    """Launches one container with our agent as its first process; implements `Launcher`."""

    def __init__(self, site: Site, login: Login, clean_ups: CleanUps) -> None:
        self._site = site
        self._login = login
        self._config: DockerConfig = login.config.docker
        self._clean_ups = clean_ups
        self._container: Container | None = None
        self._door: Door | None = None
        self._starting: asyncio.Task[None] | None = None
        self._destroying: asyncio.Task[None] | None = None

    async def launch(self, link: AgentLink, progress: Progress) -> None:
        """Make the container and connect `link`; see `Launcher.launch`."""
        self._container = container = Container(self._site, self._login, progress)
        architecture = await container.image()
        ways = self._site.ways(self._config.execution.stream)
        for number, way in enumerate(ways):
            launch = self._by_socket if way == "socket" else self._by_attach
            try:
                await launch(container, link, architecture)
            except BackendError as error:
                if number + 1 == len(ways) or not is_injection_failure(error.__cause__):
                    raise
                await self._undo()
            else:
                if number:
                    self._site.socket_failed()
                    structlog.get_logger().warning(
                        "Guests cannot reach our socket; using the engine's attach, which is slower",
                        code=Code.DOCKER_CONTAINER_ATTACH,
                    )
                return

    async def rename(self, name: str) -> None:
        """Give the container another name."""
        if self._container is not None and self._container.id:
            await self._site.engine.rename(self._container.id, name, timeout=self._container.http_seconds)

    async def destroy(self, reason: str) -> None:
        """Remove the container; see `Launcher.destroy`."""
        del reason
        if self._destroying is None:
            self._destroying = self._clean_ups.begin(self._undo(), name="docker/remove")
        await asyncio.shield(self._destroying)

    async def _by_socket(self, container: Container, link: AgentLink, architecture: str) -> None:
        async with step(Code.DOCKER_CONTAINER_CREATE_FAILED, "make the guest's directory"):
            self._door = door = self._site.doors.open(architecture)
        execution = self._config.execution
        spec = agent_container(execution, self._login, self._lease(), door.injection, companion=companion_of(execution))
        identity = await container.create(spec)
        engine, seconds = self._site.engine, container.start_seconds
        # The agent dials before the engine has answered the start: whoever comes first is enough.
        self._starting = starting = asyncio.create_task(engine.start(identity, timeout=seconds), name="docker/start")
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard even if nobody waits
        accepting = asyncio.create_task(door.accept(lambda: link), name="docker/accept")
        try:
            await asyncio.wait((starting, accepting), return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                async with step(Code.DOCKER_CONTAINER_START_FAILED, "start the container"):
                    await asyncio.shield(starting)
                await self._dialled(accepting, identity)
            async with step(Code.DOCKER_CONTAINER_START_FAILED, "accept the agent"):
                accepting.result()
        finally:
            accepting.cancel()
            await asyncio.wait((accepting,))

    async def _dialled(self, accepting: asyncio.Task[None], identity: str) -> None:
        """Returns when the agent has dialled; a container that has ended instead is an injection failure."""
        pause = _FIRST_LOOK
        while True:
            done, _ = await asyncio.wait((accepting,), timeout=pause)
            if done:
                return
            pause = min(2 * pause, _LAST_LOOK)
            async with step(Code.DOCKER_CONTAINER_START_FAILED, "reach the agent"):
                found = await self._site.engine.inspect(identity, timeout=self._config.timeouts.http.total_seconds())
                if found is None or not (found.get("State") or {}).get("Running"):
                    raise EngineError(500, "the container has ended before its agent could dial the mounted socket")

    async def _by_attach(self, container: Container, link: AgentLink, architecture: str) -> None:
        engine, seconds = self._site.engine, container.start_seconds
        execution, lease = self._config.execution, self._lease()
        for attempt in (1, 2):
            try:
                async with step(Code.DOCKER_CONTAINER_CREATE_FAILED, "put the agent on the engine"):
                    injection = await self._site.volumes.injection(
                        architecture,
                        image=str(execution.container.get("Image", "")),
                        platform=platform_name(execution.platform),
                        labels=lease.labels(),
                        timeout=seconds,
                    )
                spec = agent_container(execution, self._login, lease, injection, companion=companion_of(execution))
                identity = await container.create(spec)
                async with step(Code.DOCKER_CONTAINER_ATTACH_FAILED, "attach to the container"):
                    stream = await engine.attach(identity, timeout=seconds)
                try:
                    async with step(Code.DOCKER_CONTAINER_START_FAILED, "start the container"):
                        await engine.start(identity, timeout=seconds)
                except BaseException:
                    stream.abort()
                    raise
            except BackendError as error:
                if attempt == 2 or not is_injection_failure(error.__cause__):
                    raise
                self._site.volumes.forget()  # somebody may have removed the volume
                await container.remove()
            else:
                AttachedAgent(stream, link)
                return

    def _lease(self) -> Lease:
        return self._site.lease(self._config.timeouts.container_start.total_seconds())

    async def _undo(self) -> None:
        starting, self._starting = self._starting, None
        if self._container is not None:
            await self._container.remove()
        if starting is not None:
            starting.cancel()  # its container is gone: it could only fail
            await asyncio.wait((starting,))
        if self._door is not None:
            self._door.close()
            self._door = None


def companion_of(execution: DockerExecutionConfig) -> Sequence[str]:
    """What runs in a container beside our agent by its configuration; empty if nothing does."""
    if execution.mode == "session" or tuple(execution.idle_command) == tuple(DEFAULT_IDLE_COMMAND):
        return ()
    return (*(execution.container.get("Entrypoint") or ()), *execution.idle_command)


@asynccontextmanager
async def step(code: Code, doing: str) -> AsyncIterator[None]:
    """Turns what the engine says in the block into a `BackendError` with `code`."""
    try:
        yield
    except (EngineError, EngineUnreachableError, OSError) as cause:
        raise backend_error(code, doing, cause) from cause


def _revealed(value: object) -> str:
    reveal: Callable[[], str] | None = getattr(value, "get_secret_value", None)
    return reveal() if reveal is not None else str(value)
