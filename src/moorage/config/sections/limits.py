"""``ssh.maxStartups``, ``ssh.sourceMask`` and ``ssh.penalties``: what strangers may cost."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, Finding, Section, Within, shown, under

NotNegative = AtLeast(timedelta(0))


class MaxStartupsConfig(Section):
    """Connections that have not authenticated yet, with early random drop. An addition."""

    begin: Annotated[int, AtLeast(1), Within(0, 2**20)] = 100
    """From so many on, new connections are refused at random."""

    rate: Annotated[int, AtLeast(0), Within(0, 100)] = 30
    """Per cent that are refused at `begin`; the share grows evenly up to `full`."""

    full: Annotated[int, AtLeast(1), Within(0, 2**20)] = 200
    """From so many on, all new connections are refused."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.full < self.begin:
            yield Finding(("full",), "must be at least begin")


class SourceMaskConfig(Section):
    """Which addresses count as one source: the leading bits that they share. An addition."""

    ipv4: Annotated[int, AtLeast(1), Within(0, 32)] = 32
    """Bits of an IPv4 address."""

    ipv6: Annotated[int, AtLeast(1), Within(0, 128)] = 64
    """Bits of an IPv6 address."""


class PenaltiesConfig(Section):
    """How long a source is refused after it has misbehaved; penalties add up and decay. An addition."""

    enable: bool = True
    """Whether there are penalties."""

    auth_failed: Annotated[Duration, NotNegative] = timedelta(seconds=5)
    """For a connection that ends without a login after a refused attempt."""

    no_auth: Annotated[Duration, NotNegative] = timedelta(seconds=1)
    """For a connection that ends without an attempt to log in."""

    grace_exceeded: Annotated[Duration, NotNegative] = timedelta(seconds=10)
    """For a connection that has not logged in by `loginGraceTime`."""

    protocol_error: Annotated[Duration, NotNegative] = timedelta(seconds=5)
    """For a connection whose handshake was broken: bad packets, no algorithms in common, no SSH at all."""

    internal_error: Annotated[Duration, NotNegative] = timedelta(seconds=90)
    """For a connection that an error of the server has ended before the login: somebody may be looking for more."""

    min: Annotated[Duration, NotNegative] = timedelta(seconds=15)
    """Penalties are enforced once they have added up to this."""

    max: Annotated[Duration, NotNegative] = timedelta(minutes=10)
    """No penalty is longer."""

    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that are never penalised."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.max < self.min:
            yield Finding(("max",), "must be at least min")
        yield from under("exempt", no_networks(self.exempt))


def no_networks(networks: tuple[str, ...]) -> Iterator[Finding]:
    """What of `networks` is no network, by its place."""
    for index, network in enumerate(networks):
        try:
            ip_network(network)
        except ValueError:
            yield Finding((index,), f"invalid network {shown(network)}", "write 10.0.0.0/8 or 2001:db8::/32")
