"""The way to a server behind, where a real network cannot be made to do it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.e2e.serving import free_port

from moorage.backend.sshproxy.connecting import connected
from moorage.config import AppConfig
from moorage.gateway.model import Address, Attempt, ConnectionId, Login


async def test_a_name_with_several_addresses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port, asked = free_port(), asyncio.Event()

    async def two(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    settings = {"server": "behind", "port": port, "username": "x", "allowedHostKeyFingerprints": ["SHA256:" + "A" * 43]}
    config = AppConfig.model_validate({"backend": "sshproxy", "sshproxy": settings})
    login = Login(Attempt(ConnectionId("ab" * 16), Address("127.0.0.1", 1), "x", "alice"), "password", config)
    steps: list[str] = []

    def progress(step: str) -> None:
        steps.append(step)
        if len(steps) > 1:
            asked.set()

    task = asyncio.ensure_future(connected(login, lambda _: None, progress))
    waiting = asyncio.ensure_future(asked.wait())
    await asyncio.wait({task, waiting}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert steps == ["connecting", "the server behind does not answer yet"]
    for one in (task, waiting):
        one.cancel()
    await asyncio.gather(task, waiting, return_exceptions=True)
