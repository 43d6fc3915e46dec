"""A child process: its end, its complaint, its descriptors."""

import asyncio
import os

import pytest

from moorage.backend.sandbox.child import Child
from moorage.backend.sandbox.limits import ControlGroup, UserIds, confined


def start(*arguments: str) -> Child:
    with open(os.devnull) as nothing:
        return Child(arguments, stdin=nothing.fileno())


async def test_the_end_is_told_any_number_of_times() -> None:
    child = start("sh", "-c", "exit 3")
    async with asyncio.timeout(5):
        assert await child.wait() == 3
        assert await child.wait() == 3
    assert not child.is_running
    child.kill()
    child.close()
    child.close()


async def test_a_killed_child_ends_by_the_signal() -> None:
    child = start("sleep", "100")
    child.kill()
    async with asyncio.timeout(5):
        assert await child.wait() == -9
    child.close()


async def test_a_complaint_is_kept_and_bounded() -> None:
    child = start("sh", "-c", "echo 'cannot do that' >&2")
    async with asyncio.timeout(5):
        await child.wait()
    assert child.complaint() == "cannot do that"
    child.close()


async def test_a_program_that_does_not_exist_is_an_error_and_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        start("/nonexistent/program")
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_two_guests_share_a_user_id() -> None:
    ids = UserIds()
    taken = {ids.take() for _ in range(1000)}
    assert len(taken) == 1000
    assert min(taken) >= 2_000_000_000
    ids.give_back(min(taken))


def test_without_a_group_or_user_id_a_command_stands_alone() -> None:
    assert confined(["bwrap", "x"], uid=None, group=ControlGroup(())) == ["bwrap", "x"]


def test_privileges_are_dropped_before_the_command_runs() -> None:
    arguments = confined(["bwrap"], uid=2_000_000_001, group=ControlGroup(()))
    assert arguments == [
        "setpriv", "--reuid=2000000001", "--regid=2000000001", "--clear-groups", "--no-new-privs", "--", "bwrap",
    ]  # fmt: skip
