"""The calls of the Docker Engine API that guests need, one method each.

Podman's compatible API answers the same calls.  Every method raises `EngineError`,
`EngineUnreachableError` or `TimeoutError`, and takes its deadline in seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.backend.docker.wire import Wire
from moorage.backend.observer import RequestObserver, Unobserved, counted
from moorage.net.stream import RawStream

PULL_DEADLINE: Final = 1800.0
"""Seconds that one download of an image may take, however many logins wait for it."""

_LAYERS: Final = 256
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ExecState:
    """How an exec stands."""

    running: bool
    exit_code: int | None
    pid: int


class Engine:
    """One engine, shared by all its guests."""

    def __init__(self, address: EngineAddress, *, observer: RequestObserver | None = None) -> None:
        self.address = address
        self.observer: RequestObserver = observer or Unobserved()
        self._wire = Wire(address)
        self._pulls: dict[str, _Pull] = {}

    async def close(self) -> None:
        """Stop downloads and close the connections; idempotent."""
        pulls = [pull.task for pull in self._pulls.values()]
        for task in pulls:
            task.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)
        await self._wire.close()

    async def architecture(self, *, timeout: float) -> str:
        """The engine's own architecture in Go's words, such as ``amd64``."""
        answer = _mapping(await self._wire.call("GET", "/version", timeout=timeout))
        return _architecture(answer.get("Arch"))

    # Containers.

    @counted
    async def create(self, name: str, body: Mapping[str, Any], *, platform: str = "", timeout: float) -> str:
        """Create a container; its id."""
        query: dict[str, str | int] = {"name": name} if name else {}
        if platform:
            query["platform"] = platform
        answer = _mapping(await self._wire.call("POST", "/containers/create", query=query, body=body, timeout=timeout))
        container = answer.get("Id")
        if not isinstance(container, str) or not container.isalnum() or len(container) > 128:
            raise EngineUnreachableError("the engine named no container")
        return container

    @counted
    async def start(self, container: str, *, timeout: float) -> None:
        """Start it; a no-op if it runs."""
        await self._wire.call("POST", f"/containers/{_path(container)}/start", timeout=timeout)

    async def rename(self, container: str, name: str, *, timeout: float) -> None:
        """Give it another name."""
        query: dict[str, str | int] = {"name": name}
        await self._wire.call("POST", f"/containers/{_path(container)}/rename", query=query, timeout=timeout)

    @counted
    async def attach(self, container: str, *, timeout: float, logs: bool = False) -> RawStream:
        """Its standard streams, framed unless it has a terminal."""
        query = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1, "logs": int(logs)}
        return await self._wire.upgrade(f"/containers/{_path(container)}/attach", query=query, timeout=timeout)

    @counted
    async def inspect(self, container: str, *, timeout: float) -> Mapping[str, Any] | None:
        """What the engine knows of it; None if there is no such container."""
        try:
            return _mapping(await self._wire.call("GET", f"/containers/{_path(container)}/json", timeout=timeout))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def wait(self, container: str, *, condition: str = "not-running", timeout: float) -> int:
        """Its exit code, once it has stopped."""
        answer = _mapping(
            await self._wire.call(
                "POST", f"/containers/{_path(container)}/wait", query={"condition": condition}, timeout=timeout
            )
        )
        return _integer(answer.get("StatusCode"))

    async def kill(self, container: str, signal: str, *, timeout: float) -> None:
        """Send `signal` to its first process."""
        await self._wire.call("POST", f"/containers/{_path(container)}/kill", query={"signal": signal}, timeout=timeout)

    async def resize(self, container: str, *, columns: int, rows: int, timeout: float) -> None:
        """Tell its terminal the size."""
        query = {"h": rows, "w": columns}
        await self._wire.call("POST", f"/containers/{_path(container)}/resize", query=query, timeout=timeout)

    @counted
    async def remove(self, container: str, *, timeout: float) -> bool:
        """Remove it by force, with its anonymous volumes: True if it is gone, False if its removal is under way."""
        try:
            await self._wire.call(
                "DELETE", f"/containers/{_path(container)}", query={"force": 1, "v": 1}, timeout=timeout
            )
        except EngineError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404
        return True

    async def containers(self, labels: Sequence[str], *, timeout: float) -> list[Mapping[str, Any]]:
        """All containers, running or not, that carry `labels` (``name`` or ``name=value``)."""
        query: dict[str, str | int] = {"all": 1, "filters": json.dumps({"label": list(labels)})}
        answer = await self._wire.call("GET", "/containers/json", query=query, timeout=timeout)
        if not isinstance(answer, list):
            raise EngineUnreachableError("the engine gave no list of containers")
        return [_mapping(item) for item in answer]

    async def put_archive(self, container: str, path: str, archive: bytes, *, timeout: float) -> None:
        """Unpack a tar archive at `path` in it; it need not run."""
        await self._wire.call(
            "PUT",
            f"/containers/{_path(container)}/archive",
            query={"path": path},
            raw=archive,
            headers={"Content-Type": "application/x-tar"},
            timeout=timeout,
        )

    async def has_path(self, container: str, path: str, *, timeout: float) -> bool:
        """Is there a file at `path` in it?  It need not run."""
        try:
            await self._wire.call(
                "HEAD", f"/containers/{_path(container)}/archive", query={"path": path}, timeout=timeout
            )
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    # Execs.

    @counted
    async def exec_create(self, container: str, body: Mapping[str, Any], *, timeout: float) -> str:
        """Prepare a program in a running container; the exec's id."""
        answer = _mapping(
            await self._wire.call("POST", f"/containers/{_path(container)}/exec", body=body, timeout=timeout)
        )
        identity = answer.get("Id")
        if not isinstance(identity, str) or not identity.isalnum() or len(identity) > 128:
            raise EngineUnreachableError("the engine named no exec")
        return identity

    @counted
    async def exec_start(self, identity: str, *, tty: bool, timeout: float) -> RawStream:
        """Start it; its standard streams, framed unless `tty`."""
        return await self._wire.upgrade(
            f"/exec/{_path(identity)}/start", body={"Detach": False, "Tty": tty}, timeout=timeout
        )

    async def exec_resize(self, identity: str, *, columns: int, rows: int, timeout: float) -> None:
        """Tell its terminal the size."""
        query = {"h": rows, "w": columns}
        await self._wire.call("POST", f"/exec/{_path(identity)}/resize", query=query, timeout=timeout)

    async def exec_inspect(self, identity: str, *, timeout: float) -> ExecState:
        """Does it run, and if not, how did it end?"""
        answer = _mapping(await self._wire.call("GET", f"/exec/{_path(identity)}/json", timeout=timeout))
        code = answer.get("ExitCode")
        return ExecState(
            running=bool(answer.get("Running")),
            exit_code=code if isinstance(code, int) else None,
            pid=_integer(answer.get("Pid")),
        )

    # Images and volumes.

    @counted
    async def image(self, name: str, *, timeout: float) -> Mapping[str, Any] | None:
        """What the engine knows of an image; None if it is not there."""
        try:
            return _mapping(await self._wire.call("GET", f"/images/{quote(name, safe='/:@')}/json", timeout=timeout))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    @counted
    async def pull(
        self, name: str, *, auth: Mapping[str, str] | None, platform: str, progress: Callable[[str], None]
    ) -> None:
        """Download an image.  Those who ask for the same one share the download; it outlives who gives up waiting."""
        key = json.dumps([name, platform, sorted((auth or {}).items())])
        pull = self._pulls.get(key)
        if pull is None:
            pull = _Pull(self._wire, name, auth, platform)
            self._pulls[key] = pull
            pull.task.add_done_callback(lambda _: self._pulls.pop(key, None))
        pull.watchers.append(progress)
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.watchers.remove(progress)

    async def ensure_volume(self, name: str, labels: Mapping[str, str], *, timeout: float) -> None:
        """Make a named volume unless it is there."""
        await self._wire.call("POST", "/volumes/create", body={"Name": name, "Labels": dict(labels)}, timeout=timeout)

    async def volume(self, name: str, *, timeout: float) -> Mapping[str, Any] | None:
        """What the engine knows of a volume; None if it is not there."""
        try:
            return _mapping(await self._wire.call("GET", f"/volumes/{_path(name)}", timeout=timeout))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def remove_volume(self, name: str, *, timeout: float) -> None:
        """Remove a named volume; a no-op if there is none."""
        try:
            await self._wire.call("DELETE", f"/volumes/{_path(name)}", timeout=timeout)
        except EngineError as error:
            if error.status != 404:
                raise


