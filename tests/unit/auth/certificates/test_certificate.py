"""Certificates of ssh-keygen are read as they were made, and nothing else is."""

from __future__ import annotations

import contextlib
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.auth.certificates.conftest import Issuer

from moorage.auth.certificates.certificate import FOREVER, fingerprint, is_certificate, parse, parse_line
from moorage.auth.certificates.reader import Malformed
from moorage.auth.certificates.signatures import ALGORITHMS

KINDS = [("ed25519", ""), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048")]


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_every_type_of_authority_and_key_is_understood(issuer: Issuer, kind: str, bits: str) -> None:
    ca, of = f"ca-{kind}{bits}", f"id-{kind}{bits}"
    issuer.key(ca, kind, bits)
    issuer.key(of, kind, bits)
    certificate = issuer.certificate("-n", "mia", ca=ca, of=of)
    assert certificate.key == issuer.blob(of)
    assert certificate.authority == issuer.blob(ca)
    assert certificate.is_signed_by_its_authority()


def test_all_fields_are_read(issuer: Issuer) -> None:
    options = ("-O", "force-command=date -u", "-O", "source-address=10.0.0.0/8", "-O", "no-pty")
    certificate = issuer.certificate(
        "-n", "mia,root", "-z", "77", "-V", "20200102030405Z:20300102030405Z", *options, key_id="mia@corp"
    )
    assert (certificate.key_id, certificate.serial, certificate.kind) == ("mia@corp", 77, 1)
    assert certificate.principals == ("mia", "root")
    assert certificate.last_date == "2030-01-02T03:04:05Z"
    assert set(certificate.critical) == {"force-command", "source-address"}
    assert "permit-pty" not in certificate.extensions
    assert "permit-port-forwarding" in certificate.extensions
    assert certificate.description["key"] == issuer.line("ca")


def test_a_certificate_without_an_end_is_for_ever(issuer: Issuer) -> None:
    certificate = issuer.certificate("-n", "mia")
    assert certificate.valid_before == FOREVER
    assert certificate.last_date == "9999-12-31T23:59:59Z"


def test_the_fingerprint_is_that_of_ssh_keygen(issuer: Issuer) -> None:
    import subprocess

    shown = subprocess.run(["ssh-keygen", "-lf", issuer.key("ca")], capture_output=True, text=True, check=True).stdout
    assert fingerprint(issuer.blob("ca")) == shown.split()[1]


def test_one_changed_bit_anywhere_is_noticed(issuer: Issuer) -> None:
    blob = bytearray(b64decode(issuer.certify("-n", "mia").split()[1]))
    for at in range(0, len(blob), 7):
        blob[at] ^= 1
        with contextlib.suppress(Malformed):
            assert not parse(bytes(blob)).is_signed_by_its_authority(), at
        blob[at] ^= 1


def test_a_signature_by_an_algorithm_that_is_not_allowed_is_none(issuer: Issuer) -> None:
    issuer.key("ca-rsa2048", "rsa", "2048")
    line = issuer.certify("-n", "mia", "-t", "rsa-sha2-256", ca="ca-rsa2048")
    certificate = parse_line(line)
    assert certificate.is_signed_by_its_authority()
    assert not certificate.is_signed_by_its_authority([name for name in ALGORITHMS if name != "rsa-sha2-256"])


def test_sha1_is_none_at_all(issuer: Issuer) -> None:
    issuer.key("ca-rsa2048", "rsa", "2048")
    certificate = parse_line(issuer.certify("-n", "mia", "-t", "ssh-rsa", ca="ca-rsa2048"))
    assert not certificate.is_signed_by_its_authority()
    assert not certificate.is_signed_by_its_authority(["ssh-rsa"])


def test_a_plain_key_is_no_certificate(issuer: Issuer) -> None:
    assert not is_certificate(issuer.line("id"))
    with pytest.raises(Malformed):
        parse_line(issuer.line("id"))


@pytest.fixture(scope="module")
def whole(issuer: Issuer) -> bytes:
    return b64decode(issuer.certify("-n", "mia").split()[1])


@given(cut=st.integers(min_value=0), noise=st.binary(max_size=8))
def test_no_cut_and_no_surplus_is_accepted(whole: bytes, cut: int, noise: bytes) -> None:
    damaged = whole[: cut % len(whole)] + noise
    if damaged != whole:
        with contextlib.suppress(Malformed):
            assert not parse(damaged).is_signed_by_its_authority()


@given(st.binary(max_size=300))
def test_nothing_but_malformed_is_ever_raised(data: bytes) -> None:
    for name in ("ssh-ed25519", "sk-ecdsa-sha2-nistp256"):
        kind = f"{name}-cert-v01@openssh.com"
        line = f"{kind} {b64encode(len(kind).to_bytes(4, 'big') + kind.encode() + data).decode()}"
        with pytest.raises(Malformed):
            parse_line(line)
