"""Guest images, made here from what the machine has; nothing is pulled.

The archives are kept in the cache, named by what they are made from, and imported into an engine once.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.parts import need
from tests.parts.engine import RealEngine, UnixConnection

import moorage.agent
from moorage.agent.image import write_image

_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nstaff:x:50:app\n"
_DEBIAN_PACKAGES = "bash,git,openssh-sftp-server,procps,python3,rsync"
_HERE = Path(__file__).parent


def busybox(engine: RealEngine) -> str:
    """A small image with busybox, as Alpine has it: ``/bin/sh``, no bash, no sftp-server."""
    return _image(engine, "busybox", _busybox_key(), _make_busybox, ['CMD ["/bin/sh"]'])


def debian(engine: RealEngine) -> str:
    """A Debian with bash, git, rsync, procps and OpenSSH's sftp-server."""
    return _image(engine, "debian", _DEBIAN_PACKAGES, _make_debian, ['CMD ["/bin/bash"]'])


def scratch(engine: RealEngine) -> str:
    """An image from scratch: one static binary ``/hello`` and nothing else."""
    source = (_HERE / "scratch" / "main.go").read_text()
    return _image(engine, "scratch", source, _make_scratch, ['ENTRYPOINT ["/hello"]'])


def containerssh(engine: RealEngine) -> str:
    """The busybox image with an agent of its own at ``/usr/bin/containerssh-agent``."""
    return _image(
        engine, "containerssh", _busybox_key() + _digest(agent_binary()), _make_containerssh, ['CMD ["/bin/sh"]']
    )


def agent_binary() -> Path:
    """The agent for this machine, as it was built."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    path = Path(moorage.agent.__file__).parent / "bin" / f"moorage-agent-linux-{machine}"
    if not path.exists():
        need.missing("the built agent (build it first: make agent)")
    return path


def _image(engine: RealEngine, name: str, key: str, make: Callable[[Path], None], changes: Sequence[str]) -> str:
    recipe = [key, list(changes), inspect.getsource(make), inspect.getsource(_add_busybox)]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    reference = f"moorage-test/{name}:{digest}"
    if _has(engine, reference):
        return reference
    with need.exclusively(f"image-{name}"):
        archive = need.cache() / "images" / f"{name}-{digest}.tar"
        if not archive.exists():
            archive.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="moorage-image-") as scratch_directory:
                work = Path(scratch_directory) / "image.tar"
                make(work)
                shutil.copyfile(work, archive.with_suffix(".part"))
            archive.with_suffix(".part").rename(archive)
        _import(engine, reference, archive, changes)
    return reference


def _has(engine: RealEngine, reference: str) -> bool:
    connection = UnixConnection(engine.socket, 30)
    try:
        connection.request("GET", f"/images/{quote(reference, safe='/:')}/json")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def _import(engine: RealEngine, reference: str, archive: Path, changes: Sequence[str]) -> None:
    query = urlencode([("fromSrc", "-"), ("repo", reference), *(("changes", c) for c in changes)])
    connection = UnixConnection(engine.socket, 300)
    try:
        with archive.open("rb") as source:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(archive.stat().st_size)}
            connection.request("POST", f"/images/create?{query}", body=source, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        if answer.status != 200 or '"error"' in text:
            raise RuntimeError(f"importing {reference} failed: {answer.status} {text[-500:]}")
    finally:
        connection.close()


def _busybox_key() -> str:
    return _digest(Path(need.program("busybox", "busybox-static")))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make_busybox(target: Path) -> None:
    with tarfile.open(target, "w") as archive:
        _add_busybox(archive)


def _make_containerssh(target: Path) -> None:
    with tarfile.open(target, "w") as archive:
        _add_busybox(archive)
        _add_directory(archive, "usr/bin")
        _add_file(archive, "usr/bin/containerssh-agent", agent_binary().read_bytes(), 0o755)


def _add_busybox(archive: tarfile.TarFile) -> None:
    binary = Path(need.program("busybox", "busybox-static"))
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name, mode in (
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("proc", 0o555),
        ("sys", 0o555),
    ):
        _add_directory(archive, name, mode)
    _add_directory(archive, "usr")
    _add_directory(archive, "home")
    _add_directory(archive, "home/app", 0o755, owner=1000)
    _add_file(archive, "bin/busybox", binary.read_bytes(), 0o755)
    for applet in applets:
        if applet != "busybox":
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    _add_file(archive, "etc/passwd", _PASSWD.encode())
    _add_file(archive, "etc/group", _GROUP.encode())


def _add_directory(archive: tarfile.TarFile, name: str, mode: int = 0o755, *, owner: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
    archive.addfile(info)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _make_debian(target: Path) -> None:
    need.root()
    tool = need.program("mmdebstrap", "mmdebstrap")
    command = [tool, "--quiet", "--variant=minbase", f"--include={_DEBIAN_PACKAGES}", "bookworm", str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        need.missing(f"a Debian package mirror for the Debian guest image ({result.stderr.strip()[-300:]})")


def _make_scratch(target: Path) -> None:
    binary = target.parent / "hello"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    command = [need.program("go", "golang-go"), "build", "-ldflags", "-s -w -buildid=", "-o", str(binary), "."]
    subprocess.run(command, cwd=_HERE / "scratch", env=environment, check=True, capture_output=True)
    with tarfile.open(target, "w") as archive:
        _add_file(archive, "hello", binary.read_bytes(), 0o755)


# Images for the node of a cluster, which has no registry: docker archives with a name, imported as files.


def node_name(name: str) -> str:
    """What a node calls one of the images of `for_nodes`; without a host in it, containerd would put one before it."""
    return f"registry.test/moorage/{name}:1"


def for_nodes(directory: Path) -> dict[str, Path]:
    """All images that a cluster's tests use, each as an archive in `directory`."""
    shell = {"Cmd": ["/bin/sh"]}
    return {
        "pause": _archived(directory, "pause", _make_busybox, {"Entrypoint": ["/bin/sleep", "2147483647"]}),
        "busybox": _archived(directory, "busybox", _make_busybox, shell),
        "containerssh": _archived(directory, "containerssh", _make_containerssh, shell),
        "scratch": _archived(directory, "scratch", _make_scratch, {"Entrypoint": ["/hello"]}),
        "agent": _agent_image(directory),
    }


def _agent_image(directory: Path) -> Path:
    """As `moorage agent-image` writes it."""
    path = directory / "agent.tar"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    agent_binary()
    with path.open("wb") as target:
        write_image(target, architecture=machine, name=node_name("agent"))
    return path


def _archived(directory: Path, name: str, make: Callable[[Path], None], config: Mapping[str, Sequence[str]]) -> Path:
    layer = directory / "layer.tar"
    make(layer)
    settings = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/"}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    described = {
        "architecture": machine,
        "os": "linux",
        "config": {**settings, **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [node_name(name)], "Layers": ["layer.tar"]}]
    path = directory / f"{name}.tar"
    with tarfile.open(path, "w") as archive:
        _add_file(archive, "manifest.json", json.dumps(manifest).encode())
        _add_file(archive, "config.json", json.dumps(described).encode())
        archive.add(layer, "layer.tar")
    layer.unlink()
    return path
