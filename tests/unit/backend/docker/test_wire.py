"""HTTP to an engine that hangs, dies, babbles or floods: bounded, in time, and told in one honest line."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.backend.docker.actors import (
    CONTAINER,
    Behaviour,
    Call,
    ScriptedEngine,
    answer,
    babble,
    die,
    flood,
    hang,
    raw,
    scripted_engine,
    upgraded,
)

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.failures import EngineError, EngineUnreachableError
from moorage.backend.docker.wire import ANSWER_LIMIT

DEADLINE = 10.0


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(tmp_path) as engine:
        yield engine


@pytest.fixture
async def engine(scripted: ScriptedEngine) -> AsyncIterator[Engine]:
    engine = Engine(EngineAddress.parse(scripted.host))
    yield engine
    await engine.close()


@pytest.mark.parametrize(
    ("offered", "spoken"), [("1.41", "v1.41"), ("1.24", "v1.24"), ("1.99", "v1.51"), ("1.10", "v1.24"), ("?", "v1.24")]
)
async def test_the_newest_version_that_both_know_is_spoken(
    scripted: ScriptedEngine, engine: Engine, offered: str, spoken: str
) -> None:
    scripted.on("^GET /_ping", answer(200, {}, Api_Version=offered))
    assert await engine._wire.version(DEADLINE) == spoken


async def test_the_version_is_asked_for_once(scripted: ScriptedEngine, engine: Engine) -> None:
    await asyncio.gather(*(engine.image("x", timeout=DEADLINE) for _ in range(5)))
    assert scripted.heard("_ping") == 1


async def test_an_engine_that_came_back_is_asked_for_its_version_again(
    scripted: ScriptedEngine, engine: Engine
) -> None:
    scripted.on("^GET /images", die)
    with pytest.raises(EngineUnreachableError):
        await engine.image("x", timeout=DEADLINE)
    scripted.on("^GET /images", answer(200, {}))
    await engine.image("x", timeout=DEADLINE)
    assert scripted.heard("_ping") == 2


async def test_an_engine_that_hangs_is_given_up(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("^GET /images", hang)
    with pytest.raises(TimeoutError):
        await engine.image("x", timeout=0.05)


@pytest.mark.parametrize("behaviour", [die, babble, raw(200, b"<html>"), raw(200, b"[" * 100_000), answer(200, [1])])
async def test_what_is_not_its_api_is_unreachable(
    scripted: ScriptedEngine, engine: Engine, behaviour: Behaviour
) -> None:
    scripted.on("^GET /images", behaviour)
    with pytest.raises(EngineUnreachableError):
        await engine.image("x", timeout=DEADLINE)


async def test_no_engine_at_all_is_unreachable(tmp_path: Path) -> None:
    engine = Engine(EngineAddress.parse(f"unix://{tmp_path / 'none'}"))
    with pytest.raises(EngineUnreachableError):
        await engine.image("x", timeout=DEADLINE)
    await engine.close()


async def test_an_endless_answer_costs_bounded_memory(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("^GET /images", flood)
    tracemalloc.start()
    try:
        with pytest.raises(EngineUnreachableError, match="longer than"):
            await engine.image("x", timeout=DEADLINE)
        assert tracemalloc.get_traced_memory()[1] < 4 * ANSWER_LIMIT
    finally:
        tracemalloc.stop()


async def test_an_error_is_told_bounded_and_printable(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("^POST /containers/create", answer(500, {"message": "no\x1b[31m space " + "x" * 10_000}))
    with pytest.raises(EngineError) as caught:
        await engine.create("n", {}, timeout=DEADLINE)
    assert caught.value.status == 500
    assert caught.value.message.startswith("no [31m space")
    assert len(caught.value.message) <= 500


@pytest.mark.parametrize("identity", [None, 7, "", "a/../b", "x" * 1000])
async def test_an_id_that_is_none_is_refused(scripted: ScriptedEngine, engine: Engine, identity: object) -> None:
    scripted.on("^POST /containers/create", answer(201, {"Id": identity}))
    with pytest.raises(EngineUnreachableError):
        await engine.create("n", {}, timeout=DEADLINE)


async def test_names_cannot_leave_their_place_in_a_path(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("^DELETE", answer(204))
    await engine.remove("../images/x?force=1", timeout=DEADLINE)
    assert scripted.calls[-1] == "DELETE /containers/..%2Fimages%2Fx%3Fforce%3D1"


async def test_an_upgraded_stream_carries_bytes_both_ways_and_half_closes(
    scripted: ScriptedEngine, engine: Engine
) -> None:
    async def echo(call: Call) -> None:
        call.writer.write(b"first")
        call.writer.write(await call.reader.read())

    scripted.on("/attach", upgraded(echo))
    stream = await engine.attach(CONTAINER, timeout=DEADLINE)
    stream.write(b"in")
    stream.write_eof()
    assert await asyncio.wait_for(_all(stream), DEADLINE) == b"firstin"
    stream.abort()


@pytest.mark.parametrize("behaviour", [die, babble, raw(200, b"x" * 10, X="y" * 100_000)])
async def test_an_upgrade_that_is_none_is_unreachable(
    scripted: ScriptedEngine, engine: Engine, behaviour: Behaviour
) -> None:
    scripted.on("/attach", behaviour)
    with pytest.raises(EngineUnreachableError):
        await engine.attach(CONTAINER, timeout=DEADLINE)


async def test_an_upgrade_that_is_refused_tells_why(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("/attach", answer(409, {"message": "container is paused"}))
    with pytest.raises(EngineError, match="409: container is paused"):
        await engine.attach(CONTAINER, timeout=DEADLINE)


async def test_a_pull_is_shared_and_reports_its_progress(scripted: ScriptedEngine, engine: Engine) -> None:
    lines = [
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 10, "total": 100}},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 43, "total": 100}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 0, "total": 100}},
        {"status": "Download complete", "id": "a"},
        {"status": "Pull complete", "id": "b"},
    ]
    scripted.on("^POST /images/create", raw(200, b"\r\n".join(json.dumps(line).encode() for line in lines)))
    seen: list[str] = []
    await asyncio.gather(*(engine.pull("a/b", auth=None, platform="", progress=seen.append) for _ in range(2)))
    assert scripted.heard("^POST /images/create") == 1
    assert sorted(set(seen)) == [f"pulling image: {n} %" for n in ("10", "100", "43", "50")]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("a", "fromImage=a&tag=latest"),
        ("r:5000/a:1", "fromImage=r%3A5000%2Fa%3A1"),
        ("a@sha256:0", "fromImage=a%40sha256%3A0"),
    ],
)
async def test_a_pull_asks_for_one_tag_only(scripted: ScriptedEngine, engine: Engine, name: str, query: str) -> None:
    asked: list[str] = []

    async def note(call: Call) -> None:
        asked.append(call.query)
        await answer(200, {})(call)

    scripted.on("^POST /images/create", note)
    await engine.pull(name, auth=None, platform="", progress=asked.append)
    assert asked == [query]


async def test_a_pull_that_fails_half_way_says_why(scripted: ScriptedEngine, engine: Engine) -> None:
    scripted.on("^POST /images/create", raw(200, b'{"status":"x"}\n{"error":"denied","errorDetail":{"code":403}}\n'))
    with pytest.raises(EngineError) as caught:
        await engine.pull("a", auth=None, platform="", progress=lambda line: None)
    assert caught.value.status == 403


async def _all(stream: object) -> bytes:
    kept = b""
    while chunk := await stream.read(100):  # type: ignore[attr-defined]
        kept += chunk
    return kept
