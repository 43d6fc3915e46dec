"""The whole backend on an engine that fails in every way: one honest line for the user, and nothing left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backend.docker.actors import (
    CONTAINER,
    Behaviour,
    Call,
    ScriptedEngine,
    after,
    answer,
    babble,
    die,
    flood,
    hang,
    raw,
    scripted_engine,
    upgraded,
)

from moorage.backend.docker.backend import DockerBackend
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import BackendError, Refused
from moorage.gateway.model import Address, Attempt, ConnectionId, Login, Program, ProgramKind, TcpTarget
from moorage.testing.streams import Recorder

DEADLINE = 10.0
UNREACHABLE = "The container engine cannot be reached at the moment. Please try again later."
TOO_LONG = "Your environment took too long to start. Please try again later."


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(tmp_path) as engine:
        yield engine


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[DockerBackend]:
    backend = DockerBackend(state_directory=tmp_path / "state", instance="instance")
    yield backend
    await asyncio.wait_for(backend.close(), DEADLINE)
    assert [path.name for path in (tmp_path / "state" / "docker").iterdir()] == ["sweep"]


def login(engine: ScriptedEngine, *, start: str = "10s", stop: str = "1s", **execution: Any) -> Login:
    config = AppConfig.model_validate(
        {
            "docker": {
                "connection": {"host": engine.host},
                "execution": {"container": {"Image": "image"}, **execution},
                "timeouts": {"containerStart": start, "containerStop": stop},
            }
        }
    )
    attempt = Attempt(ConnectionId("ab" * 16), Address("127.0.0.1", 1), "x", "alice")
    return Login(attempt, "password", config)


async def failure(backend: DockerBackend, of: Login) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await asyncio.wait_for(backend.open(of, lambda line: None), DEADLINE)
    return caught.value


@pytest.mark.parametrize("call", ["^GET /_ping", "^GET /images/", "^POST /containers/create", "^POST .*/start"])
@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (die, UNREACHABLE),
        (babble, UNREACHABLE),
        (flood, UNREACHABLE),
        (answer(500, {"message": "boom"}), "The container engine reported an error. Please try again later."),
        (raw(200, b"[1,2"), UNREACHABLE),
    ],
    ids=["dies", "babbles", "floods", "fails", "half an answer"],
)
async def test_an_engine_that_fails_is_told_in_one_line(
    engine: ScriptedEngine, backend: DockerBackend, call: str, behaviour: Behaviour, text: str
) -> None:
    if call == "^GET /_ping" and behaviour.__qualname__.startswith(("raw", "flood")):
        text = UNREACHABLE
        behaviour = die  # a ping has no body to be wrong
    engine.on(call, behaviour)
    error = await failure(backend, login(engine, stream="socket"))
    assert error.user_text == text
    assert error.code.value.startswith("DOCKER_")


@pytest.mark.parametrize("call", ["^GET /_ping", "^GET /images/", "^POST /containers/create", "^POST .*/start"])
async def test_an_engine_that_hangs_is_given_up_in_time(
    engine: ScriptedEngine, backend: DockerBackend, call: str
) -> None:
    engine.on(call, hang)
    error = await failure(backend, login(engine, start="200ms", stop="300ms", stream="socket"))
    assert error.user_text == TOO_LONG


async def test_no_engine_at_all_is_told_in_one_line(tmp_path: Path, backend: DockerBackend) -> None:
    error = await failure(backend, login(ScriptedEngine(tmp_path / "nothing")))
    assert error.user_text == UNREACHABLE
    assert str(tmp_path) not in error.user_text


async def test_a_state_directory_that_is_full_is_not_blamed_on_the_engine(
    engine: ScriptedEngine, backend: DockerBackend, tmp_path: Path
) -> None:
    engine.on("/start", answer(500, {"message": "boom"}))
    await failure(backend, login(engine, stream="socket"))
    (owner,) = (path for path in (tmp_path / "state" / "docker").iterdir() if path.is_dir())
    (owner / "2").write_text("in the way")
    error = await failure(backend, login(engine, stream="socket"))
    assert error.user_text == "Your environment could not be started."


async def test_a_create_without_an_answer_is_looked_for_and_removed(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    """The engine has created it, and then broke off."""
    engine.on("^POST /containers/create", die)

    async def inspect(call: Call) -> None:
        labels = next(body["Labels"] for body in engine.bodies if "Labels" in body)
        await answer(200, {"Id": CONTAINER, "Config": {"Labels": labels}})(call)

    engine.on("^GET /containers/moorage-[^/]+/json", inspect)
    await failure(backend, login(engine))
    assert engine.heard(f"^DELETE /containers/{CONTAINER}") == 1


async def test_what_bears_the_name_but_is_not_ours_is_left_alone(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    engine.on("^POST /containers/create", die)
    engine.on("^GET /containers/mine/json", answer(200, {"Id": CONTAINER, "Config": {"Labels": {"other": "1"}}}))
    await failure(backend, login(engine, containername="mine"))
    assert engine.heard("^DELETE") == 0


async def test_a_name_that_is_just_being_freed_is_waited_for(engine: ScriptedEngine, backend: DockerBackend) -> None:
    answers = iter([answer(409, {"message": "Conflict. The container name is in use"}), answer(201, {"Id": CONTAINER})])

    async def create(call: Call) -> None:
        await next(answers)(call)

    engine.on("^POST /containers/create", create)
    engine.on("/start", answer(500, {"message": "boom"}))
    await failure(backend, login(engine, containername="mine"))
    assert engine.heard("^POST /containers/create") == 2
    assert engine.heard(f"^DELETE /containers/{CONTAINER}") == 1


async def test_cancelling_while_it_is_created_waits_for_it_and_removes_it(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def create(call: Call) -> None:
        asked.set()
        await after(go, answer(201, {"Id": CONTAINER}))(call)

    engine.on("^POST /containers/create", create)
    opening = asyncio.create_task(backend.open(login(engine), lambda line: None))
    await asyncio.wait_for(asked.wait(), DEADLINE)
    opening.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(opening, DEADLINE)
    assert engine.heard(f"^DELETE /containers/{CONTAINER}") == 1


async def test_removal_is_tried_again_until_the_engine_agrees(engine: ScriptedEngine, backend: DockerBackend) -> None:
    answers = iter([answer(500, {"message": "busy"}), answer(409, {"message": "in progress"}), answer(404, {})])

    async def remove(call: Call) -> None:
        await next(answers)(call)

    engine.on("^DELETE", remove)
    engine.on("/start", answer(500, {"message": "boom"}))
    await failure(backend, login(engine, stop="10s"))
    assert engine.heard("^DELETE") == 3


async def test_a_container_that_cannot_be_removed_does_not_hold_the_login_for_ever(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    engine.on("^DELETE", hang)
    engine.on("/start", answer(500, {"message": "boom"}))
    await failure(backend, login(engine, stop="100ms"))


@pytest.mark.parametrize(
    ("policy", "calls"), [("IfNotPresent", 1), ("Always", 1), ("Never", 0)], ids=["if not present", "always", "never"]
)
async def test_a_missing_image_is_pulled_as_the_policy_says(
    engine: ScriptedEngine, backend: DockerBackend, policy: str, calls: int
) -> None:
    engine.on("^GET /images/", answer(404, {"message": "No such image: image"}))
    engine.on("^POST /images/create", raw(200, b'{"error":"pull access denied for image"}'))
    error = await failure(backend, login(engine, imagePullPolicy=policy))
    assert engine.heard("^POST /images/create") == calls
    wanted = "may not be downloaded: access was denied" if calls else "does not exist"
    assert wanted in error.user_text
    assert error.code is (Code.DOCKER_IMAGE_PULL_FAILED if calls else Code.DOCKER_IMAGE_LISTING_FAILED)


async def test_a_present_image_is_not_pulled_and_soon_not_looked_for(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    engine.on("/start", answer(500, {"message": "boom"}))
    for _ in range(3):
        await failure(backend, login(engine))
    assert engine.heard("^POST /images/create") == 0
    assert engine.heard("^GET /images/") == 1


async def test_a_pull_sends_the_registry_s_login_and_tells_its_progress(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    line = json.dumps({"status": "Downloading", "id": "a", "progressDetail": {"current": 43, "total": 100}})
    engine.on("^GET /images/", answer(404, {"message": "No such image: image"}))
    engine.on("^POST /images/create", raw(200, line.encode()))
    seen: list[str] = []
    of = login(engine, auth={"username": "u", "password": "unseen"})
    with pytest.raises(BackendError) as caught:
        await backend.open(of, seen.append)
    assert seen == ["pulling image", "pulling image: 43 %"]
    assert "unseen" not in f"{caught.value} {caught.value.user_text} {of!r}"


async def test_the_login_path_makes_no_call_that_it_does_not_need(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    engine.on("/start", answer(500, {"message": "boom"}))
    await failure(backend, login(engine, stream="socket"))
    engine.calls.clear()
    await failure(backend, login(engine, stream="socket"))
    assert engine.calls == [
        "POST /containers/create",
        f"POST /containers/{CONTAINER}/start",
        f"DELETE /containers/{CONTAINER}",
    ]


async def test_what_is_no_agent_is_told_and_removed(engine: ScriptedEngine, backend: DockerBackend) -> None:
    """The other end of the socket says something else."""

    async def start(call: Call) -> None:
        (source,) = (mount["Source"] for body in engine.bodies for mount in body["HostConfig"]["Mounts"])
        _, writer = await asyncio.open_unix_connection(f"{source}/socket")
        writer.write(b"SSH-2.0-not an agent\r\n")
        await answer(204)(call)
        await writer.drain()
        writer.close()

    engine.on("/start", start)
    error = await failure(backend, login(engine, stream="socket"))
    assert error.code is Code.DOCKER_AGENT_FAILED
    assert engine.heard("^DELETE") == 1


async def test_only_the_first_to_dial_gets_in(engine: ScriptedEngine, backend: DockerBackend) -> None:
    dialled: list[str] = []

    async def start(call: Call) -> None:
        (source,) = (mount["Source"] for body in engine.bodies for mount in body["HostConfig"]["Mounts"])
        first, writer = await asyncio.open_unix_connection(f"{source}/socket")
        await first.readexactly(9)  # the gateway's hello: the first one is in
        try:
            await asyncio.open_unix_connection(f"{source}/socket")
        except OSError as error:
            dialled.append(type(error).__name__)
        writer.close()
        await answer(204)(call)

    engine.on("/start", start)
    await failure(backend, login(engine, stream="socket"))
    assert dialled == ["FileNotFoundError"]


async def test_a_container_that_ends_at_once_is_told(engine: ScriptedEngine, backend: DockerBackend) -> None:
    engine.on(f"^GET /containers/{CONTAINER}/json", answer(404, {"message": "gone"}))
    error = await failure(backend, login(engine, stream="socket"))
    assert error.code is Code.DOCKER_CONTAINER_START_FAILED


async def test_an_attach_that_babbles_is_no_agent(engine: ScriptedEngine, backend: DockerBackend) -> None:
    async def garbage(call: Call) -> None:
        call.writer.write(b"this is not a frame of the engine")
        await call.writer.drain()

    engine.on("^POST /volumes/create", answer(201, {}))
    engine.on("^HEAD /containers/", answer(200))
    engine.on("/attach", upgraded(garbage))
    error = await failure(backend, login(engine, stream="attach"))
    assert error.code is Code.DOCKER_AGENT_FAILED


@pytest.mark.parametrize("complete", [True, False])
async def test_a_volume_counts_as_filled_if_its_last_file_is_there(
    engine: ScriptedEngine, backend: DockerBackend, complete: bool
) -> None:
    looks = iter([answer(404), answer(200 if complete else 404)])

    async def look(call: Call) -> None:
        await next(looks)(call)

    engine.on("^POST /volumes/create", answer(201, {}))
    engine.on("^HEAD /containers/", look)
    engine.on("^PUT /containers/", answer(500, {"message": "broken pipe"}))
    engine.on("/attach", answer(500, {"message": "boom"}))
    error = await failure(backend, login(engine, stream="attach"))
    assert ("boom" if complete else "broken pipe") in str(error)
    assert engine.heard("^DELETE /containers/moorage-fill-") == 1


async def test_an_exec_guest_that_loses_its_engine_says_so(engine: ScriptedEngine, backend: DockerBackend) -> None:
    ready = asyncio.Event()

    async def half(call: Call) -> None:
        call.writer.write(b"\1\0\0\0\0\0\0\5hello\1\0\0\0\0\0\1\0half")
        await call.writer.drain()
        await ready.wait()
        call.writer.transport.abort()

    engine.on("/wait", hang)
    engine.on(f"^POST /containers/{CONTAINER}/exec", answer(201, {"Id": "e" * 64}))
    engine.on("^POST /exec/", upgraded(half))
    engine.on("^GET /exec/", die)
    of = login(engine, disableAgent=True, idleCommand=["/x"])
    guest = await asyncio.wait_for(backend.open(of, lambda line: None), DEADLINE)
    recorder = Recorder()
    process = await guest.start(Program(ProgramKind.EXEC, b"cat"), recorder)
    await recorder.until_output(b"hellohalf")
    ready.set()
    with pytest.raises(BackendError) as caught:
        await asyncio.wait_for(process.wait(), DEADLINE)
    assert caught.value.user_text
    await recorder.until_lost()
    assert recorder.cause is not None
    with pytest.raises(Refused):
        await guest.dial(TcpTarget("localhost", 1), Recorder())
    await asyncio.wait_for(guest.close("over"), DEADLINE)


async def test_a_program_that_left_its_input_unread_still_has_a_status(
    engine: ScriptedEngine, backend: DockerBackend
) -> None:
    """A socket that is closed with something unread is reset."""

    async def reset(call: Call) -> None:
        call.writer.write(b"\1\0\0\0\0\0\0\4done")
        await call.writer.drain()
        call.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await wrote.wait()
        call.writer.transport.abort()

    wrote = asyncio.Event()
    engine.on("/wait", hang)
    engine.on(f"^POST /containers/{CONTAINER}/exec", answer(201, {"Id": "e" * 64}))
    engine.on("^POST /exec/", upgraded(reset))
    engine.on("^GET /exec/", answer(200, {"Running": False, "ExitCode": 5}))
    of = login(engine, disableAgent=True, idleCommand=["/x"])
    guest = await asyncio.wait_for(backend.open(of, lambda line: None), DEADLINE)
    recorder = Recorder()
    process = await guest.start(Program(ProgramKind.EXEC, b"head"), recorder)
    await recorder.until_output(b"done")
    process.write(b"x" * 100_000)
    wrote.set()
    assert (await asyncio.wait_for(process.wait(), DEADLINE)).code == 5
    assert recorder.stdout == b"done"
    await asyncio.wait_for(guest.close("over"), DEADLINE)


async def test_an_agent_that_is_not_there_refuses_the_program(engine: ScriptedEngine, backend: DockerBackend) -> None:
    async def no_agent(call: Call) -> None:
        text = b"OCI runtime exec failed: no such file or directory"
        call.writer.write(b"\1\0\0\0" + len(text).to_bytes(4, "big") + text)
        await call.writer.drain()

    engine.on("/wait", hang)
    engine.on(f"^GET /containers/{CONTAINER}/json", answer(200, {"State": {"Running": True}}))
    engine.on(f"^POST /containers/{CONTAINER}/exec", answer(201, {"Id": "e" * 64}))
    engine.on("^POST /exec/", upgraded(no_agent))
    guest = await asyncio.wait_for(backend.open(login(engine, agent="containerssh"), lambda line: None), DEADLINE)
    with pytest.raises(Refused) as caught:
        await guest.start(Program(ProgramKind.EXEC, b"ls"), Recorder())
    assert caught.value.user_text == "The program could not be started."
    assert "OCI" in str(caught.value)
    await asyncio.wait_for(guest.close("over"), DEADLINE)


@pytest.mark.parametrize("connection", [{"host": "npipe:////x"}, {"host": "tcp://h", "cacert": "no PEM"}])
async def test_an_engine_that_is_configured_wrongly_is_told(
    engine: ScriptedEngine, backend: DockerBackend, connection: dict[str, str]
) -> None:
    of = login(engine)
    config = AppConfig.model_validate({"docker": {"connection": connection}})
    error = await failure(backend, Login(of.attempt, "password", config))
    assert error.user_text == "The container engine is not configured correctly."
    assert error.code is Code.DOCKER_CONFIG_ERROR
    await backend.prepare(config)
    await backend.prepare(of.config)


async def test_making_a_backend_touches_nothing(tmp_path: Path) -> None:
    backend = DockerBackend(state_directory=tmp_path / "none", instance="x")
    assert not (tmp_path / "none").exists()
    await backend.close()
    await backend.close()
