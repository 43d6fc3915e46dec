"""Who may connect: limits and penalties, asked before a connection costs anything."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from moorage.codes import Code
from moorage.config.sections.ssh import SSHConfig
from moorage.errors import Refused
from moorage.net.limits import EarlyDrop, Tally, source_of
from moorage.net.penalties import Cause, Penalties, Penalty

REMEMBERED = 65536
"""Sources whose penalties are remembered."""


class Admission:
    """The counts of all open connections, and the penalties of those who misbehaved.

    `chance` gives numbers from 0 to below 1.
    """

    def __init__(
        self,
        config: SSHConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        remembered: int = REMEMBERED,
    ) -> None:
        self.config = config
        self.clock = clock
        self.penalties = Penalties(clock=clock, size=remembered)
        self.starting = Tally()
        self.open = Tally()
        self.users = Tally()
        self._chance = chance

    def admit(self, host: str) -> Ticket:
        """Count a connection from `host` in, until the ticket is returned.  Raises `Refused`, which counts nothing."""
        config = self.config
        source = source_of(host, config.source_mask.ipv4, config.source_mask.ipv6)
        if penalty := self.penalty(host, source):
            raise _refused(
                f"penalised for {penalty.cause}",
                f"Not allowed at this time: {penalty.cause}. Try again in {math.ceil(penalty.seconds)} seconds.",
            )
        if 0 < config.max_connections <= self.open.total:
            raise _refused("ssh.maxConnections is reached", "Too many connections. Try again later.")
        if 0 < config.max_connections_per_source <= self.open[source]:
            raise _refused("ssh.maxConnectionsPerSource is reached", "Too many connections from your network.")
        if 0 < config.max_startups_per_source <= self.starting[source]:
            raise _refused("ssh.maxStartupsPerSource is reached", "Too many logins are under way from your network.")
        starts = config.max_startups
        if self._chance() < EarlyDrop(starts.begin, starts.rate, starts.full).share(self.starting.total):
            raise _refused("ssh.maxStartups is reached", "Too many logins are under way. Try again later.")
        return Ticket(self, host, source)

    def penalty(self, host: str, source: str) -> Penalty | None:
        """What is enforced against `host`."""
        return None if self._is_exempt(host) else self.penalties.of(source)

    def penalise(self, host: str, source: str, cause: Cause) -> Penalty | None:
        """Add what `cause` costs; what is enforced from now on."""
        rules = self.config.penalties
        costs = {
            Cause.AUTH_FAILED: rules.auth_failed,
            Cause.NO_AUTH: rules.no_auth,
            Cause.GRACE_EXCEEDED: rules.grace_exceeded,
            Cause.PROTOCOL_ERROR: rules.protocol_error,
            Cause.INTERNAL_ERROR: rules.internal_error,
        }
        if self._is_exempt(host):
            return None
        least, most = rules.min.total_seconds(), rules.max.total_seconds()
        return self.penalties.add(source, cause, costs[cause].total_seconds(), least=least, most=most)

    def _is_exempt(self, host: str) -> bool:
        if not self.config.penalties.enable:
            return True
        address = ip_address(host)
        return any(address in ip_network(network) for network in self.config.penalties.exempt)


class Ticket:
    """One connection's place in the counts."""

    def __init__(self, admission: Admission, host: str, source: str) -> None:
        self._admission = admission
        self._host = host
        self._source = source
        self._since = admission.clock()
        self._user: str | None = None
        self._is_starting = True
        self._is_open = True
        admission.open.add(source)
        admission.starting.add(source)

    def take_user(self, name: str) -> bool:
        """Count this connection as one of `name`'s; False if there are as many as there may be."""
        users, most = self._admission.users, self._admission.config.max_connections_per_user
        if name == self._user:
            return True
        if not self._is_open or 0 < most <= users[name]:
            return False
        if self._user is not None:
            users.remove(self._user)
        self._user = name
        users.add(name)
        return True

    def authenticated(self) -> None:
        """The connection is no longer starting.  Idempotent."""
        if self._is_starting:
            self._is_starting = False
            self._admission.starting.remove(self._source)

    def give_back(self, *, failures: int = 0, fault: Cause | None = None, is_our_doing: bool = False) -> Penalty | None:
        """The connection is gone; what it has earned its source.  Idempotent.

        Without a login it costs: `failures` are refused attempts, `fault` is why we have ended it, `is_our_doing`
        spares the source.
        """
        if not self._is_open:
            return None
        self._is_open = False
        was_starting = self._is_starting
        self.authenticated()
        self._admission.open.remove(self._source)
        if self._user is not None:
            self._admission.users.remove(self._user)
        if not was_starting or is_our_doing:
            return None
        grace = self._admission.config.login_grace_time.total_seconds()
        if self._admission.clock() - self._since >= grace:
            cause = Cause.GRACE_EXCEEDED
        elif fault is Cause.INTERNAL_ERROR:
            cause = fault
        else:
            cause = Cause.AUTH_FAILED if failures else fault or Cause.NO_AUTH
        return self._admission.penalise(self._host, self._source, cause)


def _refused(reason: str, text: str) -> Refused:
    return Refused(reason, user_text=text, code=Code.SSH_LIMIT_REACHED)
