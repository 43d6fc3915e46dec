"""Calls are repeated where that helps, bounded, and what the server says becomes one honest line."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.unit.backend.kubernetes.actors import event, found, listed, pod, serving, status, watched

from moorage.backend.kubernetes import api as api_module
from moorage.backend.kubernetes.api import Limit
from moorage.backend.kubernetes.failures import ApiError, ApiUnreachableError, backend_error
from moorage.backend.kubernetes.pods import PodWatch
from moorage.codes import Code


async def broken(request: web.Request) -> web.StreamResponse:
    """The connection ends without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_FIRST_PAUSE", 0.001)


async def test_a_call_shows_who_we_are_and_returns_what_was_said() -> None:
    async with serving(found({"a": 1})) as (fake, api):
        assert await api.call("POST", "/x", body={"b": 2}, query=[("q", "a b")], timeout=10) == {"a": 1}
        assert fake.requests[0].headers["Authorization"] == "Bearer secret"
        assert fake.requests[0].query["q"] == "a b"
        assert fake.bodies == [{"b": 2}]


@pytest.mark.parametrize("first", [status(429, **{"Retry-After": "0"}), status(503), status(500), broken])
async def test_what_may_be_better_the_next_time_is_tried_again(first: object) -> None:
    async with serving(first, found({})) as (fake, api):  # type: ignore[arg-type]
        assert await api.call("GET", "/x", timeout=10) == {}
        assert len(fake.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
async def test_what_will_be_the_same_the_next_time_is_not(code: int) -> None:
    async with serving(status(code, "Why", "because")) as (fake, api):
        with pytest.raises(ApiError, match=f"{code} Why: because"):
            await api.call("GET", "/x", timeout=10)
        assert len(fake.requests) == 1


async def test_it_is_tried_some_times_and_then_told() -> None:
    async with serving(status(503, "", "busy")) as (fake, api):
        with pytest.raises(ApiError, match="busy"):
            await api.call("GET", "/x", timeout=10)
        assert len(fake.requests) == 5


async def test_waiting_as_the_server_asks_ends_with_the_deadline() -> None:
    async with serving(status(429, **{"Retry-After": "9"})) as (_, api):
        with pytest.raises(TimeoutError):
            await api.call("GET", "/x", timeout=0.3)


async def test_what_is_no_json_is_no_answer() -> None:
    async def text(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    async with serving(text) as (_, api):
        with pytest.raises(ApiUnreachableError, match="not JSON"):
            await api.call("GET", "/x", timeout=10)


async def test_an_error_s_words_are_bounded_and_fit_for_a_log() -> None:
    async with serving(status(403, "Forbidden", "\x1b[2J" + "x" * 100_000)) as (_, api):
        with pytest.raises(ApiError) as caught:
            await api.call("GET", "/x", timeout=10)
        assert len(caught.value.message) <= 700
        assert caught.value.message.isprintable()


async def test_a_list_comes_in_pages() -> None:
    async with serving(listed("a", "b", more="go on"), listed("c", version="7")) as (fake, api):
        items, version = await api.list("/pods", [("labelSelector", "owner")], timeout=10)
        assert [item["metadata"]["name"] for item in items] == ["a", "b", "c"]
        assert version == "7"
        assert fake.requests[1].query["continue"] == "go on"


async def test_a_limit_spreads_calls_over_time() -> None:
    loop, limit = asyncio.get_running_loop(), Limit(50, 2)
    began = loop.time()
    for _ in range(4):
        await limit.turn()
    assert loop.time() - began >= 0.035


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApiError(403, "Forbidden", "cannot create pods"), "The gateway may not create pods."),
        (ApiError(403, "Forbidden", "exceeded quota: q"), "a quota is used up"),
        (ApiError(403, "Forbidden", 'violates PodSecurity "restricted"'), "does not accept the configuration"),
        (ApiError(401, "Unauthorized", ""), "credentials"),
        (ApiError(422, "Invalid", ""), "does not accept the configuration"),
        (ApiError(409, "AlreadyExists", ""), "exists already"),
        (ApiError(503, "", ""), "Please try again later."),
        (ApiUnreachableError("x"), "cannot be reached"),
        (TimeoutError(), "took too long"),
    ],
)
def test_a_user_reads_one_line_and_the_log_has_the_cause(error: Exception, text: str) -> None:
    failure = backend_error(Code.KUBERNETES_POD_CREATE_FAILED, "create the pod", error)
    assert text in failure.user_text
    assert "\n" not in failure.user_text
    assert str(failure).startswith("could not create the pod: ")


