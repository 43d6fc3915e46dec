"""What an idle session costs in memory: in the gateway, in the guest, and in sshd's processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncssh
from tests.e2e.processes import memory_kib, program, tree

from bench.command import connect
from bench.report import Report, Sample
from bench.targets import Target


def measure(report: Report, targets: Sequence[Target], *, sessions: int) -> None:
    """`sessions` logins with an idle program each, on the sandbox; a tenth of them on sshd and docker."""
    gateway: dict[str, str] = {}
    guest: dict[str, str] = {}
    for target in targets:
        count = sessions if target.name == "sandbox" else max(sessions // 10, 5)
        per_session, agents = asyncio.run(_idle(target, count))
        gateway[target.name] = f"{per_session:.0f}"
        if agents:
            guest[target.name] = f"{Sample(agents).median:.0f}"
        if target.name == "sandbox":
            report.at_most(f"gateway, KB per idle session ({count}) : 150 KB", per_session / 150, 1)
    report.figure("server memory per idle session, KB", gateway)
    report.figure("agent in the guest, KB (shared pages in part)", guest)


async def _idle(target: Target, count: int) -> tuple[float, list[float]]:
    """KB per session on the server's side (all of sshd's processes; the gateway alone), and of each agent."""

    def server_side() -> int:
        if target.name == "sshd":
            return sum(memory_kib(pid, "Pss") for pid in tree([target.pid]) if program(pid).startswith("sshd"))
        return memory_kib(target.pid)

    limit = asyncio.Semaphore(8)

    async def login() -> asyncssh.SSHClientConnection:
        async with limit:
            connection = await connect(target)
            process = await connection.create_process("echo ready; cat", encoding=None)
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"{target.name}: an idle session did not start")
            return connection

    warm = [await login() for _ in range(5)]
    before = server_side()
    kept = await asyncio.gather(*(login() for _ in range(count)))
    after = server_side()
    agents = [float(memory_kib(pid, "Pss")) for pid in tree([target.pid, *target.guests()]) if program(pid) == "agent"]
    for connection in [*warm, *kept]:
        connection.close()
    await asyncio.gather(*(connection.wait_closed() for connection in [*warm, *kept]))
    return (after - before) / count, agents
