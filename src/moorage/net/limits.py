"""How many connections there may be: in total, from one source, and before authentication."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network


def source_of(host: str, ipv4_bits: int = 32, ipv6_bits: int = 64) -> str:
    """The network that `host` counts as; an IPv4-mapped address is IPv4.  Raises `ValueError` for no address."""
    address = ip_address(host.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = ipv4_bits if address.version == 4 else ipv6_bits
    return str(ip_network((address, bits), strict=False))


@dataclass(frozen=True, slots=True)
class EarlyDrop:
    """From `begin` open starts on, a growing share of new ones is turned away; from `full` on, all are."""

    begin: int
    rate: int
    full: int

    def share(self, starts: int) -> float:
        """The share of new connections to turn away while `starts` have not authenticated: 0 to 1."""
        if starts < self.begin:
            return 0.0
        if starts >= self.full:
            return 1.0
        return (self.rate + (100 - self.rate) * (starts - self.begin) / (self.full - self.begin)) / 100


class Tally:
    """How often each key is in use; a key that is not takes no memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.total = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, key: str) -> int:
        return self._counts[key]

    def add(self, key: str) -> None:
        """One more."""
        self._counts[key] += 1
        self.total += 1

    def remove(self, key: str) -> None:
        """One less; each `add` is to be undone once."""
        self.total -= 1
        self._counts[key] -= 1
        if self._counts[key] <= 0:
            del self._counts[key]


class Rate:
    """So many a second, and as many at once as two seconds bring; 0 a second means any number."""

    def __init__(self, per_second: int, *, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = self._most = 2.0 * per_second
        self._since = clock()

    def take(self) -> bool:
        """One more; False if that is one too many."""
        if not self._per_second:
            return True
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
