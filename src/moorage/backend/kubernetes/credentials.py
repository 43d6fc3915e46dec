"""Who we are to a cluster: a token, a password or a certificate.

It comes from the configuration, a file that is read again when it has changed, or a program that is asked again when
its answer has expired.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from moorage.backend.kubernetes.failures import ApiUnreachableError
from moorage.net.http import basic

PLUGIN_SECONDS: Final = 30.0
_TOKEN_LIMIT: Final = 64 * 1024
_ANSWER_LIMIT: Final = 1024 * 1024
_EARLY: Final = 60.0
"""Seconds before its end at which an answer is renewed."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes with a request: an Authorization header and a client certificate with its key, either may be empty."""

    authorization: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


class Credentials(Protocol):
    """The proof of who we are, at any time."""

    async def proof(self) -> Proof:
        """What to show now.  Raises `ApiUnreachableError` if there is none."""

    def rejected(self) -> None:
        """The server did not accept the last proof: get another one."""


class Fixed:
    """The same proof always; implements `Credentials`."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof

    async def proof(self) -> Proof:
        return self._proof

    def rejected(self) -> None:
        pass


class TokenFile:
    """A token that somebody replaces from time to time, as every cluster does; implements `Credentials`."""

    def __init__(self, path: Path, base: Proof) -> None:
        self._path = path
        self._base = base
        self._seen: tuple[int, int, int] | None = None
        self._proof = base

    async def proof(self) -> Proof:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                with self._path.open("rb") as file:
                    token = file.read(_TOKEN_LIMIT).decode("ascii").strip()
                self._proof = Proof(f"Bearer {token}", self._base.certificate, self._base.key)
                self._seen = seen
        except (OSError, ValueError) as cause:
            raise ApiUnreachableError(f"the token file {self._path} cannot be read: {type(cause).__name__}") from cause
        return self._proof

    def rejected(self) -> None:
        self._seen = None


class Plugin:
    """A program that prints credentials (``client.authentication.k8s.io``); implements `Credentials`."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, version: str, cluster: Any) -> None:
        self._argv = list(argv)
        self._environment = dict(environment)
        self._version = version
        self._cluster = cluster
        self._proof: Proof | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def proof(self) -> Proof:
        async with self._asking:
            if self._proof is None or time.time() >= self._until - _EARLY:
                self._proof, self._until = await self._ask()
            return self._proof

    def rejected(self) -> None:
        self._proof = None

    async def _ask(self) -> tuple[Proof, float]:
        spec: dict[str, Any] = {"interactive": False}
        if self._cluster is not None:
            spec["cluster"] = self._cluster
        info = {"apiVersion": self._version, "kind": "ExecCredential", "spec": spec}
        name = self._argv[0]
        try:
            async with asyncio.timeout(PLUGIN_SECONDS):
                output = await self._run(json.dumps(info))
        except (OSError, TimeoutError) as cause:
            raise ApiUnreachableError(
                f"the credential plugin {name} failed: {cause or type(cause).__name__}"
            ) from cause
        try:
            status = json.loads(output)["status"]
            token, certificate = status.get("token") or "", status.get("clientCertificateData") or ""
            key, expires = status.get("clientKeyData") or "", status.get("expirationTimestamp")
            until = datetime.fromisoformat(expires).timestamp() if expires else float("inf")
            proof = Proof(f"Bearer {token}" if token else "", str(certificate), str(key))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ApiUnreachableError(f"the credential plugin {name} did not print an ExecCredential") from None
        return proof, until

    async def _run(self, info: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self._environment, "KUBERNETES_EXEC_INFO": info},
            limit=_ANSWER_LIMIT,
        )
        try:
            assert process.stdout is not None
            output = await process.stdout.read(_ANSWER_LIMIT)
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            raise OSError(f"it ended with {code}")
        return output


def fixed(*, token: str = "", username: str = "", password: str = "", certificate: str = "", key: str = "") -> Fixed:
    """A proof that does not change; a token wins over a password."""
    authorization = f"Bearer {token}" if token else basic(username, password) if username else ""
    return Fixed(Proof(authorization, certificate, key))


def decoded(text: object) -> str:
    """Base64 as kubeconfig files hold it; raises `ValueError`."""
    return base64.b64decode(str(text), validate=True).decode()
