"""Layouts of older versions, moved to where their values stand today; each move is a warning.

`modernise` changes the document before it is bound to the models: ``auth.url`` (0.4 to
0.6), and of 0.4 the root's ``listen``, ``dockerrun`` and ``kuberun``.
"""

from __future__ import annotations

from typing import Any, Final

from moorage.codes import Code
from moorage.config.problems import ConfigWarning
from moorage.config.reading import scalars
from moorage.config.reading.document import Document
from moorage.config.section import Path
from moorage.config.sections.http import HTTPClientConfig
from moorage.config.sections.ssh import SSHConfig

_CLIENT_KEYS: Final = tuple(info.alias or name for name, info in HTTPClientConfig.model_fields.items())
_DOCKER_PARTS: Final = ("container", "host", "network", "platform", "containername", "subsystems")
_DOCKER_TIMEOUTS: Final = ("containerStart", "containerStop", "commandStart", "signal", "window", "http")
_POD_TIMEOUTS: Final = ("podStart", "podStop", "commandStart", "signal", "window")


def modernise(document: Document) -> list[ConfigWarning]:
    """Moves what old layouts say to today's keys, in `document` itself."""
    if not isinstance(document.value, dict):
        return []
    old = _Layout(document)
    old.auth()
    old.listen()
    old.dockerrun()
    old.kuberun()
    return old.warnings


