"""A real Kubernetes of one node: etcd, API server, controllers, scheduler and kubelet of one binary, and containerd.

It is built once from its Go modules and kept in the cache (some 15 minutes of one core the first time).  It runs in a
network namespace of its own, which the tests reach over a pair of virtual interfaces; a machine has one at a time.
Images are made here and imported; nothing is pulled.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.parts import images, kubeconfigs, need
from tests.parts.engine import dying_with_us
from tests.parts.gobuilt import Go, built
from tests.parts.kubepki import Authority

_SOURCE: Final = Path(__file__).parent / "kubebox"
_VERSION: Final = "v1.34.4"
_NAMESPACE: Final = "moorage-kube"
_OUTSIDE: Final = "172.28.255.1"
_API: Final = "172.28.255.2"
_PORT: Final = 16443
_NODE: Final = "node"
_READY_SECONDS: Final = 120.0
_CALL_SECONDS: Final = 30.0


class ApiError(Exception):
    """The API server said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    directory: Path
    url: str = f"https://{_API}:{_PORT}"
    images: dict[str, str] = field(default_factory=dict)
    """``busybox``, ``scratch``, … → the name that the node knows it by."""

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.directory / "pki" / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "admin.kubeconfig"

    def call(self, method: str, path: str, body: object = None, *, query: str = "") -> Any:
        """One request as the administrator; the decoded answer.  Raises `ApiError`."""
        pki = self.directory / "pki"
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        connection = http.client.HTTPSConnection(_API, _PORT, timeout=_CALL_SECONDS, context=context)
        try:
            patch = method == "PATCH"
            kind = "application/merge-patch+json" if patch else "application/json"
            connection.request(
                method,
                path + (f"?{query}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": kind},
            )
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(answer.status, text)
        return json.loads(text) if text.startswith(("{", "[")) else text

    def apply(self, document: Mapping[str, Any], namespace: str = "") -> None:
        """Make what `document` describes, or leave what is there."""
        kind = str(document["kind"]).lower()
        plural = kind.removesuffix("y") + "ies" if kind.endswith("y") else kind + "s"
        version = str(document["apiVersion"])
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        namespace = str(document["metadata"].get("namespace", namespace))
        inner = "" if kind == "namespace" else f"/namespaces/{namespace}"
        with contextlib.suppress(_AlreadyThere):
            try:
                self.call("POST", f"{base}{inner}/{plural}", document)
            except ApiError as error:
                if error.status == 409:
                    raise _AlreadyThere from error
                raise

    def token(self, namespace: str, account: str) -> str:
        """A token of a service account, good for an hour."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        answer = self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)
        return str(answer["status"]["token"])

    def kill(self, pod: Mapping[str, Any]) -> None:
        """Kill the first processes of a pod's containers, as a crash would."""
        for status in pod["status"].get("containerStatuses") or ():
            container = str(status.get("containerID", "")).rpartition("/")[2]
            if container:
                subprocess.run([*_ctr(self.directory), "tasks", "kill", "--signal", "9", container], check=False)

    def pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """The pods of a namespace that bear the labels."""
        query = f"labelSelector={selector}" if selector else ""
        items: list[dict[str, Any]] = self.call("GET", f"/api/v1/namespaces/{namespace}/pods", query=query)["items"]
        return items

    def namespace(self, name: str) -> None:
        """Have a namespace in which pods can be made."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        _until("the namespace's account", lambda: self._has(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        _until("the namespace's CA", lambda: self._has(f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"))

    def _has(self, path: str) -> bool:
        with contextlib.suppress(ApiError):
            self.call("GET", path)
            return True
        return False

    def is_ready(self) -> bool:
        """The node takes pods."""
        with contextlib.suppress(ApiError, OSError):
            conditions = self.call("GET", f"/api/v1/nodes/{_NODE}")["status"]["conditions"]
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return False

    def answers(self) -> bool:
        """The API server is ready."""
        with contextlib.suppress(ApiError, OSError):
            return str(self.call("GET", "/readyz")) == "ok"
        return False


class _AlreadyThere(Exception):
    """It need not be made."""


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster for the time of the block."""
    need.root()
    for program, package in (("containerd", "containerd"), ("runc", "runc"), ("ip", "iproute2"), ("nsenter", "")):
        need.program(program, package)
    if not Path(kubeconfigs.CNI, "bridge").exists():
        need.missing("the program bridge (package containernetworking-plugins)")
    binary = _binary()
    with need.exclusively("kubernetes"):
        home = need.cache() / "kubernetes"
        _sweep(home)
        home.mkdir()
        node = _Node(home, binary)
        try:
            yield node.start()
        finally:
            node.stop()


def _binary() -> Path:
    sources = ("go.mod", "go.sum", "main.go")
    recipe = "\n".join((_SOURCE / name).read_text() for name in sources)

    def build(go: Go, made: Path) -> None:
        work = made / "source"
        shutil.copytree(_SOURCE, work)
        flags = ["-s", "-w"]
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            major, minor, _ = _VERSION[1:].split(".")
            flags += [f"-X={package}.gitVersion={_VERSION}", f"-X={package}.gitMajor={major}"]
            flags += [f"-X={package}.gitMinor={minor}", f"-X={package}.gitTreeState=clean"]
        go("build", "-trimpath", "-ldflags", " ".join(flags), "-o", str(made / "kubebox"), ".", cwd=work)
        shutil.rmtree(work)

    return built("kubebox", _VERSION + recipe, build, GOFLAGS="-buildvcs=false") / "kubebox"


