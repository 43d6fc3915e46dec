"""The backends that the same end-to-end tests run on, and what is left on an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.clients import Client
from tests.e2e.serving import CANARY, Server
from tests.parts.engine import RealEngine, UnixConnection

USER: Final = "mia"
PASSWORD: Final = f"pass-{CANARY}"


@dataclass(frozen=True)
class Place:
    """A running server with one backend, and a user of it who has a key."""

    backend: str
    server: Server
    user: Client


def sandbox_config() -> dict[str, Any]:
    """The part of a configuration that chooses the sandbox."""
    return {"backend": "sandbox"}


def docker_config(host: str, image: str, **execution: Any) -> dict[str, Any]:
    """The part of a configuration that chooses Docker with `image`."""
    container = {"image": image, "env": [f"GUEST_SECRET=env-{CANARY}"]}
    registry = {"username": "mia", "password": f"registry-{CANARY}"}
    fixed = {"container": container, "host": {"networkmode": "none"}, "imagePullPolicy": "Never", "auth": registry}
    settings = {**fixed, **execution}
    return {"backend": "docker", "docker": {"connection": {"host": host}, "execution": settings}}


def ask(engine: RealEngine, method: str, path: str) -> Any:
    """One request to the engine itself."""
    connection = UnixConnection(engine.socket, 30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status < 400, f"{method} {path}: {answer.status} {body[:300]!r}"
        return json.loads(body) if body[:1] in (b"{", b"[") else None
    finally:
        connection.close()


def containers(engine: RealEngine, **labels: str) -> list[Mapping[str, Any]]:
    """Every container that a Moorage has made, running or not, with these labels."""
    found: list[Mapping[str, Any]] = ask(engine, "GET", "/containers/json?all=1")
    ours = [c for c in found if any(name.startswith(("moorage", "containerssh")) for name in c["Labels"] or {})]
    return [c for c in ours if all(c["Labels"].get(name) == value for name, value in labels.items())]


def of_user(engine: RealEngine, name: str) -> list[Mapping[str, Any]]:
    """The containers of one user."""
    return containers(engine, containerssh_username=name)