class _Layout:
    def __init__(self, document: Document) -> None:
        self.warnings: list[ConfigWarning] = []
        self._document = document
        self._root: dict[str, Any] = document.value

    # auth.url

    def auth(self) -> None:
        auth = self._map(self._root, "auth")
        if auth is None:
            return
        allowed = {"password": True, "publicKey": True}
        for old, new in (("password", "password"), ("pubkey", "publicKey")):
            key = self._key(auth, old)
            flag = scalars.boolean(auth.get(key)) if key else None
            if key and (flag is not None or (old == "pubkey" and auth[key] is None)):
                del auth[key]
                allowed[new] = flag is not False
        timeout_key = self._key(auth, "authTimeout")
        keys = {name: key for name in _CLIENT_KEYS if (key := self._key(auth, name))}
        if timeout_key:
            keys["authTimeout"] = timeout_key
        values = {name: auth.pop(key) for name, key in keys.items()}
        if values.get("url"):
            self._share(auth, keys, values, allowed)

    def _share(
        self, auth: dict[str, Any], keys: dict[str, str], values: dict[str, Any], allowed: dict[str, bool]
    ) -> None:
        """Gives the one old webhook to passwords and public keys, unless a flag or a newer key says otherwise."""
        kept = []
        for method, is_on in allowed.items():
            key = self._key(auth, method)
            part = auth.get(key) if key else None
            if part and not isinstance(part, dict):
                continue  # the binding says what is wrong with it
            part = part or {}
            hook = self._map(part, "webhook") or {}
            method_key = self._key(part, "method")
            url_key = self._key(hook, "url")
            if (method_key and part[method_key]) or (url_key and hook[url_key]):
                kept.append(method)
                continue
            if not is_on:
                continue
            if key:
                del auth[key]
            auth[method] = {**part, "method": "webhook", "webhook": dict(values)}
            for name, old in keys.items():
                self._move(("auth", method, "webhook", name), ("auth", old))
            self._move(("auth", method, "method"), ("auth", keys["url"]))
        what = "auth.url is deprecated"
        if kept:
            what += f"; auth.{' and auth.'.join(kept)} say otherwise and win"
        self._warn(("auth", keys["url"]), what, "use auth.password.webhook and auth.publicKey.webhook")

    # listen

    def listen(self) -> None:
        key = self._key(self._root, "listen")
        if not key:
            return
        value = self._root.pop(key)
        self._warn((key,), "listen is deprecated", "use ssh.listen")
        ssh = self._section("ssh")
        if ssh is None or not value:
            return
        newer = self._key(ssh, "listen")
        if not newer or not ssh[newer] or ssh[newer] == SSHConfig.model_fields["listen"].default:
            ssh[newer or "listen"] = value
            self._move(("ssh", newer or "listen"), (key,))

    # dockerrun

    def dockerrun(self) -> None:
        key = self._key(self._root, "dockerrun")
        chosen = self._choose("dockerrun", "docker")
        if not key and not chosen:
            return
        old = self._root.pop(key) if key else None
        old = {} if old is None else old
        if key:
            self._warn((key,), "dockerrun is deprecated", "use docker with mode: session")
        if not isinstance(old, dict) or not chosen:
            return
        config = self._map(old, "config") or {}
        execution: dict[str, Any] = {
            "mode": "session",
            "disableAgent": True,
            "imagePullPolicy": "Always",
            "idleCommand": [],
            "shellCommand": [],
        }
        docker: dict[str, Any] = {"connection": {}, "execution": execution, "timeouts": {}}
        self._root["docker"] = docker
        self._move(("docker",), (key or "backend",))
        path: Path = (key or "backend",)
        for name in ("host", "cacert", "cert", "key"):
            self._take(old, name, path, new=docker["connection"], to=("docker", "connection", name))
        inner = (*path, self._key(old, "config") or "config")
        for name in _DOCKER_PARTS:
            self._take(config, name, inner, new=execution, to=("docker", "execution", name))
        for name in _DOCKER_TIMEOUTS:
            self._take(config, "timeout", inner, new=docker["timeouts"], to=("docker", "timeouts", name))
        self._forbid_commands(config, inner)

    # kuberun

    def kuberun(self) -> None:
        key = self._key(self._root, "kuberun")
        chosen = self._choose("kuberun", "kubernetes")
        if not key and not chosen:
            return
        old = self._root.pop(key) if key else None
        old = {} if old is None else old
        if key:
            self._warn((key,), "kuberun is deprecated", "use kubernetes with mode: session")
        if not isinstance(old, dict) or not chosen:
            return
        path: Path = (key or "backend",)
        old_pod = self._map(old, "pod") or {}
        pod_path = (*path, self._key(old, "pod") or "pod")
        pod: dict[str, Any] = {"mode": "session", "idleCommand": [], "metadata": {}}
        connection = dict(self._map(old, "connection") or {})
        kubernetes: dict[str, Any] = {"connection": connection, "pod": pod, "timeouts": {}}
        self._root["kubernetes"] = kubernetes
        self._move(("kubernetes",), path)
        connection_path = (*path, self._key(old, "connection") or "connection")
        self._move(("kubernetes", "connection"), connection_path)
        timeout = self._key(connection, "timeout")
        if timeout:
            kubernetes["timeouts"]["http"] = connection.pop(timeout)
            self._move(("kubernetes", "timeouts", "http"), (*connection_path, timeout))
        for name in _POD_TIMEOUTS:
            self._take(old, "timeout", path, new=kubernetes["timeouts"], to=("kubernetes", "timeouts", name))
        self._take(
            old_pod, "namespace", pod_path, new=pod["metadata"], to=("kubernetes", "pod", "metadata", "namespace")
        )
        self._take(old_pod, "podSpec", pod_path, new=pod, to=("kubernetes", "pod", "spec"))
        for name in ("consoleContainerNumber", "subsystems", "agentPath", "shellCommand"):
            self._take(old_pod, name, pod_path, new=pod, to=("kubernetes", "pod", name))
        # Version 0.4 had the switch the wrong way round: true put the agent to use.
        agent = self._key(old_pod, "disableAgent")
        pod["disableAgent"] = not (agent and scalars.boolean(old_pod[agent]))
        self._forbid_commands(old_pod, pod_path)

    def _choose(self, old: str, new: str) -> bool:
        """Replaces the backend `old` by `new`; True if it was chosen."""
        key = self._key(self._root, "backend")
        if not key or self._root[key] != old:
            return False
        self._warn((key,), f"backend {old} is deprecated", f"use backend: {new}")
        self._root[key] = new
        return True

    def _forbid_commands(self, holder: dict[str, Any], path: Path) -> None:
        key = self._key(holder, "disableCommand")
        if not key or scalars.boolean(holder[key]) is not True:
            return
        security = self._section("security")
        if security is not None:
            command_key = self._key(security, "command")
            command = (security.get(command_key) if command_key else None) or {}
            if isinstance(command, dict):
                security[command_key or "command"] = {**command, "mode": "disable"}
                self._move(("security", "command", "mode"), (*path, key))

    # documents

    def _key(self, holder: dict[str, Any], name: str) -> str:
        """The key in `holder` that means `name`, or an empty string."""
        if name in holder:
            return name
        if not self._document.folds_case:
            return ""
        return next((key for key in holder if key.lower() == name.lower()), "")

    def _map(self, holder: dict[str, Any], name: str) -> dict[str, Any] | None:
        value = holder.get(self._key(holder, name))
        return value if isinstance(value, dict) else None

    def _section(self, name: str) -> dict[str, Any] | None:
        """The root's map `name`, made if it is absent; None if something else stands there."""
        key = self._key(self._root, name) or name
        if self._root.get(key) is None:
            self._root[key] = {}
        return self._map(self._root, key)

    def _take(self, old: dict[str, Any], name: str, at: Path, *, new: dict[str, Any], to: Path) -> None:
        """Hands `name` of the old map, which stands at `at`, on to the new map and path."""
        key = self._key(old, name)
        if key and old[key] is not None:
            new[str(to[-1])] = old[key]
            self._move(to, (*at, key))

    def _move(self, new: Path, old: Path) -> None:
        self._document.moves.append((new, old))

    def _warn(self, path: Path, what: str, mend: str) -> None:
        code = Code.CONFIG_AUTH_URL_DEPRECATED if path[0] == "auth" else Code.CORE_CONFIG_ERROR
        self.warnings.append(ConfigWarning(self._document.place(path), path, what, mend, code))
