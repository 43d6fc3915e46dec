"""What the parts of a test cluster are told: their files and arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

CNI: Final = "/usr/lib/cni"
BRIDGE: Final = "kube0"
POD_NET: Final = "10.244.0.0/24"
NODE_IP: Final = "10.244.0.1"
SERVICE_NET: Final = "10.96.0.0/24"
SERVICE_IP: Final = "10.96.0.1"
_ETCD: Final = "http://127.0.0.1:12379"
_ETCD_PEER: Final = "http://127.0.0.1:12380"

SANDBOX_IMAGE: Final = "registry.test/moorage/pause:1"

# Without CAP_SYS_RESOURCE runc cannot lower an oom_score_adj, so containerd must not ask for it.
_CONTAINERD: Final = """\
version = 2
root = "{home}/containerd/root"
state = "{home}/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
oom_score = 0
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{home}/runc"
"""


def write(home: Path, *, url: str, outside: str) -> None:
    """The files below `home`; the parts themselves use `url`, tests use `outside`."""
    (home / "cni").mkdir()
    (home / "containerd.toml").write_text(_CONTAINERD.format(home=home, cni=CNI, sandbox=SANDBOX_IMAGE))
    (home / "cni" / "10-pods.conflist").write_text(json.dumps(_network(home)))
    (home / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (home / "kubelet.yaml").write_text(json.dumps(_kubelet(home)))
    for name in ("admin", "controller-manager", "scheduler", "kubelet"):
        address = outside if name == "admin" else url
        (home / f"{name}.kubeconfig").write_text(json.dumps(kubeconfig(home / "pki", name, address)))


def kubeconfig(pki: Path, name: str, url: str) -> dict[str, Any]:
    """How the owner of a certificate reaches the API server."""
    user = {"client-certificate": str(pki / f"{name}.crt"), "client-key": str(pki / f"{name}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(pki / "ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        "current-context": "test",
    }


def _network(home: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(home / "cni-state"),
        "ranges": [[{"subnet": POD_NET, "rangeStart": "10.244.0.10", "gateway": NODE_IP}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(home: Path) -> dict[str, Any]:
    pki = home / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{home}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "makeIPTablesUtilChains": False,
        "clusterDomain": "cluster.local",
        "resolvConf": str(home / "resolv.conf"),
        "podLogsDir": str(home / "pod-logs"),
        "volumePluginDir": str(home / "volume-plugins"),
        "serializeImagePulls": False,
        "maxPods": 110,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def etcd(home: Path) -> list[str]:
    """A store that is thrown away, so that it need not wait for the disk."""
    return [
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_ETCD_PEER}",
        f"--initial-advertise-peer-urls={_ETCD_PEER}",
        f"--initial-cluster=default={_ETCD_PEER}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(home: Path, pki: Path, *, port: int, advertise: str) -> list[str]:
    """Node and RBAC authorisation, as in every cluster."""
    del home
    return [
        f"--etcd-servers={_ETCD}",
        "--bind-address=0.0.0.0",
        f"--secure-port={port}",
        f"--advertise-address={advertise}",
        f"--service-cluster-ip-range={SERVICE_NET}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'accounts.key'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def others(home: Path, pki: Path, *, node: str) -> Mapping[str, Sequence[str]]:
    """What is started once the API server is ready: component → arguments."""
    return {
        "kube-controller-manager": [
            f"--kubeconfig={home / 'controller-manager.kubeconfig'}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            f"--service-account-private-key-file={pki / 'accounts.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--allocate-node-cidrs=false",
            "--profiling=false",
        ],
        "kube-scheduler": [
            f"--kubeconfig={home / 'scheduler.kubeconfig'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--profiling=false",
        ],
        "kubelet": [
            f"--config={home / 'kubelet.yaml'}",
            f"--kubeconfig={home / 'kubelet.kubeconfig'}",
            f"--hostname-override={node}",
            f"--node-ip={NODE_IP}",
            f"--root-dir={home / 'kubelet'}",
            f"--cert-dir={home / 'kubelet-pki'}",
        ],
    }
