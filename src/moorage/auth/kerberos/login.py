"""Logins by ticket and by a password that a KDC checks."""

from __future__ import annotations

from functools import partial

from moorage.auth.blocking import Blocking
from moorage.auth.kerberos.library import Accepted, Library, NoAnswer, WrongPassword, WrongTicket, prepare
from moorage.auth.kerberos.principals import is_plain, name_of
from moorage.codes import Code
from moorage.config.sections.auth import KerberosConfig
from moorage.errors import AuthError
from moorage.gateway.contract import TicketExchange
from moorage.gateway.model import Attempt, FileValue, Metadata, TextValue, Verdict


class KerberosLogin:
    """A `TicketProvider` and a `PasswordProvider` on one keytab.

    A principal counts in the realms of the configuration only.  Tickets that are handed over, or that a password has
    brought, become a file of the guest.
    """

    def __init__(self, config: KerberosConfig, key: str) -> None:
        """`key` is the section's, for errors.  Raises `ConfigError`."""
        self._config = config
        self._library: Library = prepare(config, key)
        self._worker = Blocking("Kerberos", seconds=config.timeout.total_seconds())
        self._names = {entry.principal: entry.name for entry in config.principals}
        self._realms = frozenset(config.realms or (self._library.default_realm,))

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        """Take tokens until the context stands, and then the client's word for this attempt."""
        library = self._library
        try:
            context = await self._worker.call(library.acceptor)
            while not context.complete:
                token = await exchange.receive()
                answer = await self._worker.call(partial(library.step, context, token))
                if answer:
                    exchange.send(answer)
            data, mic = await exchange.proof()
            accepted = await self._worker.call(lambda: library.finish(context, data, mic))
        except WrongTicket as error:
            return Verdict(False, reason=f"{error} ({Code.KRB_VERIFY_ERROR})")
        except NoAnswer as error:
            raise AuthError(str(error), code=Code.KRB_BACKEND_ERROR) from None
        return self._verdict(attempt, accepted)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        """Ask the KDC of the default realm."""
        if not is_plain(attempt.username) or not password or b"\0" in password:
            return Verdict(False, reason="no principal of the default realm has such a name or password")
        try:
            accepted = await self._worker.call(lambda: self._library.check_password(attempt.username, password))
        except WrongPassword as error:
            return Verdict(False, reason=str(error))
        except NoAnswer as error:
            raise AuthError(str(error), code=Code.KRB_BACKEND_ERROR) from None
        return self._verdict(attempt, accepted)

    async def close(self) -> None:
        """Nothing is shared: calls under way end with the process."""

    def _verdict(self, attempt: Attempt, accepted: Accepted) -> Verdict:
        name = name_of(accepted.principal, realms=self._realms, names=self._names)
        if name is None:
            return Verdict(False, reason=f"the principal {accepted.principal!r} is of no realm that may log in")
        if self._config.enforce_username and name != attempt.username:
            return Verdict(
                False,
                reason=f"{accepted.principal!r} is {name!r}, not {attempt.username!r}"
                f" ({Code.KRB_USERNAME_DOES_NOT_MATCH})",
            )
        return Verdict(True, name, self._attached(accepted))

    def _attached(self, accepted: Accepted) -> Metadata:
        metadata = {"KERBEROS_PRINCIPAL": TextValue(accepted.principal)}
        path = self._config.credential_cache_path
        if not accepted.tickets or not path:
            return Metadata(metadata)
        return Metadata(
            metadata,
            {"KRB5CCNAME": TextValue(f"FILE:{path}")},
            {path: FileValue(accepted.tickets, sensitive=True)},
        )
