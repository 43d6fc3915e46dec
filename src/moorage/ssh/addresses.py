"""Socket names as addresses."""

from __future__ import annotations

from typing import Any

from moorage.gateway.model import Address


def address(name: Any) -> Address:
    """A socket's name as an address: no zone, IPv4 as such; without one, the unspecified address."""
    if not isinstance(name, tuple) or len(name) < 2:
        return Address("0.0.0.0", 0)  # noqa: S104 - nothing is bound
    host = str(name[0]).partition("%")[0]
    mapped = host.lower().removeprefix("::ffff:")
    return Address(mapped if mapped != host.lower() and "." in mapped else host, int(name[1]))