# The watch.


async def heard(watch: PodWatch, name: str, version: str) -> None:
    """Returns when the pod `name` is known in `version`."""
    subscription = watch.subscribe(name)
    async with asyncio.timeout(10):
        while subscription.pod is None or subscription.pod["metadata"]["resourceVersion"] != version:
            await subscription.change()


async def test_a_watch_goes_on_where_it_ended() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "5"}})
    last = watched(event("MODIFIED", pod("a", "6")), hang=True)
    async with serving(listed("a"), watched(bookmark), last) as (fake, api):
        watch = PodWatch(api, "/pods", [("labelSelector", "owner")])
        try:
            await heard(watch, "a", "6")
        finally:
            await watch.close()
        assert [request.query.get("resourceVersion") for request in fake.requests] == [None, "1", "5"]
        assert fake.requests[1].query["allowWatchBookmarks"] == "true"


@pytest.mark.parametrize(
    "gone",
    [watched(event("ERROR", {"code": 410, "reason": "Expired"})), status(410, "Expired")],
    ids=["event", "status"],
)
async def test_a_watch_whose_place_is_forgotten_lists_anew(gone: object) -> None:
    answers = (listed("a"), gone, listed("a", version="9"), watched(hang=True))
    async with serving(*answers) as (fake, api):  # type: ignore[arg-type]
        watch = PodWatch(api, "/pods", [("labelSelector", "owner")])
        try:
            await heard(watch, "a", "9")
        finally:
            await watch.close()
        assert "watch" not in fake.requests[2].query


@pytest.mark.parametrize(
    "trouble", [watched(cut=True), status(500), watched("no object")], ids=["cut", "500", "rubbish"]
)
async def test_a_watch_outlives_trouble(trouble: object) -> None:
    answers = (listed("a"), trouble, watched(event("MODIFIED", pod("a", "3")), hang=True))
    async with serving(*answers, *answers[2:]) as (_, api):  # type: ignore[arg-type]
        watch = PodWatch(api, "/pods", [("labelSelector", "owner")])
        try:
            async with asyncio.timeout(10):
                subscription = watch.subscribe("a")
                while subscription.pod is None:
                    await subscription.change()
        finally:
            await watch.close()


async def test_a_pod_that_went_while_nobody_listened_is_gone() -> None:
    gone = watched(event("ERROR", {"code": 410}))
    async with serving(listed("a", "b"), gone, listed("b"), watched(hang=True)) as (_, api):
        watch = PodWatch(api, "/pods", [("labelSelector", "owner")])
        try:
            subscription, other = watch.subscribe("a"), watch.subscribe("new")
            async with asyncio.timeout(10):
                while not subscription.is_gone:
                    await subscription.change()
            assert not other.is_gone, "one that was not there yet may still come"
        finally:
            await watch.close()


async def test_a_deleted_pod_is_gone() -> None:
    async with serving(listed("a"), watched(event("DELETED", pod("a", "2")), hang=True)) as (_, api):
        watch = PodWatch(api, "/pods", [("labelSelector", "owner")])
        try:
            subscription = watch.subscribe("a")
            async with asyncio.timeout(10):
                while not subscription.is_gone:
                    await subscription.change()
        finally:
            await watch.close()
