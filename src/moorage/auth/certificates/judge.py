"""Whether a certificate lets its holder in, and what it keeps him from."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, NoReturn

import structlog

from moorage.auth.certificates import principals
from moorage.auth.certificates.certificate import (
    FOREVER,
    USER,
    Certificate,
    fingerprint,
    one_string,
    parse_line,
)
from moorage.auth.certificates.krl import LARGEST, RevocationList, parse_revocations
from moorage.auth.certificates.reader import Malformed
from moorage.auth.certificates.signatures import WEAKEST_RSA, rsa_bits
from moorage.auth.certificates.watched import WatchedFile
from moorage.auth.keys import KEY_TYPES, parse_key
from moorage.codes import Code
from moorage.config.sections.certificates import CertificatesConfig
from moorage.errors import ConfigError
from moorage.gateway.model import Attempt, Metadata, Restrictions, TextValue, Verdict

_LARGEST_AUTHORITIES: Final = 1024 * 1024
_KEY: Final = "auth.publicKey.certificates"
_CRITICAL: Final = frozenset({"force-command", "source-address", "verify-required"})
PrincipalsOf = Callable[[str], Awaitable[Sequence[str] | None]]
"""The principals that are on record for a name; None if it has no record of any."""


class _No(Exception):
    """The certificate is not accepted; the text says why."""


class CertificateJudge:
    """Holds a certificate to all that it says, and to the configuration.

    Without authorities every signer is taken at its word: somebody else, who is shown all of the
    certificate, has to say whether the signer is known.  Otherwise a certificate counts only if one of the
    authorities signed it, and then for one of its principals only.
    """

    def __init__(
        self,
        config: CertificatesConfig,
        *,
        principals_of: PrincipalsOf | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises `ConfigError` for a file or a key that cannot be used."""
        self._config = config
        self._principals_of = principals_of
        self._clock = clock
        self._keys: set[bytes] = set()
        self._files: list[WatchedFile[frozenset[bytes]]] = []
        for index, entry in enumerate(config.authorities):
            key = f"{_KEY}.authorities[{index}]"
            if entry.split(" ", 1)[0] in KEY_TYPES:
                try:
                    self._keys.add(_authority(entry))
                except ValueError as error:
                    raise ConfigError(f"{key}: {error}", code=Code.AUTH_CONFIG_ERROR) from None
            else:
                parse = WatchedFile(Path(entry), _authorities, largest=_LARGEST_AUTHORITIES, key=key)
                self._files.append(parse)
        self._revoked: list[WatchedFile[RevocationList]] = [
            WatchedFile(Path(path), parse_revocations, largest=LARGEST, key=f"{_KEY}.revoked[{index}]")
            for index, path in enumerate(config.revoked)
        ]

    @property
    def knows_authorities(self) -> bool:
        """True if certificates of some authorities are accepted here."""
        return bool(self._config.authorities)

    async def judge(self, attempt: Attempt, line: str) -> Verdict:
        """May the holder of this certificate log in, by what it says and by our authorities?

        Raises `AuthError` while a file that has a say in it cannot be used.
        """
        try:
            certificate = parse_line(line)
            restrictions = await self._checked(certificate, attempt)
        except (Malformed, _No) as error:
            structlog.get_logger().info(
                f"A certificate is not accepted: {error}",
                code=Code.AUTH_FAILED,
                connectionId=attempt.connection_id,
                username=attempt.username,
            )
            return Verdict(False)
        if not self.knows_authorities:
            return Verdict(True, restrictions=restrictions)
        return Verdict(True, attempt.username, Metadata(metadata=_fields(certificate)), restrictions)

    async def revokes_key(self, blob: bytes) -> bool:
        """Is this plain key on one of the lists?  Raises `AuthError` while a list cannot be used."""
        return any([(await file.current()).revokes_key(blob) for file in self._revoked])

    async def _checked(self, certificate: Certificate, attempt: Attempt) -> Restrictions:
        if certificate.kind != USER:
            _no("it is no user certificate")
        if self.knows_authorities and certificate.authority not in await self._authorities():
            _no(f"its authority {fingerprint(certificate.authority)} is not one of ours")
        bits = rsa_bits(certificate.key)
        if bits is not None and bits < WEAKEST_RSA:
            _no(f"its RSA key has {bits} bits only")
        if not certificate.is_signed_by_its_authority(self._config.signature_algorithms):
            _no("its signature is wrong, or by an algorithm that is not allowed")
        now = self._clock()
        if now < certificate.valid_after:
            _no("it is not valid yet")
        if now >= certificate.valid_before and certificate.valid_before != FOREVER:
            _no("it has expired")
        for name in certificate.critical:
            if name not in _CRITICAL:
                _no(f"its critical option {name[:60]!r} is not known")
        if "source-address" in certificate.critical:
            _check_source(one_string(certificate.critical["source-address"]), attempt.remote_address.host)
        await self._check_principals(certificate, attempt.username)
        if any([(await file.current()).revokes(certificate) for file in self._revoked]):
            _no("it is revoked")
        return _restrictions(certificate)

    async def _authorities(self) -> set[bytes]:
        return self._keys.union(*[await file.current() for file in self._files])

    async def _check_principals(self, certificate: Certificate, username: str) -> None:
        if not self.knows_authorities:
            if certificate.principals and username not in certificate.principals:
                _no("it is not for this user")
            return
        if not certificate.principals:
            _no("it names no principal")
        if not principals.are_for(certificate.principals, await self._wanted(username), username):
            _no("none of its principals may log in under this name")

    async def _wanted(self, username: str) -> Sequence[str]:
        recorded = await self._principals_of(username) if self._principals_of is not None else None
        if recorded is not None:
            return recorded
        if self._config.principals_file:
            return await principals.from_file(self._config.principals_file, username)
        return self._config.principals


