"""What the SSH server asks: is this the user's password, and what does the user get to see?"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from database import ask
from passwords import matches, nobodys
from settings import DIRECTORY, HOOKS

from moorage.webhook import Configuration, ConfigurationRequest, Hooks, PasswordRequest
from moorage.webhook.aiohttp import application


class Hosting(Hooks):
    """Answers from the database."""

    async def password(self, request: PasswordRequest) -> bool:
        return await asyncio.to_thread(is_right, request.username, request.password)

    async def configuration(self, request: ConfigurationRequest) -> Configuration:
        return await asyncio.to_thread(configuration, request.username)


def is_right(user: str, password: bytes) -> bool:
    """Is it the password of `user`?  A name that does not exist costs what the one of another user does."""
    own = ask("select password from users where name = ?", user)
    [(stored,)] = own or ask("select password from users limit 1") or [(nobodys(),)]
    return matches(password, stored) and bool(own)


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
