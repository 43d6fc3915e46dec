"""Where a cluster is and how it is reached: from the configuration, a kubeconfig file, or the pod that we run in."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from moorage.backend.kubernetes.credentials import Credentials, Plugin, Proof, TokenFile, decoded, fixed
from moorage.codes import Code
from moorage.config.sections.kubernetes import KubernetesConnectionConfig
from moorage.errors import ConfigError
from moorage.net import tls
from moorage.net.stream import PlainStream, RawStream, TlsStream

IN_CLUSTER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_HOST: Final = "kubernetes.default.svc"
_FILE_LIMIT: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Access:
    """One cluster's address, what is trusted there, and who we are to it."""

    url: str
    """Scheme, host and port, without a slash at the end."""

    prefix: str
    """A path before ``/api``, of a proxy in front of the API server."""

    credentials: Credentials = field(repr=False)
    ca: str = field(default="", repr=False)
    server_name: str = ""
    insecure: bool = False
    _contexts: dict[tuple[str, str], ssl.SSLContext] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The host alone."""
        return urlsplit(self.url).hostname or ""

    @property
    def authority(self) -> str:
        """Host and port, as in a Host header."""
        return urlsplit(self.url).netloc

    def context(self, proof: Proof) -> ssl.SSLContext | None:
        """The TLS context for `proof`; None without TLS.  Raises `ValueError`."""
        if not self.url.startswith("https:"):
            return None
        pair = (proof.certificate, proof.key)
        if pair not in self._contexts:
            self._contexts.clear()  # a plugin's certificates change: only the last is of use
            context = tls.client_context(ca=self.ca, certificate=proof.certificate, key=proof.key)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[pair] = context
        return self._contexts[pair]

    async def connect(self, proof: Proof) -> RawStream:
        """A stream of our own to the API server; raises `OSError` and `ValueError`."""
        parts, context = urlsplit(self.url), self.context(proof)
        port = parts.port or (443 if context is not None else 80)
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, plain = await asyncio.get_running_loop().create_connection(PlainStream, self.host, port)
            if context is None:
                return plain
            stream = TlsStream(plain, context, server_hostname=self.server_name or self.host)
            await stream.handshake()
            return stream


def access(config: KubernetesConnectionConfig, *, in_cluster: Path = IN_CLUSTER) -> Access:
    """How `config` says the cluster is reached; raises `ConfigError`.

    With no more than the default host, it is the cluster that we run in, if we do.
    """
    if config.kubeconfig:
        return _from_kubeconfig(config)
    is_default = config == type(config)(qps=config.qps, burst=config.burst)
    if is_default and (in_cluster / "token").exists():
        host = os.environ.get("KUBERNETES_SERVICE_HOST", _DEFAULT_HOST)
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return Access(url, "", TokenFile(in_cluster / "token", Proof()), _text(str(in_cluster / "ca.crt")))
    url = config.host if "://" in config.host else f"https://{config.host}"
    certificate = config.cert or _text(config.cert_file)
    key = config.key.get_secret_value() or _text(config.key_file)
    credentials: Credentials
    if config.bearer_token_file:
        credentials = TokenFile(Path(config.bearer_token_file), Proof("", certificate, key))
    else:
        credentials = fixed(
            token=config.bearer_token.get_secret_value(),
            username=config.username,
            password=config.password.get_secret_value(),
            certificate=certificate,
            key=key,
        )
    ca = config.cacert or _text(config.cacert_file)
    prefix = config.path.rstrip("/").removesuffix("/api")
    return _checked(url, prefix, credentials, ca, server_name=config.server_name, insecure=config.insecure)


def _from_kubeconfig(config: KubernetesConnectionConfig) -> Access:
    path = Path(config.kubeconfig)
    try:
        document = yaml.safe_load(_text(config.kubeconfig))
        name = config.context or document["current-context"]
        context = _named(document, "contexts", "context", name)
        cluster = _named(document, "clusters", "cluster", context["cluster"])
        user = _named(document, "users", "user", context["user"]) if context.get("user") else {}
        if cluster.get("proxy-url"):
            raise _problem("kubeconfig: proxy-url is not supported")
        return _checked(
            str(cluster["server"]),
            urlsplit(str(cluster["server"])).path.rstrip("/"),
            _user(user, path.parent, cluster),
            _data(cluster, "certificate-authority", path.parent),
            server_name=str(cluster.get("tls-server-name") or ""),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as cause:
        raise _problem(f"the kubeconfig {path} cannot be used: {type(cause).__name__} {str(cause)[:200]}") from cause


def _user(user: dict[str, Any], base: Path, cluster: dict[str, Any]) -> Credentials:
    certificate, key = _data(user, "client-certificate", base), _data(user, "client-key", base)
    if user.get("tokenFile"):
        return TokenFile(base / str(user["tokenFile"]), Proof("", certificate, key))
    if user.get("exec"):
        plugin = user["exec"]
        command = str(plugin["command"])
        if "/" in command:
            command = str(base / command)
        provided = {
            "server": cluster["server"],
            "certificate-authority-data": cluster.get("certificate-authority-data"),
        }
        return Plugin(
            [command, *map(str, plugin.get("args") or ())],
            {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()},
            version=str(plugin["apiVersion"]),
            cluster=provided if plugin.get("provideClusterInfo") else None,
        )
    if user.get("auth-provider"):
        raise _problem("kubeconfig: auth-provider is no longer supported by Kubernetes; use exec")
    return fixed(
        token=str(user.get("token") or ""),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        certificate=certificate,
        key=key,
    )


def _named(document: dict[str, Any], plural: str, singular: str, name: str) -> dict[str, Any]:
    for entry in document.get(plural) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(singular) or {}
            return found
    raise ValueError(f"there is no {singular} {name!r}")


def _data(holder: dict[str, Any], name: str, base: Path) -> str:
    """PEM text that stands in the file itself or in one beside it."""
    if holder.get(f"{name}-data"):
        return decoded(holder[f"{name}-data"])
    return _text(str(base / str(holder[name]))) if holder.get(name) else ""


def _checked(url: str, prefix: str, credentials: Credentials, ca: str, *, server_name: str, insecure: bool) -> Access:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _problem("kubernetes.connection.host is not a valid address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _problem("kubernetes.connection.host must be a host or an http(s) URL")
    return Access(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", prefix, credentials, ca, server_name, insecure)


def _text(path: str) -> str:
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            return file.read(_FILE_LIMIT).decode()
    except (OSError, ValueError) as cause:
        raise _problem(f"the file {path} cannot be read: {cause}") from cause


def _problem(text: str) -> ConfigError:
    return ConfigError(text, code=Code.KUBERNETES_CONFIG_ERROR)
