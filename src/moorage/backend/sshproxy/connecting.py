"""The way to the server behind: TCP, its host key, and our login there."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_default_public_key_algs, get_public_key_algs

from moorage.codes import Code
from moorage.config import read_pem
from moorage.config.sections.sshproxy import SSHProxyConfig
from moorage.errors import BackendError
from moorage.gateway.contract import Progress
from moorage.gateway.model import Login

AGAIN: Final = 1.0
"""Seconds between tries while nobody listens at the server's port."""

LONGEST_BANNER: Final = 16 * 1024
_PROBES: Final = 30.0
_UNANSWERED: Final = 4
"""Seconds of silence after which the server is asked for a sign of life, and how many may stay unanswered."""

_DEFAULT_PORT: Final = 22
_UNREACHABLE: Final = "The server behind could not be reached."
_REFUSED: Final = "The server behind did not let us in."
_RSA_SIGNATURES: Final = ("rsa-sha2-512", "rsa-sha2-256")


class _NobodyYet(Exception):
    """Nobody answers at the server's port; the cause says what came instead."""


class Upstream(asyncssh.SSHClient):
    """What we are told of the connection to the server behind."""

    def __init__(self, config: SSHProxyConfig, gone: Callable[[Exception | None], None]) -> None:
        self.connection: asyncssh.SSHClientConnection | None = None
        self.banner = ""
        self.refused_key = ""
        """The fingerprint of a host key that is not among those that are allowed."""
        self._allowed = frozenset(one.rstrip("=") for one in config.allowed_host_key_fingerprints)
        self._gone = gone

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """TCP is connected."""
        self.connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._gone(exc)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Is a key that no file of known hosts vouches for one of the allowed ones?"""
        del host, addr, port
        digest = b64encode(hashlib.sha256(key.public_data).digest()).decode().rstrip("=")
        fingerprint = f"SHA256:{digest}"
        if fingerprint in self._allowed:
            return True
        self.refused_key = fingerprint
        return False

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """What the server has to say before the login."""
        del lang
        self.banner = (self.banner + msg)[:LONGEST_BANNER]


async def connected(
    login: Login, gone: Callable[[Exception | None], None], progress: Progress
) -> tuple[asyncssh.SSHClientConnection, Upstream]:
    """A connection on which `login` is logged in to the server behind.

    Raises `BackendError`; cancelling leaves no connection.
    """
    config = login.config.sshproxy
    options = _options(config, login.username)
    progress("connecting")
    refusal: BaseException | None = None
    try:
        async with asyncio.timeout(config.timeout.total_seconds() or None):
            while True:
                upstream = Upstream(config, gone)
                try:
                    return await _once(config, upstream, options), upstream
                except _NobodyYet as error:
                    refusal = error.__cause__
                progress("the server behind does not answer yet")
                await asyncio.sleep(AGAIN)
    except TimeoutError as cause:
        seconds = config.timeout.total_seconds()
        code = Code.SSHPROXY_BACKEND_HANDSHAKE_FAILED if upstream.connection else Code.SSHPROXY_BACKEND_FAILED
        raise _failed(f"no login in {seconds:g} s", code, _UNREACHABLE) from refusal or cause


async def _once(config: SSHProxyConfig, upstream: Upstream, options: Mapping[str, Any]) -> asyncssh.SSHClientConnection:
    """One try; raises `_NobodyYet` where another may be worth it."""
    try:
        return await asyncssh.connect(
            config.server, config.port or _DEFAULT_PORT, client_factory=lambda: upstream, **options
        )
    except asyncio.CancelledError:
        if upstream.connection is not None:
            upstream.connection.abort()
        raise
    except asyncssh.HostKeyNotVerifiable as cause:
        what = f"the host key {upstream.refused_key} is not allowed" if upstream.refused_key else str(cause)
        raise _failed(what, Code.SSHPROXY_INVALID_FINGERPRINT, _REFUSED) from cause
    except asyncssh.PermissionDenied as cause:
        raise _failed("the login was refused", Code.SSHPROXY_BACKEND_HANDSHAKE_FAILED, _REFUSED) from cause
    except asyncssh.Error as cause:
        raise _failed(str(cause), Code.SSHPROXY_BACKEND_HANDSHAKE_FAILED, _UNREACHABLE) from cause
    except OSError as cause:
        # Of a name with several addresses asyncio tells all that went wrong in one error without a number.
        is_numberless = cause.errno is None and upstream.connection is None
        if is_numberless or isinstance(cause, ConnectionRefusedError | TimeoutError):
            raise _NobodyYet from cause
        code = Code.SSHPROXY_BACKEND_HANDSHAKE_FAILED if upstream.connection else Code.SSHPROXY_BACKEND_FAILED
        raise _failed(str(cause), code, _UNREACHABLE) from cause


def _failed(explanation: str, code: Code, text: str) -> BackendError:
    return BackendError(f"the server behind: {explanation}", user_text=text, code=code)


def _options(config: SSHProxyConfig, username: str) -> dict[str, Any]:
    """What asyncssh is told; nothing comes from files or agents of the user that the gateway runs as."""
    password, key = config.password.get_secret_value(), config.private_key.get_secret_value()
    # A server may show its certificate where it is asked for one: only a file can name who signs them.
    certificates = get_certificate_algs() if config.known_hosts else []
    try:
        chosen = {
            "encryption_algs": _known("ciphers", config.ciphers, get_encryption_algs()),
            "kex_algs": _known("kex", config.kex, get_kex_algs()),
            "mac_algs": _known("macs", config.macs, get_mac_algs()),
            "server_host_key_algs": _known(
                "hostKeyAlgos", _host_keys(config.host_key_algos), [*certificates, *get_public_key_algs()]
            ),
        }
        if not (certificates or chosen["server_host_key_algs"]):
            chosen["server_host_key_algs"] = [name.decode() for name in get_default_public_key_algs()]
        known_hosts = Path(config.known_hosts).read_text(encoding="utf-8") if config.known_hosts else ""
        keys = [asyncssh.import_private_key(read_pem(key))] if key else None
    except (OSError, ValueError, asyncssh.KeyImportError) as cause:
        raise BackendError(f"sshproxy: {cause}", code=Code.BACKEND_CONFIG_ERROR) from cause
    return {
        **{name: names for name, names in chosen.items() if names},
        "config": None,
        "username": username if config.username_pass_through else config.username,
        "client_keys": keys,
        "password": password or None,
        "password_auth": bool(password),
        "kbdint_auth": bool(password),
        "public_key_auth": bool(key),
        "host_based_auth": False,
        "gss_auth": False,
        "gss_kex": False,
        "agent_path": None,
        "known_hosts": asyncssh.import_known_hosts(known_hosts),
        "x509_trusted_certs": None,
        "client_version": config.client_version.removeprefix("SSH-2.0-"),
        "keepalive_interval": _PROBES,
        "keepalive_count_max": _UNANSWERED,
        "login_timeout": 0,
    }


def _known(key: str, wanted: Iterable[str] | None, known: Iterable[bytes]) -> list[str] | None:
    """Those of `wanted` that can be spoken, in their order; raises `ValueError` if there is none."""
    if wanted is None:
        return None
    names = {name.decode() for name in known}
    found = [name for name in wanted if name in names]
    if not found:
        raise ValueError(f"{key}: none of {', '.join(wanted)} can be spoken")
    return found


def _host_keys(wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """`ssh-rsa` names the kind of a key: the signatures of today are meant as well (RFC 8332)."""
    if wanted is None or "ssh-rsa" not in wanted:
        return wanted
    return tuple(dict.fromkeys(one for name in wanted for one in (*(_RSA_SIGNATURES * (name == "ssh-rsa")), name)))
