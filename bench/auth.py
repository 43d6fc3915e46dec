"""What authentication costs: a webhook beside a user of the file, and the event loop under a queue of hashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.processes import memory_kib

from bench.report import Report, Sample
from moorage import log
from moorage.auth.chain import AuthChain
from moorage.auth.hashes import hash_password
from moorage.auth.users import UsersAuthenticator
from moorage.config import load_text
from moorage.gateway.model import Address, Attempt, ConnectionId
from moorage.net.http import Endpoint, WebClient

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
_PASSWORD = "a password"
MIA = Attempt(ConnectionId("0" * 32), Address("127.0.0.1", 1), "SSH-2.0-Bench", "mia")


def measure_webhook(report: Report, directory: Path, *, rounds: int) -> None:
    """A key by the users file, by a webhook, and the bare round trip to the same service, in turn."""
    log.configure(level="warning", format="text", destination=log.Destination(stream=sys.stderr))
    directory.mkdir(parents=True, exist_ok=True)
    users = directory / "users"
    users.write_text(f"users: {{mia: {{keys: ['{_KEY}']}}}}")
    users.chmod(0o600)
    service = subprocess.Popen(
        [sys.executable, "-m", "bench.auth"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    try:
        assert service.stdout is not None
        url = service.stdout.readline().decode().strip()
        local, hook, bare = asyncio.run(_keys(users, url, rounds))
    finally:
        service.terminate()
        service.wait()
        assert service.stdout is not None
        service.stdout.close()
    report.times("a key of the users file, ms (median / p95)", {"sandbox": local})
    report.times("a key by webhook on the loopback, ms", {"sandbox": hook})
    report.times("the bare round trip to that service, ms", {"sandbox": bare})
    added = (hook.median - bare.median - local.median) * 1e3
    report.at_most("webhook over the users file, less one round trip, ms", added, 2)


async def _keys(users: Path, url: str, rounds: int) -> tuple[Sample, Sample, Sample]:
    local = AuthChain(load_text(f"auth: {{users: {{file: {users}}}}}", "c.yaml").config)
    block = f"{{method: webhook, webhook: {{url: '{url}', timeout: 30s}}}}"
    hook = AuthChain(load_text(f"auth: {{publicKey: {block}}}", "c.yaml").config)
    client = WebClient(Endpoint(url=url))

    async def bare() -> None:
        await client.post(b'{"username":"mia","publicKey":"x"}', path="/pubkey")

    async def timed(work: Callable[[], Awaitable[object]]) -> float:
        begun = time.perf_counter()
        await work()
        return time.perf_counter() - begun

    works: list[Callable[[], Awaitable[object]]] = [
        lambda: local.public_key(MIA, _KEY),
        lambda: hook.public_key(MIA, _KEY),
        bare,
    ]
    taken: list[list[float]] = [[], [], []]
    for turn in range(rounds + 20):
        for index, work in enumerate(works):
            seconds = await timed(work)
            if turn >= 20:  # the first ones connect and import
                taken[index].append(seconds)
    await asyncio.gather(local.close(), hook.close(), client.close())
    return Sample(taken[0]), Sample(taken[1]), Sample(taken[2])


def measure_hashes(report: Report, directory: Path, *, seconds: int, a_second: int = 200) -> None:
    """How late the event loop is while more passwords come in than the machine can hash, and what memory does."""
    directory.mkdir(parents=True, exist_ok=True)
    users = directory / "hashed"
    users.write_text(f"users: {{mia: {{password: '{hash_password(_PASSWORD.encode()).text}'}}}}")
    users.chmod(0o600)
    idle, lags, done, grown = asyncio.run(_flood(users, seconds, a_second))
    report.figure("passwords checked a second (argon2id, 64 MiB)", {"sandbox": f"{done / seconds:.0f}"})
    report.times("event loop's lag, idle, ms (median / p95)", {"sandbox": idle})
    report.times(f"event loop's lag with {a_second} more passwords each second, ms", {"sandbox": lags})
    report.figure("memory that the queue and the hashes take, MB", {"sandbox": f"{grown / 1024:.0f}"})
    ordered = sorted(lags.values)
    report.at_most("event loop's lag under hashing, p99, ms", ordered[int(0.99 * (len(ordered) - 1))] * 1e3, 50)


async def _flood(users: Path, seconds: int, a_second: int) -> tuple[Sample, Sample, int, int]:
    authenticator = UsersAuthenticator(users)
    assert (await authenticator.password(MIA, _PASSWORD.encode())).success
    idle = Sample(await _lags(2))
    before, done = memory_kib(os.getpid()), 0

    async def attempt() -> None:
        nonlocal done
        await authenticator.password(MIA, b"wrong")
        done += 1

    waiting: set[asyncio.Task[None]] = set()
    most = before
    watching = asyncio.create_task(_lags(seconds))
    begun = time.perf_counter()
    while (past := time.perf_counter() - begun) < seconds:
        for _ in range(max(0, int(past * a_second) - done - len(waiting))):
            task = asyncio.create_task(attempt())
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        most = max(most, memory_kib(os.getpid()))
        await asyncio.sleep(0.02)
    lags = Sample(await watching)
    finished = done
    for task in waiting:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*waiting, return_exceptions=True)
    await authenticator.close()
    return idle, lags, finished, most - before


async def _lags(seconds: float) -> list[float]:
    """By how much a pause of 5 ms is late, again and again."""
    late, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        await asyncio.sleep(0.005)
        late.append(time.perf_counter() - begun - 0.005)
    return late


def _serve() -> None:
    from aiohttp import web

    from moorage.webhook import Hooks, PublicKeyRequest
    from moorage.webhook.aiohttp import application

    class Everybody(Hooks):
        async def public_key(self, request: PublicKeyRequest) -> bool:
            return bool(request.public_key)

    async def run() -> None:
        runner = web.AppRunner(application(Everybody()), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    _serve()
