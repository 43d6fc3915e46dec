"""What only a real engine can prove: nothing left after a kill, leftovers reaped, odd images, TLS, falling back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.conformance.engines import containers, docker_backend, engine_config
from tests.parts.engine import RealEngine

from moorage.backend.docker.address import EngineAddress
from moorage.backend.docker.backend import DockerBackend
from moorage.backend.docker.engine import Engine
from moorage.backend.docker.injection import Doors
from moorage.backend.docker.launch import Site
from moorage.backend.docker.reaper import Reaper
from moorage.backend.lease import Lease, Owner
from moorage.config import AppConfig
from moorage.errors import BackendError, Refused
from moorage.gateway.contract import Guest
from moorage.gateway.model import (
    Address,
    Attempt,
    ConnectionId,
    FileValue,
    Login,
    Metadata,
    Program,
    ProgramKind,
)
from moorage.testing.suite import run, start

pytestmark = pytest.mark.docker

DEADLINE = 15.0


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[DockerBackend]:
    async with docker_backend(tmp_path) as backend:
        yield backend


def login(config: AppConfig, **files: bytes) -> Login:
    metadata = Metadata(files={path: FileValue(content) for path, content in files.items()})
    attempt = Attempt(ConnectionId(uuid.uuid4().hex), Address("127.0.0.1", 1), "x", "alice", metadata=metadata)
    return Login(attempt, "password", config)


@asynccontextmanager
async def opened(backend: DockerBackend, engine: RealEngine, image: str, **execution: Any) -> AsyncIterator[Guest]:
    guest = await backend.open(login(engine_config(engine, image, **execution)), lambda line: None)
    try:
        yield guest
    finally:
        await guest.close("over")
        assert await containers(engine, backend) == []


# Images


async def test_an_image_from_scratch_runs_its_binary_and_sftp_but_no_shell(
    backend: DockerBackend, docker_engine: RealEngine, scratch_image: str
) -> None:
    for stream in ("socket", "attach"):
        async with opened(backend, docker_engine, scratch_image, stream=stream) as guest:
            result = await run(guest, "/hello one 'two three'")
            assert result.stdout == b"1:one\n2:two three\n"
            assert (await run(guest, "/hello cat", b"through")).stdout == b"through"
            assert (await run(guest, "/hello exit 9")).status.code == 9
            with pytest.raises(Refused) as caught:
                await start(guest, Program(ProgramKind.SHELL))
            assert "shell" in caught.value.user_text
            process, recorder = await start(guest, Program(ProgramKind.SUBSYSTEM, b"sftp"))
            process.write(b"\0\0\0\5\1\0\0\0\3")
            await recorder.until_output(b"\2\0\0\0\3")
            process.close()


@pytest.mark.parametrize("stream", ["socket", "attach"])
async def test_any_user_and_a_read_only_system_will_do(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str, stream: str
) -> None:
    async with opened(
        backend,
        docker_engine,
        busybox_image,
        stream=stream,
        container={"User": "1000:1000", "WorkingDir": "/home/app", "Env": ["A=1"]},
        host={
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 64,
            "Memory": 64 << 20,
            "Init": True,
        },
    ) as guest:
        result = await run(
            guest, "id -u; id -g; pwd; echo $A; grep CapBnd /proc/self/status; touch /x; cat /proc/1/comm"
        )
        lines = result.stdout.decode().split("\n")
        assert lines[:4] == ["1000", "1000", "/home/app", "1"]
        assert lines[4].endswith("0000000000000000")
        assert lines[5] == "docker-init"
        assert b"Read-only" in result.stderr


async def test_our_binary_cannot_be_changed_by_the_guest(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    for stream in ("socket", "attach"):
        async with opened(backend, docker_engine, busybox_image, stream=stream) as guest:
            result = await run(
                guest, "chmod 777 /.moorage/agent; echo x > /.moorage/agent; rm /.moorage/agent; ls /.moorage"
            )
            assert result.stdout.startswith(b"agent\n")
            assert result.stderr.count(b"Read-only") == 3


async def test_an_idle_command_of_one_s_own_runs_beside_us(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    async with opened(
        backend,
        docker_engine,
        busybox_image,
        container={"Entrypoint": ["/bin/sh", "-c"]},
        idleCommand=["echo companion > /tmp/here; sleep 1000"],
    ) as guest:
        result = await run(guest, "until [ -s /tmp/here ]; do sleep 0.05; done; cat /tmp/here")
        assert result.stdout == b"companion\n"


async def test_a_shell_of_one_s_own_is_the_shell(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    async with opened(backend, docker_engine, busybox_image, shellCommand=["/bin/echo", "not a shell"]) as guest:
        assert (await run(guest, Program(ProgramKind.SHELL))).stdout == b"not a shell\n"


async def test_files_are_in_place_in_every_mode(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str, containerssh_image: str
) -> None:
    ways: list[tuple[str, dict[str, Any]]] = [
        (busybox_image, {"mode": "session"}),
        (containerssh_image, {"agent": "containerssh"}),
        (busybox_image, {"disableAgent": True, "idleCommand": ["/bin/sleep", "1000"]}),
        (busybox_image, {"disableAgent": True, "mode": "session"}),
    ]
    for image, execution in ways:
        config = engine_config(docker_engine, image, **execution)
        guest = await backend.open(login(config, **{"/deep/er/secret": b"\0\xffcontent"}), lambda line: None)
        try:
            result = await run(guest, "stat -c %a /deep/er/secret; cat /deep/er/secret")
            assert result.stdout == b"600\n\0\xffcontent", execution
        finally:
            await guest.close("over")


# Failures


async def test_an_unknown_program_is_refused_where_it_would_be_the_container(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    async with opened(backend, docker_engine, busybox_image, disableAgent=True, mode="session") as guest:
        with pytest.raises(Refused) as caught:
            await start(guest, "/no/such/program")
        assert "not found" in caught.value.user_text


async def test_a_missing_image_is_told_in_one_line(backend: DockerBackend, docker_engine: RealEngine) -> None:
    config = engine_config(docker_engine, "moorage-test/none:1", imagePullPolicy="Never")
    with pytest.raises(BackendError) as caught:
        await backend.open(login(config), lambda line: None)
    assert caught.value.user_text == "The container image does not exist."
    assert await containers(docker_engine, backend) == []


async def test_a_taken_name_is_told_in_one_line(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    name = f"moorage-conformance-{uuid.uuid4().hex[:8]}"
    async with opened(backend, docker_engine, busybox_image, containername=name) as guest:
        with pytest.raises(BackendError) as caught:
            await backend.open(
                login(engine_config(docker_engine, busybox_image, containername=name)), lambda line: None
            )
        assert "exists already" in caught.value.user_text
        assert (await run(guest, "echo still here")).stdout == b"still here\n"


async def test_where_the_socket_does_not_work_attach_does(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    """As on an engine with another file system: the directory that we name is not there."""
    config = engine_config(docker_engine, busybox_image)
    site = backend._site(config.docker.connection)
    real = site.doors

    class Elsewhere(Doors):
        def open(self, architecture: str) -> Any:
            door = real.open(architecture)
            moved = door._directory.rename(door._directory.with_name("moved"))
            door.injection.mount["Source"]
            site.lost = moved  # type: ignore[attr-defined]
            return door

    site.doors = Elsewhere(real._directory)
    assert site.ways("auto") == ("socket", "attach")
    async with opened(backend, docker_engine, busybox_image) as guest:
        assert (await run(guest, "echo by attach")).stdout == b"by attach\n"
    assert site.ways("auto") == ("attach",)
    assert site.ways("socket") == ("socket",)


async def test_a_volume_that_was_removed_is_filled_again(
    backend: DockerBackend, docker_engine: RealEngine, busybox_image: str
) -> None:
    async with opened(backend, docker_engine, busybox_image, stream="attach"):
        pass
    site = backend._site(engine_config(docker_engine, busybox_image).docker.connection)
    (volume,) = site.volumes._filled.values()
    await site.engine.remove_volume(volume, timeout=DEADLINE)
    async with opened(backend, docker_engine, busybox_image, stream="attach") as guest:
        assert (await run(guest, "echo again")).stdout == b"again\n"


# Nothing is left

GATEWAY = """
    import asyncio, sys
    from pathlib import Path
    from moorage.backend.docker import DockerBackend
    from moorage.config import AppConfig
    from moorage.gateway.model import Address, Attempt, ConnectionId, Login

    async def main():
        config = AppConfig.model_validate_json(sys.argv[2])
        backend = DockerBackend(state_directory=Path(sys.argv[1]), instance=sys.argv[3])
        attempt = Attempt(ConnectionId("ab" * 16), Address("127.0.0.1", 1), "x", "alice")
        print("opening", flush=True)
        guest = await backend.open(Login(attempt, "password", config), lambda line: None)
        print("open", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def killed_gateway(directory: Path, config: AppConfig, instance: str, *, after: float | None = None) -> None:
    """A gateway of its own that is killed once its guest is open, or `after` seconds of opening it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(GATEWAY),
        str(directory),
        config.model_dump_json(by_alias=True, exclude_unset=True),
        instance,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == b"opening\n"
        with contextlib.suppress(TimeoutError):
            said = await asyncio.wait_for(process.stdout.readline(), DEADLINE if after is None else after)
            assert said == b"open\n" or after is not None, said  # what it logs while opening is no matter here
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def until_none(engine: RealEngine, backend: DockerBackend) -> None:
    async with asyncio.timeout(DEADLINE):
        while await containers(engine, backend):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("stream", ["socket", "attach"])
async def test_a_killed_gateway_leaves_no_container(
    docker_engine: RealEngine, busybox_image: str, tmp_path: Path, stream: str
) -> None:
    backend = DockerBackend(state_directory=tmp_path / "other", instance=uuid.uuid4().hex)
    await killed_gateway(tmp_path, engine_config(docker_engine, busybox_image, stream=stream), backend.instance)
    await until_none(docker_engine, backend)


async def test_a_gateway_that_is_killed_while_opening_leaves_nothing_that_runs(
    docker_engine: RealEngine, busybox_image: str, tmp_path: Path
) -> None:
    """What was created and not yet started is reaped by the next run."""
    config = engine_config(docker_engine, busybox_image)
    backend = DockerBackend(state_directory=tmp_path, instance=uuid.uuid4().hex)
    for tenths in range(1, 8):
        await killed_gateway(tmp_path, config, backend.instance, after=tenths / 10)
    async with asyncio.timeout(DEADLINE):
        while any(not line.endswith(" created") for line in await containers(docker_engine, backend)):
            await asyncio.sleep(0.05)
    await backend.prepare(config)
    await until_none(docker_engine, backend)
    await backend.close()


async def test_the_next_run_reaps_what_has_no_agent_to_end_it(
    docker_engine: RealEngine, busybox_image: str, tmp_path: Path
) -> None:
    config = engine_config(docker_engine, busybox_image, disableAgent=True, idleCommand=["/bin/sleep", "100000"])
    instance = uuid.uuid4().hex
    await killed_gateway(tmp_path, config, instance)
    backend = DockerBackend(state_directory=tmp_path, instance=instance)
    assert len(await containers(docker_engine, backend)) == 1
    await backend.prepare(config)
    await until_none(docker_engine, backend)
    await backend.close()


async def test_the_reaper_takes_only_what_nobody_wants(
    docker_engine: RealEngine, busybox_image: str, tmp_path: Path
) -> None:
    engine = Engine(EngineAddress.parse(docker_engine.host))
    owner = Owner(tmp_path)
    ours, other = uuid.uuid4().hex, uuid.uuid4().hex
    site = Site(engine, instance=ours, owner=owner, doors=Doors(owner.directory))
    now = time.time()
    wanted = {
        "launching": Lease(ours, owner.token, now, now + 60),
        "launching-elsewhere": Lease(other, "stranger", now, now + 60),
    }
    leftovers = {
        "of-a-dead-process": Lease(ours, "dead", now, now + 60),
        "never-launched": Lease(other, "stranger", now - 1000, now - 900),
        "never-launched-by-us": Lease(ours, owner.token, now - 1000, now - 900),
    }
    mark = uuid.uuid4().hex[:8]
    try:
        for name, lease in {**wanted, **leftovers}.items():
            body = {"Image": busybox_image, "Labels": {**lease.labels(), "mark": mark}}
            await engine.create(f"moorage-{mark}-{name}", body, timeout=DEADLINE)
        await Reaper(site).look()
        left = await engine.containers([f"mark={mark}"], timeout=DEADLINE)
        assert {item["Names"][0] for item in left} == {f"/moorage-{mark}-{name}" for name in wanted}
    finally:
        for item in await engine.containers([f"mark={mark}"], timeout=DEADLINE):
            await engine.remove(item["Id"], timeout=DEADLINE)
        await engine.close()
        owner.release()


# TLS


@pytest.fixture
async def tls_engine(docker_engine: RealEngine) -> AsyncIterator[tuple[str, trustme.CA, trustme.LeafCert]]:
    """The engine behind a TLS relay that asks for a client certificate and passes half-closes on."""
    from tests.parts.relay import tls_relay

    ca = trustme.CA()
    async with tls_relay(docker_engine.socket, ca) as port:
        yield f"tcp://127.0.0.1:{port}", ca, ca.issue_cert("client@example.test")


async def test_a_remote_engine_over_tls_does_all_of_it(
    backend: DockerBackend,
    docker_engine: RealEngine,
    busybox_image: str,
    tls_engine: tuple[str, trustme.CA, trustme.LeafCert],
) -> None:
    host, ca, client = tls_engine
    data = engine_config(docker_engine, busybox_image).model_dump(by_alias=True, exclude_unset=True)
    data["docker"]["connection"] = {
        "host": host,
        "cacert": ca.cert_pem.bytes().decode(),
        "cert": client.cert_chain_pems[0].bytes().decode(),
        "key": client.private_key_pem.bytes().decode(),
    }
    big = os.urandom(3_000_000)
    for execution in ({}, {"disableAgent": True, "idleCommand": ["/bin/sleep", "1000"]}):
        data["docker"]["execution"] |= execution
        guest = await backend.open(login(AppConfig.model_validate(data)), lambda line: None)
        try:
            result = await run(guest, "wc -c; echo after; exit 3", big)
            assert result.stdout.split() == [b"3000000", b"after"]
            assert result.status.code == 3
            assert (await run(guest, "cat", big)).stdout == big
        finally:
            await guest.close("over")
    assert await containers(docker_engine, backend) == []


async def test_an_engine_with_another_certificate_is_not_trusted(
    backend: DockerBackend, busybox_image: str, tls_engine: tuple[str, trustme.CA, trustme.LeafCert]
) -> None:
    host, _, client = tls_engine
    connection = {
        "host": host,
        "cacert": trustme.CA().cert_pem.bytes().decode(),
        "cert": client.cert_chain_pems[0].bytes().decode(),
        "key": client.private_key_pem.bytes().decode(),
    }
    config = AppConfig.model_validate(
        {"docker": {"connection": connection, "execution": {"container": {"Image": busybox_image}}}}
    )
    with pytest.raises(BackendError) as caught:
        await backend.open(login(config), lambda line: None)
    assert "cannot be reached" in caught.value.user_text
