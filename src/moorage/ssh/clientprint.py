"""What a client's first key exchange message says about its program (HASSH, a hash of its algorithms)."""

from __future__ import annotations

import hashlib
from typing import Final

from asyncssh.packet import SSHPacket

_LONGEST: Final = 4096
"""Characters of the lists that are kept; the hash is of all of them."""


def fingerprint(kexinit: bytes) -> tuple[str, str]:
    """The HASSH of a KEXINIT's payload, and the text that it is of: key exchange, ciphers, MACs, compression.

    The names are those for the direction from client to server, as sent (RFC 4253 §7.1).
    """
    packet = SSHPacket(kexinit)
    packet.get_bytes(1 + 16)  # type and cookie
    lists = [packet.get_string() for _ in range(8)]
    kex, _, ciphers, _, macs, _, compression, _ = (names.decode("ascii", "replace") for names in lists)
    text = f"{kex};{ciphers};{macs};{compression}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), text[:_LONGEST]