class _Node:
    """The processes of a cluster, in the order of their start."""

    def __init__(self, home: Path, binary: Path) -> None:
        self._home = home
        self._binary = binary
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> Cluster:
        """Returns when the node takes pods."""
        home = self._home
        (home / "log").mkdir()
        authority = _certificates(home / "pki")
        kubeconfigs.write(home, url=f"https://127.0.0.1:{_PORT}", outside=f"https://{_API}:{_PORT}")
        _network()
        containerd = str(need.program("containerd"))
        self._spawn("containerd", containerd, "--config", str(home / "containerd.toml"))
        self._component("etcd", kubeconfigs.etcd(home))
        self._component("kube-apiserver", kubeconfigs.api_server(home, authority.directory, port=_PORT, advertise=_API))
        _until("containerd", lambda: self._ctr("version").returncode == 0, self._check)
        found = Cluster(home, images=self._import_images())
        _until("the API server", found.answers, self._check)
        for name, arguments in kubeconfigs.others(home, authority.directory, node=_NODE).items():
            self._component(name, arguments)
        _until("the node", found.is_ready, self._check)
        found.namespace("default")
        return found

    def stop(self) -> None:
        """Nothing is kept, so nothing needs to end in order: but what pods have left must go."""
        for name in [name for name in self._running if name != "containerd"]:
            self._end(name, signal.SIGKILL)
        if "containerd" in self._running:
            self._end_pods()
            self._end("containerd", signal.SIGTERM)
        _sweep(self._home)

    def _component(self, name: str, arguments: Sequence[str]) -> None:
        self._spawn(name, str(self._binary), name, *arguments)

    def _spawn(self, name: str, *command: str) -> None:
        inside = [need.program("nsenter"), f"--net=/run/netns/{_NAMESPACE}", *command]
        with (self._home / "log" / name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [*dying_with_us(), *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
            )

    def _check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                log = (self._home / "log" / name).read_text(errors="replace")
                raise RuntimeError(f"{name} has ended:\n{log[-3000:]}")

    def _end(self, name: str, how: signal.Signals) -> None:
        process = self._running.pop(name)
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*_ctr(self._home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _import_images(self) -> dict[str, str]:
        names = {}
        for name, archive in images.for_nodes(self._home).items():
            done = self._ctr("images", "import", str(archive))
            if done.returncode:
                raise RuntimeError(f"importing {name}: {done.stderr[-1000:]}")
            archive.unlink()
            names[name] = images.node_name(name)
        return names

    def _end_pods(self) -> None:
        for _ in range(20):
            tasks = self._ctr("tasks", "list", "--quiet").stdout.split()
            if not tasks:
                break
            for task in tasks:
                self._ctr("tasks", "kill", "--signal", "9", task)
                self._ctr("tasks", "rm", "--force", task)
            time.sleep(0.1)


def _ctr(home: Path) -> list[str]:
    return [need.program("ctr", "containerd"), "--address", str(home / "containerd.sock"), "--namespace", "k8s.io"]


def _certificates(directory: Path) -> Authority:
    authority = Authority(directory)
    service = "kubernetes.default.svc"
    names = ("localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local")
    authority.issue("apiserver", "kube-apiserver", names=(*names, "127.0.0.1", _API, kubeconfigs.SERVICE_IP))
    authority.issue("admin", "admin", group="system:masters")
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", group="system:masters")
    # A master's certificate spares the controllers their token requests, and us five seconds.
    authority.issue("controller-manager", "system:kube-controller-manager", group="system:masters")
    authority.issue("scheduler", "system:kube-scheduler")
    node = (_NODE, kubeconfigs.NODE_IP, "127.0.0.1")
    authority.issue("kubelet", f"system:node:{_NODE}", group="system:nodes", names=node)
    authority.key_pair("accounts")
    return authority


def _network() -> None:
    inside = ["ip", "-n", _NAMESPACE]
    bridge, subnet = kubeconfigs.BRIDGE, kubeconfigs.POD_NET.split("/")[1]
    for step in (
        ["ip", "netns", "add", _NAMESPACE],
        [*inside, "link", "set", "lo", "up"],
        ["ip", "link", "add", "moorage-k0", "type", "veth", "peer", "name", "outside", "netns", _NAMESPACE],
        ["ip", "address", "add", f"{_OUTSIDE}/30", "dev", "moorage-k0"],
        ["ip", "link", "set", "moorage-k0", "up"],
        [*inside, "address", "add", f"{_API}/30", "dev", "outside"],
        [*inside, "link", "set", "outside", "up"],
        [*inside, "link", "add", bridge, "type", "bridge"],
        [*inside, "address", "add", f"{kubeconfigs.NODE_IP}/{subnet}", "dev", bridge],
        [*inside, "link", "set", bridge, "up"],
    ):
        subprocess.run(step, capture_output=True, check=True)


def _sweep(home: Path) -> None:
    """Remove all that a cluster has left, also one whose test run was killed."""
    for pid in _processes_of(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{home}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", _NAMESPACE], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", "moorage-k0"], capture_output=True, check=False)
    for root in (*Path("/sys/fs/cgroup").glob("*/kubepods"), Path("/sys/fs/cgroup/kubepods")):
        for directory, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
    shutil.rmtree(home, ignore_errors=True)


def _processes_of(home: Path) -> list[int]:
    """Processes that were started with a path below `home`, or by one of those: parts, shims, what runs in pods."""
    parents: dict[int, int] = {}
    ours: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if f"{home}/".encode() in (entry / "cmdline").read_bytes():
                    ours.add(int(entry.name))
    ours.discard(os.getpid())
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return sorted(ours)


def _until(what: str, done: Callable[[], bool], check: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not done():
        check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not get ready in {_READY_SECONDS:g} s")
        time.sleep(0.05)
