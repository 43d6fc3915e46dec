"""Structures of the engines' APIs come out in the API's own names, whichever way they are written."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.config.conftest import Fail, Read


def execution(read: Read, text: str) -> Any:
    return read(
        "docker:\n  execution:\n" + "\n".join("    " + line for line in text.splitlines())
    ).config.docker.execution


def test_lower_case_names_become_the_engines_names(read: Read) -> None:
    got = execution(
        read,
        """\
container:
  image: alpine
  attachstdin: true
  exposedports: {80/tcp: {}, 81/udp: }
  cmd: [sleep, 10]
  env: [A=1, B=yes]
  healthcheck: {test: [CMD, x], interval: 30s, startperiod: 1m, retries: 3}
  stoptimeout: 0
  labels: {v: 1.10, on: yes, n: 12}
host:
  portbindings: {80/tcp: [{hostip: 127.0.0.1, hostport: 8080}]}
  restartpolicy: {name: "no", maximumretrycount: 0}
  oomscoreadj: 5
  mounts:
    - {type: tmpfs, target: /x, readonly: false, tmpfsoptions: {sizebytes: 1000, mode: 0755}}
    - {type: bind, source: /a, target: /b, bindoptions: {propagation: rprivate}}
  init: false
network:
  endpointsconfig:
    net1: {ipamconfig: {ipv4address: 10.0.0.2}, aliases: [a]}
    net2:
platform: {architecture: arm64, os: linux, osversion: "1", osfeatures: [x], variant: v8}
containerName: named
""",
    )
    assert got.container == {
        "Image": "alpine",
        "AttachStdin": True,
        "ExposedPorts": {"80/tcp": {}, "81/udp": {}},
        "Cmd": ["sleep", "10"],
        "Env": ["A=1", "B=yes"],
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30 * 10**9, "StartPeriod": 60 * 10**9, "Retries": 3},
        "StopTimeout": 0,
        "Labels": {"v": "1.1", "on": "yes", "n": "12"},
    }
    assert got.host == {
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "no"},
        "OomScoreAdj": 5,
        "Mounts": [
            {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1000, "Mode": 493}},
            {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rprivate"}},
        ],
        "Init": False,
    }
    assert got.network == {
        "EndpointsConfig": {"net1": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}, "Aliases": ["a"]}, "net2": {}}
    }
    assert got.platform == {
        "architecture": "arm64",
        "os": "linux",
        "os.version": "1",
        "os.features": ["x"],
        "variant": "v8",
    }
    assert got.containername == "named"


@pytest.mark.parametrize(
    "text",
    [
        "host: {resources: {memory: 1000, pidslimit: 0, ulimits: [{name: nofile, hard: 1, soft: 1}]}}",
        "host: {memory: 1000, pidslimit: 0, ulimits: [{name: nofile, hard: 1, soft: 1}]}",
        "host: {Memory: 1000, PidsLimit: 0, Resources: {Ulimits: [{Name: nofile, Hard: 1, Soft: 1}]}}",
    ],
)
def test_resources_stand_flat_or_nested(read: Read, text: str) -> None:
    ulimits = [{"Name": "nofile", "Hard": 1, "Soft": 1}]
    assert execution(read, text).host == {"Memory": 1000, "PidsLimit": 0, "Ulimits": ulimits}


def test_unknown_keys_are_kept_as_they_are(read: Read) -> None:
    got = execution(read, "host: {newthing: {a: [1, yes, 1.5, 'x']}, diskquota: 5}\ncontainer: {other: true}")
    assert got.host == {"newthing": {"a": [1, "yes", 1.5, "x"]}, "diskquota": 5}
    assert got.container == {"Image": "containerssh/containerssh-guest-image", "other": True}


@pytest.mark.parametrize("text", ["container: {}", "container: ", "container: {image: ''}", "container: {env: [A=1]}"])
def test_the_image_is_filled_in(read: Read, text: str) -> None:
    assert execution(read, text).container["Image"] == "containerssh/containerssh-guest-image"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("container: {env: A=1}", "container.env: expected a list, found a text"),
        ("container: {cmd: echo hi}", "container.cmd: expected a list, found a text"),
        ("container: {tty: 1}", "container.tty: expected true or false, found a number"),
        ("container: {stoptimeout: soon}", "container.stoptimeout: expected a whole number, found a text"),
        ("container: {healthcheck: {interval: 1 day}}", "interval: expected a duration"),
        ("container: [a]", "container: expected a map, found a list"),
        ("host: {resources: [a]}", "host.resources: expected a map, found a list"),
        ("host: {mounts: [{type: [bind]}]}", "host.mounts[0].type: expected a text, found a list"),
        ("host: {memory: 1g}", "host.memory: expected a whole number, found a text"),
        ("network: {endpointsconfig: []}", "expected a map, found a list"),
    ],
)
def test_a_known_key_of_the_wrong_type_is_a_problem(fail: Fail, text: str, what: str) -> None:
    assert what in fail(f"docker:\n  execution:\n    {text}\n")[0]


def test_json_names_are_the_engines_and_a_command_may_be_one_text(read_json: Read) -> None:
    got = read_json(
        """{"docker": {"execution": {
            "container": {"Image": "a", "Cmd": "sh", "Healthcheck": {"Interval": 1000}, "hostname": "h"},
            "host": {"Memory": 1, "PortBindings": {"80/tcp": [{"HostIp": "::", "HostPort": "1"}]}},
            "platform": {"os.version": "10"}}}}"""
    ).config.docker.execution
    assert got.container == {"Image": "a", "Cmd": ["sh"], "Healthcheck": {"Interval": 1000}, "Hostname": "h"}
    assert got.host == {"Memory": 1, "PortBindings": {"80/tcp": [{"HostIp": "::", "HostPort": "1"}]}}
    assert got.platform == {"os.version": "10"}


def test_masked_paths_that_are_emptied_on_purpose_stay_empty(read: Read) -> None:
    assert execution(read, "host: {maskedpaths: [], binds: []}").host == {"MaskedPaths": []}


def pod(read: Read, text: str) -> Any:
    return read("kubernetes:\n  pod:\n" + "\n".join("    " + line for line in text.splitlines())).config.kubernetes.pod


def test_a_pod_is_read_in_any_case_with_the_old_rules_for_scalars(read: Read) -> None:
    got = pod(
        read,
        """\
