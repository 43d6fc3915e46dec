"""Programs through a real OpenSSH client."""

from __future__ import annotations

from tests.unit.ssh.conftest import Served


async def test_exec_delivers_output_and_exit_status(served: Served) -> None:
    result = await served.ssh("localhost", "echo hello")
    assert (result.code, result.out, result.err) == (0, b"hello\n", b"")


async def test_exit_status_reaches_the_client(served: Served) -> None:
    assert (await served.ssh("localhost", "exit 42")).code == 42


async def test_input_ends_where_the_client_ends_it(served: Served) -> None:
    result = await served.ssh("localhost", "cat", input=b"x" * 100_000)
    assert result.out == b"x" * 100_000
