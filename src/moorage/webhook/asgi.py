"""Hooks as an ASGI application: for uvicorn alone, or mounted in FastAPI, Starlette and the like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from moorage.webhook.hooks import LARGEST_REQUEST, Hooks, Reply, respond
from moorage.webhook.signature import HEADER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    """Answers at ``…/password``, ``…/pubkey``, ``…/otp``, ``…/authz`` and ``…/config``."""

    def __init__(self, hooks: Hooks, *, secret: bytes = b"") -> None:
        """With a `secret`, requests that are not signed with it get status 401."""
        self._hooks = hooks
        self._secret = secret

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"hooks are not asked by {scope['type']}")
        body = await _read(receive)
        if body is None:
            return
        reply = await respond(
            self._hooks,
            scope["path"],
            body,
            method=scope["method"],
            signature=_header(scope, HEADER),
            secret=self._secret,
        )
        await _send(send, reply)


async def _read(receive: Receive) -> bytes | None:
    """The request's body, not much more of it than is allowed; None if the caller has left."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False) or len(body) > LARGEST_REQUEST:
            return body  # one that is too large is refused as such


def _header(scope: Message, name: str) -> str:
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted), "")


async def _send(send: Send, reply: Reply) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
