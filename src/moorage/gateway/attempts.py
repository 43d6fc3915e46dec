"""The attempts of one connection to authenticate: who is asked, what counts, and when it is enough."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import GENERIC_TEXT, AuthError
from moorage.gateway import events
from moorage.gateway.admission import Ticket
from moorage.gateway.contract import Ask, Authenticator, TicketExchange
from moorage.gateway.factors import Factors
from moorage.gateway.model import Attempt, Metadata, Round, Verdict

_UNCHECKED = "The login could not be checked."
_KEYS_REMEMBERED = 64
"""Answers about public keys kept per connection; the oldest goes first."""


class Outcome(enum.Enum):
    """What an attempt has led to."""

    REFUSED = "refused"
    PARTIAL = "partial"
    """It has succeeded, and another method has to succeed as well (RFC 4252 §5.1)."""
    ACCEPTED = "accepted"
    """Authentication is complete."""


class Attempts:
    """All attempts of one connection, one after the other.

    What one attempt has proved counts for its user name only: with another name everything begins anew.
    """

    def __init__(
        self,
        first: Attempt,
        authenticator: Authenticator,
        ticket: Ticket,
        *,
        config: Callable[[], AppConfig],
        emit: Callable[[events.Event], None],
        log: Any,
        tells_secrets: bool = False,
    ) -> None:
        """`first` is an attempt without a user name; `tells_secrets` puts passwords and answers into the events."""
        self._first = first
        self._authenticator = authenticator
        self._ticket = ticket
        self._config = config
        self._emit = emit
        self._log = log
        self._tells_secrets = tells_secrets
        self._offered: dict[str, Any] = {}
        self._failures = 0
        self._refused_keys = 0
        self._unheard = 0
        self._notice = ""
        self._keys: dict[tuple[str, str], tuple[Attempt, Verdict]] = {}
        self._proved = first
        self._used_keys: set[str] = set()
        self._factors: Factors | None = None
        self._accepted: tuple[str, Attempt] | None = None
        self._granted: list[Metadata] = []

    # -- where it stands ----------------------------------------------------------------------

    @property
    def methods(self) -> Sequence[str]:
        """The methods that may be tried now, in order."""
        offered = self._authenticator.methods
        return offered if self._factors is None else self._factors.offered(offered)

    @property
    def accepted(self) -> tuple[str, Attempt] | None:
        """The last method and all that is known of the user, once authentication is complete."""
        return self._accepted

    @property
    def tries(self) -> int:
        """How many attempts were refused."""
        return self._failures + self._refused_keys

    @property
    def is_our_doing(self) -> bool:
        """True if there were refusals, and none of them but for services that gave no answer."""
        return self.tries == self._unheard > 0

    @property
    def client_version(self) -> str:
        """The client's identification line, once it has come."""
        return self._first.client_version

    async def ended(self) -> None:
        """The connection is gone: what methods have attached to its attempts is needed no more.  Never raises."""
        granted, self._granted = self._granted, []
        for metadata in granted:
            try:
                await self._authenticator.ended(metadata)
            except Exception:  # noqa: BLE001 - one that is not taken back must not keep the others
                self._log.exception("What a login was given was not taken back", code=Code.SSH_INTERNAL_ERROR)

    def tries_left(self) -> int:
        """How many more refusals this connection may have; at 0 it is to be disconnected."""
        limits = self._config().ssh
        return max(0, min(limits.max_auth_tries - self._failures, limits.max_key_queries - self._refused_keys))

    def take_notice(self) -> str:
        """A line for a user whom no service could judge, with the reference to the log; each is handed out once."""
        notice, self._notice = self._notice, ""
        return notice

    def identified(self, client_version: str) -> None:
        """The client has sent its identification line (RFC 4253 §4.2)."""
        self._first = self._proved = replace(self._first, client_version=client_version)

    # -- the attempts -------------------------------------------------------------------------

    async def begin(self, username: str) -> None:
        """An attempt of `username` comes: from now on `methods` are those that this user may try."""
        if self._factors is not None and username == self._proved.username:
            return
        self._proved = replace(self._first, username=username)
        self._used_keys.clear()
        self._factors = None
        try:
            self._factors = Factors(await self._authenticator.required(self._proved))
        except AuthError as failure:
            self._log.error(str(failure), code=failure.code)

    async def password(self, username: str, password: bytes) -> Outcome:
        """Does this password let `username` in?"""
        self._offered = {"password": password} if self._tells_secrets else {}
        attempt = await self._allowed("password", username)
        if attempt is None:
            return Outcome.REFUSED
        verdict, reason = await self._ask(self._authenticator.password(attempt, password))
        return await self._decide("password", attempt, verdict, reason)

    async def keyboard_interactive(self, username: str, ask: Ask) -> Outcome:
        """Do the answers to what `ask` shows let `username` in?  (RFC 4256)"""
        self._offered = {}
        attempt = await self._allowed("keyboard-interactive", username)
        if attempt is None:
            return Outcome.REFUSED
        verdict, reason = await self._ask(self._authenticator.keyboard_interactive(attempt, self._told(username, ask)))
        return await self._decide("keyboard-interactive", attempt, verdict, reason)

    def _told(self, username: str, ask: Ask) -> Ask:
        """`ask`, with an event before and after it."""

        async def told(shown: Round) -> Sequence[str]:
            self._emit(events.QuestionsAsked(username=username, round=shown))
            answers = await ask(shown)
            kept = tuple(answers) if self._tells_secrets else ("",) * len(shown.prompts)
            self._emit(events.QuestionsAnswered(username=username, round=shown, answers=kept))
            return answers

        return told

    async def ticket(self, username: str, exchange: TicketExchange) -> Outcome:
        """Does a Kerberos ticket let `username` in?  (RFC 4462)"""
        self._offered = {}
        attempt = await self._allowed("gssapi-with-mic", username)
        if attempt is None:
            return Outcome.REFUSED
        verdict, reason = await self._ask(self._authenticator.ticket(attempt, exchange))
        return await self._decide("gssapi-with-mic", attempt, verdict, reason)

    async def public_key(self, username: str, key: str) -> bool:
        """Would this key be accepted, if possession of it were proved?  Asked once per name and key."""
        self._offered = {"key": key}
        attempt = await self._allowed("publickey", username)
        if attempt is None:
            return False
        if key in self._used_keys:
            self._refused("publickey", attempt, "the key has been used already", is_key=True)
            return False
        known = self._keys.get((username, key))
        if known is None:
            verdict, reason = await self._ask(self._authenticator.public_key(attempt, key))
            if verdict is None:  # an unreachable service may be back for the next try
                self._refused("publickey", attempt, reason, available=False, is_key=True)
                return False
            while len(self._keys) >= _KEYS_REMEMBERED:
                self._keys.pop(next(iter(self._keys)))
            self._keys[username, key] = known = (attempt, verdict)
        _, verdict = known
        if not verdict.success:
            self._refused("publickey", attempt, verdict.reason or "the key is not accepted", is_key=True)
        return verdict.success

    async def key_verified(self, username: str, key: str, *, touched: bool = True, verified: bool = True) -> Outcome:
        """Possession of the very key is proved: what it is worth.

        `touched` and `verified` say what a security key has seen of its user.
        """
        if not await self.public_key(username, key):
            return Outcome.REFUSED
        _, verdict = self._keys[username, key]
        fido = self._config().auth.public_key.fido
        if not touched and (fido.touch_required or verdict.restrictions.touch_required):
            return self._refused("publickey", self._proved, "the security key was not touched")
        if not verified and (fido.verify_required or verdict.restrictions.verify_required):
            return self._refused("publickey", self._proved, "the security key has not verified its user")
        outcome = await self._decide("publickey", self._proved, verdict, "")
        if outcome is not Outcome.REFUSED:
            self._used_keys.add(key)
        return outcome

    async def _allowed(self, method: str, username: str) -> Attempt | None:
        """The attempt, with all that was proved before; None if this method may not be tried now."""
        await self.begin(username)
        if self._factors is not None and self._factors.allows(method):
            return self._proved
        reason, is_known = "the method is not the one that is due", self._factors is not None
        self._refused(method, self._proved, reason, available=is_known, is_key=method == "publickey")
        return None

    async def _ask(self, answer: Awaitable[Verdict]) -> tuple[Verdict | None, str]:
        try:
            return await answer, ""
        except AuthError as failure:
            self._log.error(str(failure), code=failure.code)
            text = _UNCHECKED if failure.user_text == GENERIC_TEXT else failure.user_text
            self._notice = f"{text} (reference {self._first.connection_id[:12]})"
            return None, str(failure)

    async def _decide(self, method: str, attempt: Attempt, verdict: Verdict | None, reason: str) -> Outcome:
        """What `verdict` means.  Nothing is awaited once it is decided: a cancelled attempt proves nothing."""
        if verdict is None or not verdict.success:
            return self._refused(
                method, attempt, reason or (verdict.reason if verdict else ""), available=verdict is not None
            )
        factors = self._factors
        assert factors is not None
        attempt = verdict.applied(attempt)
        if verdict.metadata != Metadata():
            self._granted.append(verdict.metadata)
        after = factors.after(method, verdict.further)
        if not after.is_complete:
            self._factors, self._proved = after, attempt
            self._emit(
                events.AuthAttempted(
                    attempt=attempt,
                    method=method,
                    success=True,
                    further=after.offered(self._authenticator.methods),
                    **self._offered,
                )
            )
            return Outcome.PARTIAL
        verdict, reason = await self._ask(self._authenticator.authorize(attempt))
        if verdict is None or not verdict.success:
            return self._refused(
                method, attempt, reason or (verdict.reason if verdict else ""), available=verdict is not None
            )
        if not self._ticket.take_user(attempt.username):
            return self._refused(method, attempt, "ssh.maxConnectionsPerUser is reached", available=False)
        self._factors = after
        self._proved = attempt = verdict.applied(attempt)
        self._accepted = (method, attempt)
        self._emit(events.AuthAttempted(attempt=attempt, method=method, success=True, **self._offered))
        return Outcome.ACCEPTED

    def _refused(
        self, method: str, attempt: Attempt, reason: str, *, available: bool = True, is_key: bool = False
    ) -> Outcome:
        if is_key:
            self._refused_keys += 1
        else:
            self._failures += 1
        self._unheard += not available
        self._emit(
            events.AuthAttempted(
                attempt=attempt, method=method, success=False, available=available, reason=reason, **self._offered
            )
        )
        return Outcome.REFUSED
