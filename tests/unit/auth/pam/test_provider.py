"""Logins by a real libpam, with service files and modules of these tests' own."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.parts import need

from moorage.auth.pam import library
from moorage.auth.pam.provider import PAM
from moorage.config.disk import Disk
from moorage.config.sections.directories import PAMConfig
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId, Round

PASSWORD = "hunter2 ü"

CHECK = """\
#!/bin/sh
IFS= read -r given || true
[ "$PAM_USER" = mia ] && [ "$PAM_RHOST" = 192.0.2.7 ] && [ "$PAM_TTY" = ssh ] && [ "$given" = "{password}" ]
"""


@pytest.fixture(scope="module")
def libpam() -> None:
    try:
        library.load()
        assert hasattr(ctypes.CDLL("libpam.so.0"), "pam_start_confdir")
    except (OSError, AssertionError):
        need.missing("Linux-PAM 1.4 (package libpam0g)")


@pytest.fixture
def services(tmp_path: Path, libpam: None) -> Path:
    """A directory of services: `moorage` knows mia, the others do what their names say."""
    check = tmp_path / "check"
    check.write_text(CHECK.format(password=PASSWORD))
    check.chmod(0o755)
    directory = tmp_path / "pam.d"
    directory.mkdir()
    ask = f"auth [success=1 default=ignore] pam_exec.so quiet expose_authtok {check}\n"
    ask += "auth requisite pam_deny.so\nauth required pam_permit.so\n"
    files = {
        "moorage": ask + "account required pam_permit.so\n",
        "told": "auth optional pam_echo.so Welcome from %H, %u\n" + ask + "account required pam_permit.so\n",
        "expired": ask + "account required pam_deny.so\n",
        "everybody": "auth required pam_permit.so\naccount required pam_permit.so\n",
        "nobody": "auth required pam_deny.so\naccount required pam_permit.so\n",
        "broken": "auth required pam_no_such_module.so\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def pam(services: Path, service: str = "moorage", timeout: str = "30s") -> PAM:
    return PAM(PAMConfig.model_validate({"service": service, "directory": str(services), "timeout": timeout}))


def attempt(name: str = "mia") -> Attempt:
    return Attempt(ConnectionId("0" * 32), Address("192.0.2.7", 1), "SSH-2.0-x", name)


async def test_modules_decide_about_a_password_and_are_told_who_asks(services: Path) -> None:
    provider = pam(services)
    verdict = await provider.password(attempt(), PASSWORD.encode())
    assert (verdict.success, verdict.authenticated_username) == (True, "mia")
    for name, password in (("mia", "wrong"), ("mia", ""), ("pat", PASSWORD), ("mia", PASSWORD + "x")):
        refused = await provider.password(attempt(name), password.encode())
        assert (refused.success, refused.reason.startswith("PAM: ")) == (False, True)


async def test_an_account_that_is_not_valid_is_refused(services: Path) -> None:
    assert not (await pam(services, "expired").password(attempt(), PASSWORD.encode())).success


@pytest.mark.parametrize("name", ["mia\0root", "\0"])
async def test_a_name_that_c_would_cut_is_refused_before_any_module_sees_it(services: Path, name: str) -> None:
    assert not (await pam(services, "everybody").password(attempt(name), b"x")).success


@pytest.mark.parametrize("password", [PASSWORD.encode() + b"\0", b"x" * 512])
async def test_a_password_that_c_would_cut_is_refused(services: Path, password: bytes) -> None:
    assert not (await pam(services).password(attempt(), password)).success


async def test_questions_reach_the_user_with_what_the_modules_tell_him(services: Path) -> None:
    seen: list[Round] = []

    async def ask(shown: Round) -> Sequence[str]:
        seen.append(shown)
        return [PASSWORD] * len(shown.prompts)

    verdict = await pam(services, "told").keyboard_interactive(attempt(), ask)
    assert verdict.success
    assert seen[0].instruction.startswith("Welcome from 192.0.2.7, mia")
    assert [prompt.echo for shown in seen for prompt in shown.prompts] == [False]


async def test_answers_that_never_come_end_with_the_conversation(services: Path) -> None:
    asked = asyncio.Event()

    async def ask(_: Round) -> Sequence[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    task = asyncio.create_task(pam(services).keyboard_interactive(attempt(), ask))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_time_runs_out_for_a_user_who_does_not_answer(services: Path) -> None:
    async def ask(_: Round) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(AuthError, match="no answer"):
        await pam(services, timeout="1s").keyboard_interactive(attempt(), ask)


async def test_a_machine_that_cannot_tell_lets_nobody_in(services: Path) -> None:
    outcomes = []
    for service in ("broken", "missing-service", "nobody"):
        try:
            outcomes.append((await pam(services, service).password(attempt(), PASSWORD.encode())).success)
        except AuthError:
            outcomes.append(False)
    assert outcomes == [False] * 3


async def test_many_at_once_get_their_own_answers(services: Path) -> None:
    provider = pam(services)
    passwords = [PASSWORD if n % 2 else "wrong" for n in range(20)]
    verdicts = await asyncio.gather(*(provider.password(attempt(), text.encode()) for text in passwords))
    assert [verdict.success for verdict in verdicts] == [bool(n % 2) for n in range(20)]


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"service": ""}, "service"), ({"service": "../passwd"}, "service"), ({"directory": "/no/such"}, "directory")],
)
def test_a_service_that_cannot_be_meant_is_named(settings: dict[str, str], key: str) -> None:
    assert [finding.path for finding in PAMConfig.model_validate(settings).problems(Disk())] == [(key,)]
