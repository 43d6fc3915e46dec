"""What a pod's status means for one who waits for it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.backend.kubernetes.api import printable
from moorage.backend.kubernetes.failures import PodError

_TEXT_LIMIT: Final = 500
_NO_IMAGE: Final = frozenset({"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
_BROKEN: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "CrashLoopBackOff"}
)
_NO_ROOM: Final = "There is no room in the cluster for your environment at the moment. Please try again later."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pod is."""

    runs: bool
    line: str
    """For a waiting user; empty if there is nothing to say."""

    trouble: PodError | None = None
    """What stands in the way, and may go away: the reason to give if it does not in time."""


def progress(pod: Mapping[str, Any], container: str) -> Progress:
    """How far the `container` of `pod` is; raises `PodError` when it will never run."""
    status = _map(pod.get("status"))
    if status.get("phase") in ("Failed", "Succeeded"):
        raise PodError(f"the pod has ended: {_why(status)}")
    if _map(pod.get("metadata")).get("deletionTimestamp"):
        raise PodError("the pod is being deleted")
    for found in _containers(status):
        waiting = _map(_map(found.get("state")).get("waiting"))
        reason = str(waiting.get("reason") or "")
        if reason in _NO_IMAGE:
            raise PodError(_told(found, waiting), "The image of your environment could not be pulled.")
        if reason in _BROKEN:
            raise PodError(_told(found, waiting))
        ended = _map(_map(found.get("state")).get("terminated"))
        if ended and found.get("name") == container:
            raise PodError(_told(found, ended))
    for found in _list(status.get("containerStatuses")):
        if found.get("name") == container and "running" in _map(found.get("state")):
            return Progress(runs=True, line="")
    return _waiting(status)


def _waiting(status: Mapping[str, Any]) -> Progress:
    for condition in _list(status.get("conditions")):
        if condition.get("type") == "PodScheduled":
            if condition.get("status") == "True":
                return Progress(False, "pulling images and starting")
            if condition.get("reason") == "Unschedulable":
                why = printable(f"it cannot be scheduled: {condition.get('message')}", _TEXT_LIMIT)
                return Progress(False, "waiting for room in the cluster", PodError(why, _NO_ROOM))
    return Progress(False, "waiting to be scheduled")


def _why(status: Mapping[str, Any]) -> str:
    parts = [str(status.get(key)) for key in ("phase", "reason", "message") if status.get(key)]
    for found in _containers(status):
        ended = _map(_map(found.get("state")).get("terminated"))
        if ended.get("exitCode"):
            parts.append(_told(found, ended))
    return printable("; ".join(parts), _TEXT_LIMIT)


def _told(container: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    text = f"container {container.get('name')}: {state.get('reason')} {state.get('message') or ''}"
    if "exitCode" in state:
        text += f" (status {state['exitCode']})"
    return printable(text, _TEXT_LIMIT)


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _list(status.get("initContainerStatuses"))
    yield from _list(status.get("containerStatuses"))


def _list(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
