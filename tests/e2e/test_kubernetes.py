"""Real logins into pods of a real cluster, by a gateway with the least rights; no pod outlives its owner."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.clusters import NAMESPACE, cluster_values
from tests.e2e.clients import Client
from tests.e2e.places import PASSWORD, USER
from tests.e2e.serving import Server, write_users
from tests.e2e.waiting import until
from tests.parts.kubernetes import Cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.e2e]


@pytest.fixture(scope="module")
def values(kubernetes_cluster: Cluster, key: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A configuration whose guests are pods."""
    secrets: dict[str, str | Path] = {USER: key, "pat": PASSWORD}
    users = write_users(tmp_path_factory.mktemp("users") / "users", **secrets)
    return {
        "auth": {"users": {"file": str(users)}},
        "log": {"level": "debug"},
        "backend": "kubernetes",
        "kubernetes": cluster_values(kubernetes_cluster, "busybox"),
    }


@pytest.fixture(scope="module")
def server(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests of this file."""
    with Server(tmp_path_factory.mktemp("server"), values) as running:
        yield running


@pytest.fixture
def user(server: Server, key: Path) -> Client:
    """Its user."""
    return Client(server.port, USER, server.directory, key=key)


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.pods(NAMESPACE)


@pytest.fixture(autouse=True)
def _nothing_is_left_of_others(kubernetes_cluster: Cluster) -> None:
    """Each test begins with no pod: an earlier one's may be just going."""
    until(lambda: not pods(kubernetes_cluster), "the namespace is empty", seconds=55)


def test_a_command_runs_in_a_pod_of_its_own_which_goes_with_it(user: Client, kubernetes_cluster: Cluster) -> None:
    done = user.run("hostname; cat; exit 7", input=b"to the pod\n")
    name, said = done.stdout.decode().splitlines()
    assert (name.startswith("guest-"), said, done.returncode) == (True, "to the pod", 7)
    until(lambda: not pods(kubernetes_cluster), "the pod is gone", seconds=60)


def test_a_pod_is_labelled_and_has_no_rights(user: Client, kubernetes_cluster: Cluster) -> None:
    session = user.start("echo ready; cat; find /var /run -name token; grep NoNewPrivs /proc/self/status")
    assert session.stdout is not None
    assert session.stdout.readline() == b"ready\n"
    (pod,) = pods(kubernetes_cluster)
    assert len(pod["metadata"]["labels"]["containerssh_connection_id"]) == 32
    assert pod["metadata"]["labels"]["containerssh_username"] == USER
    assert pod["metadata"]["annotations"]["containerssh_ip"] == "127.0.0.1"
    out, _ = session.communicate(timeout=30)
    assert out == b"NoNewPrivs:\t1\n"
    until(lambda: not pods(kubernetes_cluster), "the pod is gone", seconds=60)


def test_an_image_that_is_not_there_is_said_in_one_line(
    values: dict[str, Any], key: Path, tmp_path: Path, kubernetes_cluster: Cluster
) -> None:
    console = {"name": "shell", "image": "registry.test/none:1", "imagePullPolicy": "Never"}
    pod = {**values["kubernetes"]["pod"], "spec": {"containers": [console]}}
    with Server(tmp_path, {**values, "kubernetes": {**values["kubernetes"], "pod": pod}}) as server:
        done = Client(server.port, USER, tmp_path, key=key).run("true")
        assert done.returncode != 0
        assert b"The image of your environment could not be pulled." in done.stderr
        assert "ErrImageNeverPull" in server.log()
        until(lambda: not pods(kubernetes_cluster), "the pod is gone", seconds=60)


@pytest.mark.parametrize("stage", ["created", "running", "attached"])
def test_what_a_killed_gateway_leaves_is_removed_by_the_next(
    stage: str, values: dict[str, Any], key: Path, tmp_path: Path, kubernetes_cluster: Cluster
) -> None:
    def phase() -> str:
        return next((str(pod["status"].get("phase")) for pod in pods(kubernetes_cluster)), "")

    with Server(tmp_path, values) as server:
        session = Client(server.port, USER, tmp_path, key=key).start("echo ready; exec sleep 1000")
        assert session.stdout is not None
        if stage == "attached":
            assert session.stdout.readline() == b"ready\n"
        else:
            until(lambda: phase() if stage == "created" else phase() == "Running", f"the pod is {stage}", seconds=60)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        assert pods(kubernetes_cluster)
        server.start()
        until(lambda: not pods(kubernetes_cluster), "the pod is gone", seconds=60)


def test_a_client_that_goes_away_while_it_waits_leaves_no_pod(user: Client, kubernetes_cluster: Cluster) -> None:
    session = user.start("echo ready")
    until(lambda: pods(kubernetes_cluster), "the pod is created", seconds=60)
    session.kill()
    until(lambda: not pods(kubernetes_cluster), "the pod is gone", seconds=60)
