"""The broker: says who may in and what each login gets, and takes it away again when the login is over.

For each login it makes one Vault token, and with that token a database user: whatever comes from the token ends with
it.  Both live for JUMP_TTL seconds and are renewed for as long as the SSH server's admin socket lists the connection.
They are revoked when it does not any more; if neither the broker nor the server is left, they run out by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from settings import DIRECTORY, SETTINGS, TTL, groups, keep
from vault import Vault, VaultError, session, token_in

from moorage.webhook import (
    Accepted,
    AuthorizationRequest,
    BinaryValue,
    Configuration,
    ConfigurationRequest,
    Hooks,
    TextValue,
)
from moorage.webhook.aiohttp import application

log = logging.getLogger("broker")
GROUPS = groups()
NAME = re.compile("[a-z_][a-z0-9_-]{0,31}")  # as the guest's account: it becomes part of a path
LARGEST_ANSWER = 16 * 1024 * 1024


@dataclass
class Held:
    """What one login has: enough to renew and to revoke it, and no secret."""

    accessor: str
    lease: str
    renewed: float


class Credentials:
    """What the logins have, by connection id; kept in a file, so that a restarted broker goes on."""

    def __init__(self, vault: Vault, admin: Path) -> None:
        self._vault = vault
        self._admin = admin
        self._held: dict[str, Held] = {}
        self._issued: dict[str, asyncio.Task[Configuration]] = {}
        if (DIRECTORY / "held.json").exists():
            self._held = {i: Held(**one) for i, one in json.loads((DIRECTORY / "held.json").read_text()).items()}

    async def issue(self, connection: str, user: str, group: str) -> Configuration:
        """The login's configuration with fresh credentials; the same ones when the server asks once more."""
        if connection not in self._issued:
            self._issued[connection] = asyncio.create_task(self._make(connection, user, group))
        try:
            return await asyncio.shield(self._issued[connection])
        except Exception:
            self._issued.pop(connection, None)
            raise

    async def _make(self, connection: str, user: str, group: str) -> Configuration:
        wanted = {"policies": [f"jump-login-{group}"], "ttl": f"{TTL}s", "display_name": f"jump-{user}"}
        token = (await self._vault.call("POST", "auth/token/create/jump-login", wanted))["auth"]
        self._hold(connection, Held(token["accessor"], "", time.time()))  # from here on it is revoked in any case
        try:
            made = await self._vault.call("GET", f"database/creds/jump-{group}", token=token["client_token"])
        except VaultError:
            await self._vault.call("POST", "auth/token/revoke-accessor", {"accessor": token["accessor"]})
            raise
        self._hold(connection, Held(token["accessor"], made["lease_id"], time.time()))
        log.info("issued %s to %s, group %s, connection %s", made["data"]["username"], user, group, connection)
        place = [SETTINGS[name] for name in ("PGHOST", "PGPORT", "PGDATABASE")]
        line = ":".join([*place, made["data"]["username"], made["data"]["password"]])
        return Configuration(
            config=GROUPS[group]["config"],
            files={f"/home/{user}/.pgpass": BinaryValue.of(f"{line}\n".encode(), sensitive=True)},
            environment={
                "PGPASSFILE": TextValue(value=f"/home/{user}/.pgpass"),
                "PGUSER": TextValue(value=made["data"]["username"]),
                **{name: TextValue(value=SETTINGS[name]) for name in ("PGHOST", "PGPORT", "PGDATABASE", "VAULT_ADDR")},
                "VAULT_TOKEN": TextValue(value=token["client_token"], sensitive=True),
            },
        )

    async def tend(self) -> None:
        """Renew what belongs to living connections and revoke the rest, for ever."""
        while True:
            # Not what is still being made: a token that is revoked now could leave behind what is made with it.
            before = [one for one in self._held if one not in self._issued or self._issued[one].done()]
            try:
                living = await asyncio.to_thread(connections, self._admin)
            except (OSError, ValueError) as error:
                log.warning("the SSH server cannot be asked; nothing is renewed: %s", error)
            else:
                for connection in before:
                    await self._tend(connection, is_living=connection in living)
            await asyncio.sleep(min(2, TTL / 6))

    async def _tend(self, connection: str, *, is_living: bool) -> None:
        held = self._held[connection]
        try:
            if not is_living:
                await self._vault.call("POST", "auth/token/revoke-accessor", {"accessor": held.accessor})
            elif time.time() - held.renewed > TTL / 3:
                await self._vault.call("POST", "auth/token/renew-accessor", {"accessor": held.accessor})
                await self._vault.call("POST", "sys/leases/renew", {"lease_id": held.lease, "increment": TTL})
                self._hold(connection, Held(held.accessor, held.lease, time.time()))
        except VaultError as error:
            log.warning("connection %s: %s", connection, error)
            if time.time() - held.renewed < TTL:
                return  # once more, the next time; after that nothing is left to renew or to revoke
            is_living = False
        if not is_living:
            log.info("over: connection %s", connection)
            self._issued.pop(connection, None)
            self._hold(connection, None)

    def _hold(self, connection: str, held: Held | None) -> None:
        if held is None:
            self._held.pop(connection, None)
        else:
            self._held[connection] = held
        keep("held.json", json.dumps({connection: asdict(one) for connection, one in self._held.items()}))


