"""Keyboard-interactive for clients that offer nothing else: the password, asked as a question."""

from __future__ import annotations

from typing import Final

from moorage.auth.contract import PasswordProvider
from moorage.gateway.contract import Ask
from moorage.gateway.model import Attempt, Prompt, Round, Verdict

_PASSWORD: Final = Round(prompts=(Prompt("Password: "),))


class PasswordQuestion:
    """Asks for the password and has another provider check it; implements `KeyboardInteractiveProvider`."""

    def __init__(self, provider: PasswordProvider) -> None:
        """`provider` is somebody else's to close."""
        self._provider = provider

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        (password,) = await ask(_PASSWORD)
        return await self._provider.password(attempt, password.encode())

    async def close(self) -> None:
        pass
