"""The test cluster is a real one: it schedules, runs, attaches its own volumes and takes away again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.parts.kubernetes import ApiError, Cluster

pytestmark = pytest.mark.kubernetes


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 50
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pod_runs_to_its_end_and_is_gone_when_deleted(kubernetes_cluster: Cluster) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    copy = {
        "name": "first",
        "image": kubernetes_cluster.images["busybox"],
        "command": ["/bin/sh", "-c", "echo made > /shared/file"],
        "volumeMounts": mounts,
    }
    main = {**copy, "name": "main", "command": ["/bin/cat", "/shared/file"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "smoke"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "initContainers": [copy],
            "containers": [main],
            "volumes": [{"name": "shared", "emptyDir": {}}],
        },
    }
    path = "/api/v1/namespaces/default/pods"
    kubernetes_cluster.call("POST", path, pod)
    until(lambda: kubernetes_cluster.call("GET", f"{path}/smoke")["status"]["phase"] == "Succeeded")
    assert kubernetes_cluster.call("GET", f"{path}/smoke/log") == "made\n"
    kubernetes_cluster.call("DELETE", f"{path}/smoke")
    until(lambda: not kubernetes_cluster.pods("default"))


def test_an_account_may_do_what_its_role_says_and_nothing_else(kubernetes_cluster: Cluster) -> None:
    kubernetes_cluster.namespace("default")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    kubernetes_cluster.apply(account, "default")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:default:nobody",
            "resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"},
        },
    }
    answer = kubernetes_cluster.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is False
    assert kubernetes_cluster.token("default", "nobody").count(".") == 2
    with pytest.raises(ApiError):
        kubernetes_cluster.call("GET", "/api/v1/namespaces/default/pods/none")
