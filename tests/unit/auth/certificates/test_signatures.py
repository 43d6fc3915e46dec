"""Security keys: their signatures are verified and what they say of their user is read.

The device is software here (`security_key`); the formats are OpenSSH's PROTOCOL.u2f.
"""

from __future__ import annotations

import asyncssh
import pytest
from asyncssh.public_key import decode_ssh_public_key
from tests.unit.auth.certificates.security_key import TOUCHED, VERIFIED, SecurityKey

from moorage.auth.certificates.signatures import is_signed, presence, rsa_bits


@pytest.fixture(params=[False, True], ids=["ed25519", "ecdsa"])
def key(request: pytest.FixtureRequest) -> SecurityKey:
    return SecurityKey(is_ecdsa=request.param)


def test_a_touched_key_signs(key: SecurityKey) -> None:
    signature = key.sign(b"data")
    assert is_signed(key.blob, signature, b"data")
    assert not is_signed(key.blob, signature, b"other")
    assert not is_signed(SecurityKey(key.is_ecdsa).blob, signature, b"data")


def test_our_software_key_is_one_to_asyncssh_too(key: SecurityKey) -> None:
    assert decode_ssh_public_key(key.blob).verify(b"data", key.sign(b"data"))


def test_an_untouched_key_of_an_authority_signs_nothing(key: SecurityKey) -> None:
    assert not is_signed(key.blob, key.sign(b"data", flags=0), b"data")


@pytest.mark.parametrize("flags", [0, TOUCHED, VERIFIED, TOUCHED | VERIFIED])
def test_what_the_key_has_seen_is_read(key: SecurityKey, flags: int) -> None:
    assert presence(key.sign(b"data", flags=flags)) == (bool(flags & TOUCHED), bool(flags & VERIFIED))


def test_flags_that_were_changed_break_the_signature(key: SecurityKey) -> None:
    signature = bytearray(key.sign(b"data", flags=TOUCHED))
    signature[-5] |= VERIFIED
    assert presence(bytes(signature)) == (True, True)
    assert not is_signed(key.blob, bytes(signature), b"data")


def test_what_is_no_signature_of_a_security_key_has_seen_nobody() -> None:
    assert presence(b"") == (False, False)
    assert presence(SecurityKey().sign(b"data")[:-5]) == (False, False)
    assert presence(asyncssh.generate_private_key("ssh-ed25519").sign(b"data", b"ssh-ed25519")) == (False, False)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"])
def test_ordinary_keys_sign(kind: str) -> None:
    key = asyncssh.generate_private_key(kind)
    signature = key.sign(b"data", kind.encode())
    assert is_signed(key.public_data, signature, b"data")
    assert not is_signed(key.public_data, signature[:-1], b"data")
    assert not is_signed(key.public_data, signature + b"x", b"data")


@pytest.mark.parametrize(("algorithm", "good"), [(b"rsa-sha2-256", True), (b"rsa-sha2-512", True), (b"ssh-rsa", False)])
def test_rsa_signs_without_sha1_only(algorithm: bytes, good: bool) -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    assert is_signed(key.public_data, key.sign(b"data", algorithm), b"data") is good
    assert rsa_bits(key.public_data) == 2048


def test_a_small_rsa_key_signs_nothing() -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    assert not is_signed(key.public_data, key.sign(b"data", b"rsa-sha2-256"), b"data")
