"""One hook: calls that are repeated while that can help, within one budget of time.

Transport errors and the statuses 5xx and 429 are worth another call; any other answer that
cannot be used will not get better, and fails at once.  The pauses start small and
double up to ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import structlog

from moorage.auth.contract import HookKind, HookObserver, Unobserved
from moorage.auth.wire import WrongAnswer
from moorage.codes import Code
from moorage.errors import AuthError
from moorage.gateway.model import Attempt
from moorage.net.http import Answer, CallError, NotJson, WebClient, parse_json
from moorage.webhook.signature import HEADER, sign

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0

_T = TypeVar("_T")
_USER_TEXT: Final = "The login service could not be reached."


def pauses() -> Iterator[float]:
    """Seconds to wait before each further call, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


class Hook:
    """Asks one service at one path until it answers or the budget is spent.

    Any number of calls may be under way; a cancelled one stops at once, also while it pauses.
    """

    def __init__(
        self,
        client: WebClient,
        kind: HookKind,
        *,
        path: str,
        budget: timedelta,
        secret: bytes = b"",
        observer: HookObserver | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """With a `secret` every call is signed, see `moorage.webhook.signature`."""
        self._secret = secret
        self._client = client
        self._kind = kind
        self._path = path
        self._budget = budget.total_seconds()
        self._observer: HookObserver = observer or Unobserved()
        self._sleep = sleep
        is_config = kind is HookKind.CONFIG
        self._error_code = Code.CONFIG_BACKEND_ERROR if is_config else Code.AUTH_BACKEND_ERROR
        self._status_code = Code.CONFIG_INVALID_STATUS_CODE if is_config else Code.AUTH_INVALID_STATUS

    async def ask(
        self, attempt: Attempt, body: bytes, read: Callable[[object], _T], *, confidential: bool
    ) -> tuple[_T, bool]:
        """What `read` makes of the answer to `body`, and whether it took more than one call.

        `read` raises `WrongAnswer` for an answer that cannot be used.  Takes at most the budget: a call
        that runs when it ends is cut.  Raises `AuthError`, whose cause is the last `CallError` with its
        code; nothing of the body or of the answer stands in either.
        """
        with structlog.contextvars.bound_contextvars(connectionId=attempt.connection_id):
            return await self._ask(attempt, body, read, confidential)

    async def _ask(
        self, attempt: Attempt, body: bytes, read: Callable[[object], _T], confidential: bool
    ) -> tuple[_T, bool]:
        log = structlog.get_logger().bind(username=attempt.username, url=self._client.url, authtype=self._kind.value)
        log.debug("asking the service", code=Code.CONFIG_REQUEST if self._kind is HookKind.CONFIG else Code.AUTH)
        failure = self._failure(f"no answer from {self._client.url}", Code.HTTP_CLIENT_CONNECTION_FAILED)
        is_retry = is_calling = False
        try:
            async with asyncio.timeout(self._budget):
                for pause in pauses():
                    self._observer.requested(self._kind, retry=is_retry)
                    is_calling = True
                    try:
                        return await self._call(body, read, confidential), is_retry
                    except CallError as error:
                        failure, is_calling = error, False
                        self._failed(failure, is_retry, log)
                        if failure.is_permanent:
                            break
                    await self._sleep(pause)
                    is_retry = True
        except TimeoutError:
            if is_calling:
                self._failed(failure, is_retry, log)
            failure = self._failure(f"{failure}; gave up after {self._budget:g} s", failure.code)
        self._observer.failed(self._kind, retry=is_retry, reason=failure.code.value, final=True)
        raise AuthError(f"{failure} ({failure.code})", user_text=_USER_TEXT, code=self._error_code) from failure

    async def _call(self, body: bytes, read: Callable[[object], _T], confidential: bool) -> _T:
        started, is_answered = monotonic(), False
        try:
            headers = {}
            if self._secret:
                # The service looks at the last part of the URL's path, wherever that comes from.
                name = urlsplit(self._client.url).path.rpartition("/")[2] if not self._path else self._path[1:]
                headers[HEADER] = sign(self._secret, name, body)
            answer = await self._client.post(body, path=self._path, confidential=confidential, headers=headers)
            is_answered = True
        finally:
            self._observer.took(self._kind, seconds=monotonic() - started, is_answered=is_answered)
        return self._read(answer, read)

    def _read(self, answer: Answer, read: Callable[[object], _T]) -> _T:
        if answer.status != 200:
            # Retrying is for what may pass by itself: a broken or busy server.
            raise CallError(
                f"{self._client.url} answers with status {answer.status}",
                self._status_code,
                is_permanent=answer.status < 500 and answer.status != 429,
            )
        try:
            return read(parse_json(answer.body))
        except (NotJson, WrongAnswer) as error:
            raise CallError(
                f"the answer of {self._client.url} cannot be used: {error}",
                Code.HTTP_CLIENT_DECODE_FAILED,
                is_permanent=True,
            ) from None

    def _failed(self, failure: CallError, is_retry: bool, log: Any) -> None:
        self._observer.failed(self._kind, retry=is_retry, reason=failure.code.value, final=False)
        log.debug(str(failure), code=self._error_code, reason=failure.code.value)

    @staticmethod
    def _failure(text: str, code: Code) -> CallError:
        return CallError(text, code, is_permanent=True)
