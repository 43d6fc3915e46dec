"""What the SSH server asks: is this the user's password, and what does the user get to see?"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from database import ask
from passwords import NOBODYS, matches
from settings import DIRECTORY, HOOKS

from moorage.webhook import Accepted, Configuration, ConfigurationRequest, Hooks, PasswordRequest
from moorage.webhook.aiohttp import application


class Hosting(Hooks):
    """Answers from the database."""

    async def password(self, request: PasswordRequest) -> Accepted | bool:
        rows = await asyncio.to_thread(ask, "select password from users where name = ?", request.username)
        is_right = await asyncio.to_thread(matches, request.password, rows[0][0] if rows else NOBODYS)
        return is_right and bool(rows)

    async def configuration(self, request: ConfigurationRequest) -> Configuration:
        return await asyncio.to_thread(configuration, request.username)


def configuration(user: str) -> Configuration:
    """The sites of `user` below /sites, each as the rights say; a shell only for who may have one."""
    [(uid, shell)] = ask("select uid, shell from users where name = ?", user)
    rights = (
        "select site, directory, may_write from rights join sites on site = sites.name where customer = ? order by site"
    )
    mounts = [
        {"source": directory, "target": f"/sites/{site}", "writable": bool(may_write)}
        for site, directory, may_write in ask(rights, user)
    ]
    security: dict[str, Any] = {"sftp": {"root": "/sites", "quota": "500Mi"}, "maxLogins": 5}
    if shell:
        security |= {"shell": {"mode": "enable"}, "command": {"mode": "enable"}}
    return Configuration(config={"sandbox": {"user": uid, "mounts": mounts}, "security": security})


if __name__ == "__main__":
    # Others on this machine may reach the port: without the secret nobody is answered.
    app = application(Hosting(), secret=(DIRECTORY / "hook-secret").read_bytes())
    host, _, port = HOOKS.rpartition(":")
    web.run_app(app, host=host, port=int(port), print=None, access_log=None)