class _Pull:
    """One download, watched by any number of waiting logins."""

    def __init__(self, wire: Wire, name: str, auth: Mapping[str, str] | None, platform: str) -> None:
        self.watchers: list[Callable[[str], None]] = []
        self._layers: dict[str, tuple[int, int]] = {}
        self._shown = -1
        self.task = asyncio.get_running_loop().create_task(
            self._run(wire, name, auth, platform), name=f"docker/pull/{name}"
        )
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard even if nobody waits

    async def _run(self, wire: Wire, name: str, auth: Mapping[str, str] | None, platform: str) -> None:
        query: dict[str, str | int] = {"fromImage": name}
        if "@" not in name and ":" not in name.rpartition("/")[2]:
            query["tag"] = "latest"  # without a tag the engine would fetch every one of them
        if platform:
            query["platform"] = platform
        headers = {"X-Registry-Auth": registry_auth(auth)} if auth else {}
        lines = wire.lines("POST", "/images/create", query=query, headers=headers, timeout=PULL_DEADLINE)
        async with aclosing(lines):
            async for value in lines:
                _raise_pull_error(value)
                self._report(value)

    def _report(self, value: object) -> None:
        if not isinstance(value, dict) or value.get("status") not in (
            "Downloading",
            "Download complete",
            "Pull complete",
        ):
            return
        layer, detail = str(value.get("id", ""))[:64], value.get("progressDetail")
        if value["status"] == "Downloading" and isinstance(detail, dict):
            if layer in self._layers or len(self._layers) < _LAYERS:
                self._layers[layer] = (_integer(detail.get("current")), _integer(detail.get("total")))
        elif layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        total = sum(layer[1] for layer in self._layers.values())
        percent = min(100, 100 * sum(layer[0] for layer in self._layers.values()) // total) if total > 0 else 0
        if percent > self._shown:  # totals grow while layers are discovered: never count backwards
            self._shown = percent
            for watcher in tuple(self.watchers):
                watcher(f"pulling image: {percent} %")


def registry_auth(auth: Mapping[str, str]) -> str:
    """The value of ``X-Registry-Auth``: URL-safe base64 of the login's JSON."""
    return base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()


def image_architecture(image: Mapping[str, Any]) -> str:
    """An image's architecture in Go's words; empty if it names none."""
    return _architecture(image.get("Architecture"))


def _raise_pull_error(value: object) -> None:
    if isinstance(value, dict) and value.get("error"):
        text = "".join(c if c.isprintable() else " " for c in str(value["error"]))[:500]
        detail = value.get("errorDetail")
        status = _integer(detail.get("code")) if isinstance(detail, dict) else 0
        raise EngineError(status or 500, text)


def _path(name: str) -> str:
    return quote(name, safe="")


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EngineUnreachableError("the engine's answer has an unexpected shape")
    return value


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _architecture(value: object) -> str:
    text = str(value or "")[:32]
    return _ARCHITECTURES.get(text, text)
