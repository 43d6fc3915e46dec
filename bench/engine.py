"""The container engine's API with nothing around it: what a login could cost at best."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import socket
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

IMAGE: Final = "moorage-bench/busybox:1"
LABEL: Final = "moorage.bench"
_TIMEOUT: Final = 60


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


class Engine:
    """One kept-open connection to an engine at ``unix:///path``; not for use by two threads."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._path = host.removeprefix("unix://")
        self._connection = _UnixConnection(self._path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded JSON answer, or None."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        self._connection.request(method, path, data, {"Content-Type": kind})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
        return json.loads(answer) if answer[:1] in (b"{", b"[") else None

    def version(self) -> str:
        """Name and version of the engine."""
        return str(self.call("GET", "/version")["Version"])

    def make_image(self) -> None:
        """Make the guest image out of the machine's static busybox; nothing is pulled."""
        busybox = shutil.which("busybox")
        if busybox is None:
            raise RuntimeError("the benchmark needs the package busybox-static")
        self.call("POST", f"/images/create?fromSrc=-&repo={IMAGE.replace(':', '&tag=')}", _busybox_tar(Path(busybox)))

    def remove_image(self) -> None:
        """Remove what `make_image` made."""
        self.call("DELETE", f"/images/{IMAGE}?force=true")

    def create(self, command: list[str]) -> str:
        """Create a container as a gateway would: no network of its own, no log driver, removed at its end."""
        spec = {
            "Image": IMAGE,
            "Cmd": command,
            "Labels": {LABEL: "1"},
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "HostConfig": {"AutoRemove": True, "NetworkMode": "none", "LogConfig": {"Type": "none"}},
        }
        return str(self.call("POST", "/containers/create", spec)["Id"])

    def start(self, container: str) -> None:
        """Start a container; returns when its first process runs."""
        self.call("POST", f"/containers/{container}/start")

    def remove(self, container: str) -> None:
        """Remove a container, whatever state it is in."""
        self.call("DELETE", f"/containers/{container}?force=true")

    @contextmanager
    def attach(self, container: str) -> Iterator[io.BufferedReader]:
        """The container's output, as the engine sends it."""
        with self._upgraded(f"/containers/{container}/attach?stream=1&stdout=1&stderr=1&stdin=1", None) as stream:
            yield stream

    def first_login(self, command: list[str]) -> tuple[float, float]:
        """Seconds to the end of create + start, and to the first byte of output through attach."""
        begun = time.perf_counter()
        container = self.create(command)
        with self.attach(container) as output:
            self.start(container)
            started = time.perf_counter()
            if not output.read(9):
                raise RuntimeError("the container gave no output")
            ended = time.perf_counter()
            output.read()
        return started - begun, ended - begun

    def execute(self, container: str, command: list[str]) -> None:
        """Run a command in a running container and read its output to the end."""
        spec = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
        made = self.call("POST", f"/containers/{container}/exec", spec)
        with self._upgraded(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}) as output:
            if not output.read():
                raise RuntimeError("the command gave no output")

    @contextmanager
    def _upgraded(self, path: str, body: Any) -> Iterator[io.BufferedReader]:
        connection = _UnixConnection(self._path)
        try:
            headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body).encode() if body else None, headers)
            with connection.sock.makefile("rb") as stream:
                status = stream.readline()
                if b" 101 " not in status and b" 200 " not in status:
                    raise RuntimeError(f"POST {path}: {status!r}")
                while stream.readline().strip():
                    pass
                yield stream
        finally:
            connection.close()


def _busybox_tar(busybox: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(busybox.resolve(), "bin/busybox")
        for name in ("sh", "cat", "echo", "dd", "sleep", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        for name, text in (("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