def connections(admin: Path) -> set[str]:
    """The ids of all connections, from the admin socket of each server that lives.  Raises if there is none."""
    found: set[str] = set()
    answered = False
    for path in admin.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as client, opened(admin) as directory:
            client.settimeout(5)
            try:
                client.connect(f"/proc/self/fd/{directory}/{path.name}")  # an address has room for 107 bytes alone
            except ConnectionRefusedError:
                continue  # left by a server that was killed
            client.sendall(b'{"do": "ls"}\n')
            with client.makefile("rb") as stream:
                found |= {row["id"] for row in json.loads(stream.read(LARGEST_ANSWER))["connections"]}
            answered = True
    if not answered:
        raise ConnectionRefusedError("no server is running")
    return found


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor of a directory for the time of the block."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class JumpHost(Hooks):
    """What the SSH server asks."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def authorization(self, request: AuthorizationRequest) -> Accepted | bool:
        return NAME.fullmatch(request.username) is not None and group_of(request) is not None

    async def configuration(self, request: ConfigurationRequest) -> Configuration:
        group = group_of(request)
        if group is None or not NAME.fullmatch(request.username):
            raise PermissionError("the authorisation hook was not asked before")
        return await self._credentials.issue(request.connection_id, request.username, group)


def group_of(request: AuthorizationRequest | ConfigurationRequest) -> str | None:
    """The first group of policy.yaml that the identity provider's claim names."""
    claim = request.metadata.get("OIDC_USERINFO_GROUPS")
    said: Any = json.loads(claim.value) if claim else []
    return next((name for name in GROUPS if isinstance(said, list) and name in said), None)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    async with session() as http:
        vault = Vault(http, SETTINGS["VAULT_ADDR"], token_in(DIRECTORY / "broker-token"))
        credentials = Credentials(vault, DIRECTORY / "state" / "admin")
        # Guests may reach this port: without the secret nobody is answered.
        app = application(JumpHost(credentials), secret=(DIRECTORY / "hook-secret").read_bytes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        host, _, port = SETTINGS["JUMP_BROKER"].rpartition(":")
        await web.TCPSite(runner, host, int(port)).start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(credentials.tend())
            tasks.create_task(stay_known(vault))


async def stay_known(vault: Vault) -> None:
    """Renew the broker's own token, for ever."""
    while True:
        try:
            await vault.call("POST", "auth/token/renew-self", {})
        except VaultError as error:
            log.warning("the broker's own token was not renewed: %s", error)
        await asyncio.sleep(600)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
