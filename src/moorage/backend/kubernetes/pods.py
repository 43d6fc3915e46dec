"""What happens to the pods of this gateway, heard over one watch for each namespace, whoever waits for which.

A watch goes on where it was cut; where the server has forgotten that place (410), all is listed anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

import structlog

from moorage.backend.kubernetes.api import Api, Query
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError, PodError
from moorage.backend.kubernetes.status import progress
from moorage.codes import Code
from moorage.gateway.contract import Progress

_WATCH_SECONDS: Final = 290
_LIST_SECONDS: Final = 30.0
_SILENCE: Final = 330.0
"""Seconds after which a watch that says nothing, not even that it ends, is taken for broken."""

_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 5.0

Pod = Mapping[str, Any]


class Subscription:
    """What is known of one pod: the newest state of it that was heard."""

    def __init__(self) -> None:
        self.pod: Pod | None = None
        """None before anything was heard, and after it is gone."""

        self.is_gone = False
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Returns when something was heard since the last return."""
        await self._changed.wait()
        self._changed.clear()

    def heard(self, pod: Pod | None) -> None:
        """The pod is now so; None: it is gone."""
        self.pod = pod
        self.is_gone = pod is None
        self._changed.set()


class PodWatch:
    """One watch over the pods of a namespace that a selector chooses.  It begins with the first subscriber."""

    def __init__(self, api: Api, path: str, selector: Query) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._subscriptions: dict[str, Subscription] = {}
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, name: str) -> Subscription:
        """Hear of the pod `name` from now on, which need not be there yet."""
        subscription = self._subscriptions[name] = Subscription()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="kubernetes/watch")
        return subscription

    def unsubscribe(self, name: str) -> None:
        """Hear no more of it; idempotent."""
        self._subscriptions.pop(name, None)

    async def close(self) -> None:
        """Stop; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        pause, version = _FIRST_PAUSE, ""
        while True:
            try:
                if not version:
                    version = await self._list()
                version = await self._watch(version)
                pause = _FIRST_PAUSE
                await asyncio.sleep(_FIRST_PAUSE)  # a server that ends each watch at once is not to be flooded
                continue
            except ApiError as error:
                version = ""
                if error.status == 410:
                    continue
                cause: Exception = error
            except (ApiUnreachableError, OSError) as error:
                cause = error
            structlog.get_logger().info(
                "Could not watch pods; trying again", code=Code.KUBERNETES_POD_WAIT_FAILED, error=str(cause)
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _list(self) -> str:
        # A pod that was not heard of yet may be just being made: only one that was there can be gone.
        known = {name for name, subscription in self._subscriptions.items() if subscription.pod is not None}
        pods, version = await self._api.list(self._path, self._selector, timeout=_LIST_SECONDS)
        for pod in pods:
            known.discard(self._heard(pod))
        for name in known:
            if name in self._subscriptions:
                self._subscriptions[name].heard(None)
        return version

    async def _watch(self, version: str) -> str:
        """Listen until the server ends it; the version to go on from."""
        query = [
            *self._selector,
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(_WATCH_SECONDS)),
        ]
        events = self._api.watch(self._path, query)
        try:
            while True:
                async with asyncio.timeout(_SILENCE):
                    event = await anext(events, None)
                if event is None:
                    return version
                version = self._took(event) or version
        finally:
            await events.aclose()

    def _took(self, event: Any) -> str:
        """Take an event; the version that it brings."""
        if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
            raise ApiUnreachableError("an event of the API server is not one")
        kind, item = event.get("type"), event["object"]
        if kind == "ERROR":
            raise ApiError(int(item.get("code") or 500), str(item.get("reason") or ""), str(item.get("message") or ""))
        if kind in ("ADDED", "MODIFIED"):
            self._heard(item)
        elif kind == "DELETED":
            subscription = self._subscriptions.get(_name(item))
            if subscription is not None:
                subscription.heard(None)
        return str((item.get("metadata") or {}).get("resourceVersion") or "")

    def _heard(self, pod: Pod) -> str:
        name = _name(pod)
        subscription = self._subscriptions.get(name)
        if subscription is not None:
            subscription.heard(pod)
        return name


def _name(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name") or "")


async def when_running(subscription: Subscription, container: str, told: Progress, *, seconds: float) -> None:
    """Returns when `container` runs, telling of the wait; raises `PodError` when it never will, and `TimeoutError`."""
    line, trouble = "", None
    try:
        async with asyncio.timeout(seconds):
            while True:
                if subscription.is_gone:
                    raise PodError("the pod was deleted by somebody else")
                if subscription.pod is not None:
                    state = progress(subscription.pod, container)
                    if state.runs:
                        return
                    trouble = state.trouble
                    if state.line != line:
                        line = state.line
                        told(line)
                await subscription.change()
    except TimeoutError:
        if trouble is None:
            raise
        raise trouble from None
