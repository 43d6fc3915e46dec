"""Certificates and the provider behind them: both have to say yes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.auth.certificates.conftest import Issuer

from moorage.auth.certificates.keys import CertificateKeys
from moorage.config.sections.certificates import CertificatesConfig
from moorage.gateway.model import Address, Attempt, ConnectionId, Metadata, TextValue, Verdict

MIA = Attempt(ConnectionId("0" * 32), Address("10.1.2.3", 4000), "SSH-2.0-Test", "mia")


@dataclass
class Inner:
    """A provider that says what it is told to."""

    answer: Verdict = field(default_factory=lambda: Verdict(True, "mia@corp", Metadata({"by": TextValue("inner")})))
    asked: list[tuple[Attempt, str]] = field(default_factory=list)
    closed: bool = False

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        self.asked.append((attempt, key))
        return self.answer

    async def close(self) -> None:
        self.closed = True


class Users(Inner):
    async def verdict_on(self, name: str) -> Verdict:
        return Verdict(True, name) if name == "mia" else Verdict(False)

    async def principals_of(self, name: str) -> Sequence[str] | None:
        return ("team-blue",) if name == "mia" else None


async def test_a_webhook_is_asked_after_the_certificate_was_found_good(issuer: Issuer) -> None:
    inner = Inner()
    keys = CertificateKeys(CertificatesConfig(authorities=(issuer.line("ca"),)), inner)
    line = issuer.certify("-n", "mia", "-O", "no-pty")
    verdict = await keys.public_key(MIA, line)
    assert verdict.success
    assert verdict.authenticated_username == "mia@corp"
    assert not verdict.restrictions.terminal
    assert {"by", "SSH_CERTIFICATE_KEY_ID"} <= set(verdict.metadata.metadata)
    assert inner.asked[0][0].metadata.metadata["SSH_CERTIFICATE_KEY_ID"].value == "the-id"
    inner.answer = Verdict(False)
    assert not (await keys.public_key(MIA, line)).success
    bad = issuer.certify("-n", "bob")
    assert not (await keys.public_key(MIA, bad)).success
    assert len(inner.asked) == 2, "nobody is asked about a certificate that is no good"


async def test_without_authorities_the_webhook_alone_knows_the_signer(issuer: Issuer) -> None:
    inner = Inner()
    keys = CertificateKeys(CertificatesConfig(), inner)
    assert (await keys.public_key(MIA, issuer.certify("-n", "mia"))).success
    assert not (await keys.public_key(MIA, issuer.certify("-n", "mia", "-V", "20200101:20200102"))).success
    assert len(inner.asked) == 1


async def test_the_users_file_has_to_know_the_user(issuer: Issuer) -> None:
    users = Users(Verdict(False))
    keys = CertificateKeys(CertificatesConfig(authorities=(issuer.line("ca"),)), users, users=users)
    assert (await keys.public_key(MIA, issuer.certify("-n", "team-blue"))).success
    assert not (await keys.public_key(MIA, issuer.certify("-n", "mia"))).success
    bob = Attempt(MIA.connection_id, MIA.remote_address, MIA.client_version, "bob")
    assert not (await keys.public_key(bob, issuer.certify("-n", "bob"))).success


async def test_a_users_file_without_authorities_knows_no_certificate(issuer: Issuer) -> None:
    users = Users()
    keys = CertificateKeys(CertificatesConfig(), users, users=users)
    assert not (await keys.public_key(MIA, issuer.certify("-n", "team-blue,mia"))).success


async def test_certificates_alone_let_no_plain_key_in(issuer: Issuer) -> None:
    keys = CertificateKeys(CertificatesConfig(authorities=(issuer.line("ca"),)), None)
    assert (await keys.public_key(MIA, issuer.certify("-n", "mia"))).success
    assert not (await keys.public_key(MIA, issuer.line("id"))).success
    await keys.close()


async def test_a_revoked_plain_key_is_refused_before_anybody_is_asked(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text(issuer.line("id"))
    inner = Inner()
    keys = CertificateKeys(CertificatesConfig(revoked=(str(tmp_path / "revoked"),)), inner)
    assert not (await keys.public_key(MIA, issuer.line("id"))).success
    assert not inner.asked
    assert (await keys.public_key(MIA, issuer.line("another"))).success
    await keys.close()
    assert inner.closed


async def test_a_weak_rsa_key_is_refused_with_the_reason() -> None:
    """Before anybody is asked about it."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    parts = (b"ssh-rsa", numbers.e.to_bytes(3, "big"), b"\0" + numbers.n.to_bytes(128, "big"))
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    inner = Inner()
    keys = CertificateKeys(CertificatesConfig(), inner)
    verdict = await keys.public_key(MIA, f"ssh-rsa {b64encode(blob).decode()}")
    assert (verdict.success, verdict.reason) == (False, "the RSA key has 1024 bits; at least 2048 are needed")
    assert inner.asked == []
