"""Hooks as an aiohttp application, to be run alone or mounted with ``add_subapp``."""

from __future__ import annotations

from aiohttp import web

from moorage.webhook.hooks import LARGEST_REQUEST, Hooks, respond
from moorage.webhook.signature import HEADER


def application(hooks: Hooks, *, secret: bytes = b"") -> web.Application:
    """An application that answers at ``…/password``, ``…/pubkey``, ``…/otp``, ``…/authz`` and ``…/config``.

    With a `secret`, requests that are not signed with it get status 401.
    """

    async def answer(request: web.Request) -> web.Response:
        reply = await respond(
            hooks,
            request.path,
            await request.read(),
            method=request.method,
            signature=request.headers.get(HEADER, ""),
            secret=secret,
        )
        return web.Response(status=reply.status, body=reply.body, content_type="application/json")

    app = web.Application(client_max_size=LARGEST_REQUEST)
    app.router.add_route("*", "/{path:.*}", answer)
    return app
