"""Which algorithms are on offer: a modern list unless the configuration names its own.

Unset lists hold nothing with SHA-1, CBC or a NIST curve.  A list in the configuration
replaces ours as it stands, in its order.  Names are checked when the configuration is
loaded; what this build of the cryptography library cannot do is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncssh.encryption import encryption_needs_mac, get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs

from moorage.codes import Code
from moorage.errors import ConfigError

if TYPE_CHECKING:
    from moorage.config.sections.ssh import SSHConfig

KEX: Final = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")

CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)

MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
)
"""The last one for libssh2 before 1.11 (curl), which knows neither GCM nor encrypt-then-MAC."""

SIGNATURES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed448",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""What users may sign with (RFC 8308 §3.1), and what host keys sign with: all but SHA-1 and DSA."""

_NAMES_NOTHING: Final = frozenset({"tripledescbcID"})
"""Accepted in configurations for compatibility; no client knows it."""


@dataclass(frozen=True, slots=True)
class Algorithms:
    """The names to offer, best first."""

    kex: Sequence[str]
    ciphers: Sequence[str]
    macs: Sequence[str]


def chosen(config: SSHConfig) -> Algorithms:
    """The algorithms that `config` asks for; raises `ConfigError` for what cannot be offered."""
    ciphers = [name for name in config.ciphers or CIPHERS if name not in _NAMES_NOTHING]
    if not ciphers:
        raise ConfigError("ssh.ciphers leaves no cipher that a client could use")
    algorithms = Algorithms(tuple(config.kex or KEX), tuple(ciphers), tuple(config.macs or MACS))
    _demand("kex", algorithms.kex, get_kex_algs())
    _demand("ciphers", algorithms.ciphers, get_encryption_algs())
    _demand("macs", algorithms.macs, get_mac_algs())
    return algorithms


def needs_ignore(cipher: bytes) -> bool:
    """Must each packet follow an ignored one?  Only CBC's chained IVs call for it (RFC 4251 §9.3.1)."""
    return encryption_needs_mac(cipher) and cipher.endswith(b"-cbc")


def _demand(key: str, wanted: Sequence[str], available: Sequence[bytes]) -> None:
    missing = [name for name in wanted if name.encode() not in available]
    if missing:
        raise ConfigError(
            f"ssh.{key}: {', '.join(missing)} cannot be offered by this installation; "
            f"available are {', '.join(name.decode() for name in available)}",
            code=Code.CORE_CONFIG_ERROR,
        )
