"""Lists that ssh-keygen makes revoke what it says, and a list that is not understood is none."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.auth.certificates.conftest import Issuer

from moorage.auth.certificates.certificate import Certificate
from moorage.auth.certificates.krl import RevocationList, parse_revocations
from moorage.auth.certificates.reader import Malformed, string

HEADER = b"SSHKRL\n\0" + (1).to_bytes(4, "big") + bytes(24) + string(b"") + string(b"")


@pytest.fixture
def certificate(issuer: Issuer) -> Certificate:
    return issuer.certificate("-n", "mia", "-z", "1000", key_id="mia@corp")


def listed(issuer: Issuer, tmp_path: Path, specification: str, *, ca: bool = True) -> RevocationList:
    """What ssh-keygen makes of a specification (its KEY REVOCATION LISTS section)."""
    (tmp_path / "spec").write_text(specification)
    authority = ("-s", issuer.key("ca").with_suffix(".pub")) if ca else ()
    issuer.run("-k", "-f", tmp_path / "krl", *authority, tmp_path / "spec")
    return parse_revocations((tmp_path / "krl").read_bytes())


@pytest.mark.parametrize(
    ("specification", "revoked"),
    [
        ("serial: 1000\n", True),
        ("serial: 999\n", False),
        ("serial: 5-2000\n", True),
        ("serial: 1001-18446744073709551615\n", False),
        ("serial: 1-999\nserial: 1001-5000\n", False),
        ("".join(f"serial: {n}\n" for n in range(900, 1100, 2)), True),
        ("".join(f"serial: {n}\n" for n in range(901, 1101, 2)), False),
        ("serial: 1\nserial: 1000\nserial: 900000000000\n", True),
        ("id: mia@corp\n", True),
        ("id: MIA@corp\n", False),
    ],
)
def test_serials_ranges_bitmaps_and_key_ids(
    issuer: Issuer, tmp_path: Path, certificate: Certificate, specification: str, revoked: bool
) -> None:
    assert listed(issuer, tmp_path, specification).revokes(certificate) is revoked


def test_serials_of_another_authority_are_other_serials(
    issuer: Issuer, tmp_path: Path, certificate: Certificate
) -> None:
    revoked = listed(issuer, tmp_path, "serial: 1000\n")
    assert not revoked.revokes(replace(certificate, authority=issuer.blob("another-ca")))


def test_serials_without_an_authority_are_everybodys(issuer: Issuer, tmp_path: Path, certificate: Certificate) -> None:
    (tmp_path / "spec").write_text("serial: 1000\n")
    issuer.run("-k", "-f", tmp_path / "krl", "-s", "none", tmp_path / "spec")
    assert parse_revocations((tmp_path / "krl").read_bytes()).revokes(certificate)


@pytest.mark.parametrize("kind", ["key", "sha1", "sha256", "hash"])
@pytest.mark.parametrize("what", ["id", "ca"])
def test_keys_and_fingerprints_revoke_the_key_and_what_it_signed(
    issuer: Issuer, tmp_path: Path, certificate: Certificate, kind: str, what: str
) -> None:
    value = issuer.line(what)
    if kind == "hash":
        shown = subprocess.run(
            ["ssh-keygen", "-lf", issuer.key(what)], capture_output=True, text=True, check=True
        ).stdout.split()[1]
        value = shown
    revoked = listed(issuer, tmp_path, f"{kind}: {value}\n", ca=False)
    assert revoked.revokes(certificate)
    assert revoked.revokes_key(issuer.blob(what))
    assert not revoked.revokes_key(issuer.blob("another"))


def test_a_certificate_without_a_serial_is_revoked_by_other_means_only(
    issuer: Issuer, tmp_path: Path, certificate: Certificate
) -> None:
    unnumbered = replace(certificate, serial=0)
    assert not listed(issuer, tmp_path, "serial: 1-5000\n").revokes(unnumbered)
    assert listed(issuer, tmp_path, "id: mia@corp\n").revokes(unnumbered)


def test_ssh_keygen_and_we_agree(issuer: Issuer, tmp_path: Path) -> None:
    revoked = listed(issuer, tmp_path, "serial: 3\nserial: 10-20\nserial: 64\nserial: 66\nserial: 70\nid: bad\n")
    for serial in (1, 3, 9, 10, 20, 21, 63, 64, 65, 66, 70, 71):
        line = issuer.certify("-n", "mia", "-z", str(serial), key_id="bad" if serial == 71 else "good")
        (tmp_path / "c.pub").write_text(line)
        theirs = subprocess.run(
            ["ssh-keygen", "-Q", "-f", tmp_path / "krl", tmp_path / "c.pub"], capture_output=True, check=False
        ).returncode
        from moorage.auth.certificates.certificate import parse_line

        assert revoked.revokes(parse_line(line)) is (theirs != 0), serial


def test_an_empty_list_revokes_nothing(issuer: Issuer, tmp_path: Path, certificate: Certificate) -> None:
    assert not listed(issuer, tmp_path, "").revokes(certificate)
    assert not parse_revocations(b"").revokes(certificate)


def test_a_plain_file_of_keys_revokes_them(issuer: Issuer, certificate: Certificate) -> None:
    text = f"# gone\n\n{issuer.line('another')} comment\n{issuer.line('id')}\n"
    assert parse_revocations(text.encode()).revokes(certificate)


@pytest.mark.parametrize(
    "data",
    [
        b"not a key\n",
        b"ssh-ed25519 %%%\n",
        HEADER[:-1],
        HEADER.replace((1).to_bytes(4, "big"), (2).to_bytes(4, "big"), 1),
        HEADER + b"\x04" + string(b""),
        HEADER + b"\x63" + string(b""),
        HEADER + b"\x03" + string(string(b"short")),
        HEADER + b"\xff" + string(string(b"name") + b"\1" + string(b"")),
        HEADER + b"\x01" + string(string(b"") + string(b"") + b"\x21" + string(bytes(7) + b"\x09" + bytes(8))),
        HEADER + b"\x01" + string(string(b"") + string(b"") + b"\x20" + string(bytes(7))),
        HEADER + b"\x01" + (2**32 - 1).to_bytes(4, "big"),
        b"x" * (16 * 1024 * 1024 + 1),
    ],
    ids=[
        "text", "base64", "cut", "version", "signed", "unknown", "short", "critical", "backwards", "odd",
        "huge", "large",
    ],
)  # fmt: skip
def test_a_list_that_is_not_understood_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_revocations(data)


def test_an_extension_that_is_not_critical_is_passed_over() -> None:
    parse_revocations(HEADER + b"\xff" + string(string(b"name") + b"\0" + string(b"")))


@given(st.binary(max_size=400))
def test_nothing_but_malformed_is_ever_raised(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        parse_revocations(HEADER + data)
