"""Where an engine is and how it is reached: the meaning of `docker.connection`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from moorage.codes import Code
from moorage.errors import ConfigError
from moorage.net.stream import RawStream, connect_tcp, connect_unix
from moorage.net.tls import client_context

_CONFIG_HINT = "Use unix:///path, tcp://host:port, http://host:port or https://host:port."


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """One engine: equal addresses share one client.  Holds secrets; its repr shows none."""

    socket: Path | None = None
    host: str = ""
    port: int = 0
    prefix: str = ""
    secure: bool = False
    ca: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, *, ca: str = "", certificate: str = "", key: str = "") -> EngineAddress:
        """The address that `docker.connection.host` and its certificates name; raises `ConfigError`."""
        if "://" not in text:
            text = f"tcp://{text}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as cause:
            raise _invalid(f"{cause}.") from cause
        if parts.scheme == "unix":
            path = text.removeprefix("unix://")
            if not path.startswith("/"):
                raise _invalid("a unix socket needs an absolute path.")
            return cls(socket=Path(path))
        if parts.scheme not in ("tcp", "http", "https"):
            raise _invalid(f"{parts.scheme}:// is not supported. {_CONFIG_HINT}")
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise _invalid(f"it names no host. {_CONFIG_HINT}")
        secure = parts.scheme == "https" or bool(ca or certificate or key)
        return cls(
            host=parts.hostname,
            port=port or (2376 if secure else 2375),
            prefix=parts.path.rstrip("/"),
            secure=secure,
            ca=ca,
            certificate=certificate,
            key=key,
        )

    @property
    def is_local(self) -> bool:
        """Does the engine share a file system with us, as far as the address tells?"""
        return self.socket is not None

    @property
    def base_url(self) -> str:
        """The URL in front of every path of the API."""
        if self.socket is not None:
            return "http://engine"
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """The value of the HTTP ``Host`` header."""
        if self.socket is not None:
            return "engine"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """The TLS context for this engine, None for a plain connection; raises `ConfigError`."""
        if not self.secure:
            return None
        try:
            return client_context(ca=self.ca, certificate=self.certificate, key=self.key)
        except ValueError as cause:
            raise ConfigError(
                f"docker.connection: {cause}",
                user_text="The container engine is not configured correctly.",
                code=Code.DOCKER_CONFIG_ERROR,
            ) from cause

    async def connect(self, context: ssl.SSLContext | None) -> RawStream:
        """A fresh raw connection to the engine; raises `OSError`."""
        if self.socket is not None:
            return await connect_unix(self.socket)
        return await connect_tcp(self.host, self.port, tls=context)


def _invalid(why: str) -> ConfigError:
    return ConfigError(
        f"docker.connection.host cannot be used: {why}",
        user_text="The container engine is not configured correctly.",
        code=Code.DOCKER_CONFIG_ERROR,
    )
