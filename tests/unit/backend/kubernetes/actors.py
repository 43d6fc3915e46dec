"""A server that speaks just enough of the Kubernetes API to do what a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from moorage.backend.kubernetes.access import Access
from moorage.backend.kubernetes.api import Api
from moorage.backend.kubernetes.credentials import fixed

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeApi:
    """Answers each request with the next of its answers; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[web.Request] = []
        self.bodies: list[Any] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json() if request.can_read_body else None)
        chosen = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        return await chosen(request)


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Answer:
    """An error as the API server words it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "code": code, "reason": reason, "message": message}
        return web.json_response(body, status=code, headers=headers)

    return answer


def found(value: Any) -> Answer:
    """An object, or a list."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(value)

    return answer


def listed(*names: str, version: str = "1", more: str = "") -> Answer:
    """A page of a list of pods."""
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return found({"kind": "PodList", "metadata": metadata, "items": [pod(name, version) for name in names]})


def watched(*events: Any, hang: bool = False, cut: bool = False) -> Answer:
    """A watch that tells these events; then it ends, stays silent, or breaks."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        if hang:
            await asyncio.Event().wait()
        if cut and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def pod(name: str, version: str = "1", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "status": status}


def event(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "object": value}


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[FakeApi, Api]]:
    """A fake server and a client of it."""
    fake = FakeApi(*answers)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    api = Api(Access(f"http://{host}:{port}", "", fixed(token="secret")))
    try:
        yield fake, api
    finally:
        await api.close()
        await runner.cleanup()