Metadata:
  creationTimestamp: null
  labels: {a: yes, b: 1.10, c: 0644, d: 5}
SPEC:
  initcontainers:
    - {name: init, image: busybox}
  containers:
    - env: [{name: A, value: yes}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}]
      resources: {limits: {memory: 128Mi, cpu: 0.5}, requests: {cpu: 500m}}
      livenessProbe: {httpGet: {port: http, path: /}, periodSeconds: 5}
      securityContext: {runAsUser: 0, allowPrivilegeEscalation: no, capabilities: {drop: [ALL]}}
    - {name: two, image: b, ports: [{containerPort: 80}]}
  volumes:
    - {name: e, emptyDir: {}}
    - {name: c, configMap: {name: m, defaultMode: 0644}}
  automountServiceAccountToken: false
  tolerations: [{key: a, operator: Exists, tolerationSeconds: 0}]
ConsoleContainerNumber: 1
""",
    )
    assert got.metadata == {
        "namespace": "default",
        "generateName": "containerssh-",
        "labels": {"a": "true", "b": "1.1", "c": "420", "d": "5"},
    }
    assert got.spec == {
        "initContainers": [{"name": "init", "image": "busybox"}],
        "containers": [
            {
                "name": "shell",
                "image": "containerssh/containerssh-guest-image",
                "env": [
                    {"name": "A", "value": "true"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}},
                ],
                "resources": {"limits": {"memory": "128Mi", "cpu": 0.5}, "requests": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 5},
                "securityContext": {
                    "runAsUser": 0,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            },
            {"name": "two", "image": "b", "ports": [{"containerPort": 80}]},
        ],
        "volumes": [
            {"name": "e", "emptyDir": {}},
            {"name": "c", "configMap": {"name": "m", "defaultMode": 420}},
        ],
        "automountServiceAccountToken": False,
        "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 0}],
    }
    assert got.console_container_number == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("spec: {foo: 1}", "kubernetes.pod.spec.foo: unknown key"),
        ("spec: {containers: [{imagePullPolcy: Always}]}", "did you mean imagePullPolicy?"),
        ("spec: {containers: [{env: [{nam: a}]}]}", "kubernetes.pod.spec.containers[0].env[0].nam: unknown key"),
        ("spec: {volumes: [{name: a, emptyDir: {size: 1}}]}", "emptyDir.size: unknown key"),
        ("apiVersion: v1", "kubernetes.pod.apiVersion: unknown key"),
        ("metadata: {status: 1}", "kubernetes.pod.metadata.status: unknown key"),
        ("spec: {containers: {}}", "kubernetes.pod.spec.containers: expected a list"),
        ("exposeAuthMetadataAsEnv: true", "expected a map, found true or false"),
    ],
)
def test_unknown_keys_of_a_pod_are_problems_at_every_depth(fail: Fail, text: str, what: str) -> None:
    assert what in fail(f"kubernetes:\n  pod:\n    {text}\n")[0]


def test_subsystems_replace_for_docker_and_add_for_kubernetes(read: Read) -> None:
    text = "{subsystems: {x: /x}}"
    config = read(f"docker: {{execution: {text}}}\nkubernetes: {{pod: {text}}}").config
    assert config.docker.execution.subsystems == {"x": "/x"}
    assert config.kubernetes.pod.subsystems == {"sftp": "/usr/lib/openssh/sftp-server", "x": "/x"}
    kept = read("kubernetes: {pod: {subsystems: {}}}").config.kubernetes.pod
    assert kept.subsystems == {"sftp": "/usr/lib/openssh/sftp-server"}


def test_every_struct_that_a_table_names_is_in_it() -> None:
    from moorage.config.reading.structs import Type, fields_of, table_of

    def check(table: str, kind: Type) -> None:
        if kind.inner:
            check(table, kind.inner)
        elif kind.is_struct:
            assert fields_of(table, kind.kind)

    for table in ("docker", "kubernetes"):
        for struct in table_of(table).structs:
            for kind in fields_of(table, struct).by_name.values():
                check(table, kind)
