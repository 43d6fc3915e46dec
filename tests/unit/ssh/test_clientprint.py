"""A client is known by the algorithms that it offers."""

from __future__ import annotations

import hashlib

import pytest

from moorage.ssh.clientprint import fingerprint


def kexinit(*lists: bytes) -> bytes:
    names = b"".join(len(one).to_bytes(4, "big") + one for one in (*lists, b"", b""))
    return bytes([20]) + b"cookie-of-16-byt" + names + b"\0" + bytes(4)


OFFER = (b"kex1,kex2", b"hostkey", b"c2s-cipher,other", b"s2c-cipher", b"c2s-mac", b"s2c-mac", b"none", b"zlib")


def test_the_hash_is_of_the_client_s_direction() -> None:
    text = "kex1,kex2;c2s-cipher,other;c2s-mac;none"
    assert fingerprint(kexinit(*OFFER)) == (hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), text)


def test_host_keys_and_the_cookie_do_not_matter_but_the_order_does() -> None:
    changed = list(OFFER)
    changed[1], changed[3], changed[5], changed[7] = b"a", b"b", b"c", b"d"
    assert fingerprint(kexinit(*changed)) == fingerprint(kexinit(*OFFER))
    changed[0] = b"kex2,kex1"
    assert fingerprint(kexinit(*changed)) != fingerprint(kexinit(*OFFER))


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\n\x1b[2J", b"x" * 30_000])
def test_what_is_no_name_is_bounded_and_fails_nothing(name: bytes) -> None:
    hassh, text = fingerprint(kexinit(name, *OFFER[1:]))
    assert len(hassh) == 32
    assert len(text) <= 4096