def _no(why: str) -> NoReturn:
    raise _No(why)


def _authority(line: str) -> bytes:
    blob = parse_key(line.removeprefix("cert-authority ")).blob
    bits = rsa_bits(blob)
    if bits is not None and bits < WEAKEST_RSA:
        raise ValueError(f"an RSA key of {bits} bits is too weak for an authority")
    return blob


def _authorities(content: bytes) -> frozenset[bytes]:
    keys = set()
    for number, line in enumerate(content.decode().splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.add(_authority(line.strip()))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    if not keys:
        raise ValueError("there is no key in it")
    return frozenset(keys)


def _check_source(networks: str, host: str) -> None:
    try:
        address = ip_address(host)
        allowed = [ip_network(network) for network in networks.split(",")]
    except ValueError:
        _no("its source-address cannot be read")
    if not any(address in network for network in allowed):
        _no(f"its source-address does not include {host}")


def _restrictions(certificate: Certificate) -> Restrictions:
    has = certificate.extensions.__contains__
    command = certificate.critical.get("force-command")
    return Restrictions(
        force_command=one_string(command) if command is not None else None,
        terminal=has("permit-pty"),
        forwarding=has("permit-port-forwarding"),
        x11_forwarding=has("permit-X11-forwarding"),
        agent_forwarding=has("permit-agent-forwarding"),
        touch_required=not has("no-touch-required"),
        verify_required="verify-required" in certificate.critical,
    )


def _fields(certificate: Certificate) -> dict[str, TextValue]:
    said = {
        "KEY_ID": certificate.key_id,
        "SERIAL": str(certificate.serial),
        "PRINCIPALS": ",".join(certificate.principals),
        "AUTHORITY": fingerprint(certificate.authority),
        "VALID_BEFORE": certificate.last_date,
    }
    return {f"SSH_CERTIFICATE_{name}": TextValue(value) for name, value in said.items()}
