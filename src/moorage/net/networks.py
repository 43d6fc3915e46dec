"""Sets of networks, as the configuration names them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network


class Networks:
    """Some networks; ``host in networks`` tells whether an address is in one of them.

    Raises `ValueError` for what is no network.  An address by itself is a network of one.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(map(ip_network, networks))
        self._holds = lru_cache(maxsize=1024)(self._look)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        return self._holds(host)

    def _look(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
