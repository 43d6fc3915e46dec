"""As much of the HTTP API of Vault and OpenBao as a jump host needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp


class VaultError(Exception):
    """Vault has refused or could not be asked; the text has no secret in it."""


class Vault:
    """Asks as the holder of one token."""

    def __init__(self, http: aiohttp.ClientSession, address: str, token: str) -> None:
        self._http = http
        self._address = address
        self._token = token

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> Any:
        """One request to ``/v1/PATH``, the JSON that comes back; with another `token` if one is given."""
        headers = {"X-Vault-Token": token or self._token, "X-Vault-Request": "true"}
        try:
            async with self._http.request(
                method, f"{self._address}/v1/{path}", json=body, headers=headers, allow_redirects=False
            ) as answer:
                said = await answer.json() if answer.status != 204 else {}
                if answer.status >= 300:
                    raise VaultError(f"{method} {path}: status {answer.status}: {said.get('errors')}")
                return said
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise VaultError(f"{method} {path}: {type(error).__name__}") from error


def session() -> aiohttp.ClientSession:
    """What calls go through: no proxy, five seconds a call."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))


def token_in(path: Path) -> str:
    """The token that a file holds."""
    return path.read_text().strip()
