"""Passwords and questions of the machine's own PAM modules."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence

from moorage.auth.blocking import Blocking
from moorage.auth.pam import library
from moorage.codes import Code
from moorage.config.sections.directories import PAMConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.contract import Ask
from moorage.gateway.model import Attempt, Prompt, Round, Verdict


class PAM:
    """Asks libpam, in threads; implements `PasswordProvider` and `KeyboardInteractiveProvider`.

    With a password the first hidden question is answered and no other: modules that ask more are for
    keyboard-interactive.  No session is opened, for a guest is not a session of this machine.
    """

    def __init__(self, config: PAMConfig) -> None:
        """Raises `ConfigError` where there is no libpam."""
        self._config = config
        self._blocking = Blocking(f"PAM service {config.service}", seconds=config.timeout.total_seconds())
        try:
            library.load()
        except OSError as error:
            raise ConfigError(
                f"auth.pam: this machine has no libpam ({error}); install Linux-PAM",
                code=Code.AUTH_CONFIG_ERROR,
            ) from error

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        text = password.decode("utf-8", "surrogateescape")
        left = [text]

        def answer(shown: library.Shown) -> Sequence[str] | None:
            if any(echo for _, echo in shown.prompts) or len(shown.prompts) > len(left):
                return None
            return [left.pop() for _ in shown.prompts]

        return await self._decided(attempt, answer)

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        loop = asyncio.get_running_loop()
        under_way: set[concurrent.futures.Future[Sequence[str]]] = set()

        def answer(shown: library.Shown) -> Sequence[str] | None:
            prompts = tuple(Prompt(text, echo) for text, echo in shown.prompts)
            asked = asyncio.run_coroutine_threadsafe(_asked(ask, Round("", "\n".join(shown.texts), prompts)), loop)
            under_way.add(asked)
            try:
                return asked.result()
            finally:
                under_way.discard(asked)

        try:
            return await self._decided(attempt, answer)
        finally:
            for asked in tuple(under_way):
                asked.cancel()

    async def close(self) -> None:
        pass

    async def _decided(self, attempt: Attempt, answer: library.Answer) -> Verdict:
        if "\0" in attempt.username:
            return Verdict(False, reason="the user name holds a NUL")
        try:
            result = await self._blocking.call(
                lambda: library.authenticate(
                    self._config.service,
                    attempt.username,
                    answer,
                    remote_host=attempt.remote_address.host,
                    directory=self._config.directory,
                )
            )
        except ValueError as error:
            raise AuthError(f"PAM: {error}") from None
        if result.success:
            return Verdict(True, result.user)
        if result.is_refusal:
            return Verdict(False, reason=f"PAM: {result.text}")
        raise AuthError(f"PAM service {self._config.service}: {result.text} ({result.code})")


async def _asked(ask: Ask, shown: Round) -> Sequence[str]:
    return await ask(shown)
