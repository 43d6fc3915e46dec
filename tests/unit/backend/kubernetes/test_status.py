"""How far a pod is, and what is told when it will never run."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.backend.kubernetes.failures import PodError
from moorage.backend.kubernetes.status import progress


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": status}


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def waiting(reason: str) -> dict[str, Any]:
    return pod(phase="Pending", containerStatuses=[container("shell", waiting={"reason": reason, "message": "why"})])


def test_it_runs_when_its_own_container_does_by_name() -> None:
    side, shell = container("side", running={}), container("shell", running={})
    assert not progress(pod(containerStatuses=[side]), "shell").runs
    assert progress(pod(containerStatuses=[side, shell]), "shell").runs


@pytest.mark.parametrize("value", [{}, {"status": None}, {"status": {"conditions": "x", "containerStatuses": [None]}}])
def test_what_says_nothing_does_not_run(value: dict[str, Any]) -> None:
    assert not progress(value, "shell").runs


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"])
def test_an_image_that_will_not_come_ends_the_wait(reason: str) -> None:
    with pytest.raises(PodError, match=f"container shell: {reason} why") as caught:
        progress(waiting(reason), "shell")
    assert caught.value.user_text == "The image of your environment could not be pulled."


def test_one_failed_pull_is_no_reason_to_give_up() -> None:
    assert not progress(waiting("ErrImagePull"), "shell").runs


def test_the_agent_s_image_is_named_like_any_other() -> None:
    state = pod(initContainerStatuses=[container("moorage-agent", waiting={"reason": "ErrImageNeverPull"})])
    with pytest.raises(PodError, match="moorage-agent"):
        progress(state, "shell")


def test_no_room_is_trouble_that_may_go_away() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    found = progress(pod(phase="Pending", conditions=[condition]), "shell")
    assert found.line == "waiting for room in the cluster"
    assert found.trouble is not None
    assert "0/3 nodes" in str(found.trouble)
    assert "no room" in found.trouble.user_text


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_never_runs_and_says_why(phase: str) -> None:
    ended = container("shell", terminated={"exitCode": 137, "reason": "OOMKilled"})
    with pytest.raises(PodError, match=r"OOMKilled.*137"):
        progress(pod(phase=phase, containerStatuses=[ended]), "shell")


def test_a_program_that_is_not_there_ends_the_wait() -> None:
    with pytest.raises(PodError, match="RunContainerError"):
        progress(waiting("RunContainerError"), "shell")
    state = pod(containerStatuses=[container("shell", terminated={"reason": "StartError", "exitCode": 128})])
    with pytest.raises(PodError, match="StartError"):
        progress(state, "shell")


def test_a_pod_that_is_being_deleted_never_runs() -> None:
    value = pod(containerStatuses=[container("shell", running={})])
    value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(PodError, match="deleted"):
        progress(value, "shell")


def test_what_the_cluster_says_is_bounded_and_fit_for_a_log() -> None:
    state = {"reason": "InvalidImageName", "message": "\x1b[2J" + "x" * 100_000}
    with pytest.raises(PodError) as caught:
        progress(pod(containerStatuses=[container("shell", waiting=state)]), "shell")
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()
