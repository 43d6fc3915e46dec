"""The agent as a container image: a file that every tool loads, made without a registry, an engine or a base image."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import IO, Final

from moorage.agent.install import agent_binary

PROGRAM: Final = "/moorage-agent"
_USER: Final = "65532:65532"


def write_image(target: IO[bytes], *, architecture: str, name: str) -> None:
    """Write an image called `name` with the agent for `architecture` and nothing else; raises `BackendError`.

    The format is the archive of ``docker save``.  What is written depends on the agent and the arguments alone.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, PROGRAM.lstrip("/"), agent_binary(architecture).read_bytes(), 0o555)
    content = layer.getvalue()
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [PROGRAM], "User": _USER},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=target, mode="w") as archive:
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        _add(archive, "config.json", json.dumps(config).encode())
        _add(archive, "layer.tar", content)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o444) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))
