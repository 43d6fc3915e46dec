"""What is on offer, by default and on request."""

from __future__ import annotations

from typing import Any

import pytest
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from tests.unit.ssh.fakes import settings

from moorage.config.sections.names import DEAD_CIPHERS, SSH_CIPHERS, SSH_KEX, SSH_MACS
from moorage.errors import ConfigError
from moorage.ssh.algorithms import CIPHERS, KEX, MACS, SIGNATURES, chosen, needs_ignore


def test_the_defaults_are_modern() -> None:
    algorithms = chosen(settings())
    assert algorithms.kex[:2] == ("mlkem768x25519-sha256", "curve25519-sha256")
    assert algorithms.ciphers[0] == "aes128-gcm@openssh.com"
    for name in (*algorithms.kex, *algorithms.ciphers, *algorithms.macs, *SIGNATURES):
        assert not any(old in name for old in ("sha1", "cbc", "arcfour", "dss", "ssh-rsa", "md5")), name


@pytest.mark.parametrize("key", ["kex", "ciphers", "macs"])
def test_a_configured_list_replaces_ours_in_its_order(key: str) -> None:
    wanted: dict[str, Any] = {
        "kex": ("ecdh-sha2-nistp256", "diffie-hellman-group14-sha1"),
        "ciphers": ("aes128-cbc", "aes256-ctr"),
        "macs": ("hmac-sha1", "hmac-sha2-256"),
    }
    assert getattr(chosen(settings(**{key: wanted[key]})), key) == wanted[key]


def test_empty_lists_mean_the_defaults() -> None:
    algorithms = chosen(settings(ciphers=()))
    assert algorithms.ciphers == CIPHERS


def test_names_without_an_algorithm_are_left_out() -> None:
    assert chosen(settings(ciphers=("tripledescbcID", "aes256-ctr"))).ciphers == ("aes256-ctr",)
    with pytest.raises(ConfigError, match=r"ssh\.ciphers leaves no cipher"):
        chosen(settings(ciphers=("tripledescbcID",)))


def test_what_cannot_be_offered_is_named() -> None:
    with pytest.raises(ConfigError, match=r"ssh\.kex: sntrup-none cannot be offered"):
        chosen(settings(kex=("curve25519-sha256", "sntrup-none")))


def test_everything_that_the_configuration_accepts_can_be_offered() -> None:
    names = set(SSH_CIPHERS) - DEAD_CIPHERS
    assert {name for name in names if name.encode() not in get_encryption_algs()} == set()
    assert {name for name in SSH_KEX if name.encode() not in get_kex_algs()} == set()
    assert {name for name in SSH_MACS if name.encode() not in get_mac_algs()} == set()
    assert set(KEX) <= set(SSH_KEX)
    assert set(MACS) <= set(SSH_MACS)


def test_only_cbc_needs_ignored_packets() -> None:
    assert needs_ignore(b"aes128-cbc")
    assert not any(needs_ignore(name.encode()) for name in CIPHERS)
