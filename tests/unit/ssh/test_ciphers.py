"""Our ciphers speak the same as asyncssh's, packet by packet."""

from __future__ import annotations

import os

import pytest
from asyncssh.encryption import Encryption, get_encryption, get_encryption_params
from asyncssh.packet import UInt32
from hypothesis import given
from hypothesis import strategies as st

from moorage.ssh.ciphers import TAG, PacketCipher
from moorage.ssh.connection import packet_cipher

NAMES = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


def pair(name: str) -> tuple[Encryption, PacketCipher]:
    """The stock cipher and ours, under one key."""
    key_size, iv_size, *_ = get_encryption_params(name.encode())
    key, iv = os.urandom(key_size), b"\xff" * iv_size
    ours = packet_cipher(get_encryption(name.encode(), key, iv))
    assert isinstance(ours, PacketCipher)
    return get_encryption(name.encode(), key, iv), ours


@pytest.mark.parametrize("name", NAMES)
@given(plains=st.lists(st.binary(min_size=16, max_size=300), min_size=1, max_size=5), seq=st.integers(0, 0xFFFFFFF0))
def test_what_is_sealed_is_what_the_stock_cipher_seals(name: str, plains: list[bytes], seq: int) -> None:
    stock, ours = pair(name)
    for number, plain in enumerate(plains, seq):
        packet, tag = stock.encrypt_packet(number, UInt32(len(plain)), plain)
        assert b"".join(ours.seal(number, plain)) == packet + tag


@pytest.mark.parametrize("name", NAMES)
@given(plains=st.lists(st.binary(min_size=16, max_size=300), min_size=1, max_size=5), seq=st.integers(0, 0xFFFFFFF0))
def test_what_the_stock_cipher_seals_is_opened(name: str, plains: list[bytes], seq: int) -> None:
    stock, ours = pair(name)
    for number, plain in enumerate(plains, seq):
        packet, tag = stock.encrypt_packet(number, UInt32(len(plain)), plain)
        wire = b"before" + packet + tag + b"after"
        assert ours.length(number, wire, 6) == len(plain)
        assert ours.open(number, memoryview(wire)[6:-5]) == plain


@pytest.mark.parametrize("name", NAMES)
@given(plain=st.binary(min_size=16, max_size=100), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(name: str, plain: bytes, position: int, bit: int) -> None:
    stock, ours = pair(name)
    packet, tag = stock.encrypt_packet(3, UInt32(len(plain)), plain)
    wire = bytearray(packet + tag)
    wire[position % len(wire)] ^= 1 << bit
    assert ours.open(3, memoryview(bytes(wire))) == b""


@pytest.mark.parametrize("name", NAMES)
def test_the_stock_code_can_go_on_with_our_cipher(name: str) -> None:
    stock, ours = pair(name)
    _, writer = pair(name)
    plain = os.urandom(32)
    packet, tag = stock.encrypt_packet(1, UInt32(32), plain)
    wire = packet + tag
    first, length = ours.decrypt_header(1, wire[:16], 4)
    assert (first, length) == (wire[:16], UInt32(32))
    assert ours.decrypt_packet(1, first, wire[16:-TAG], 4, wire[-TAG:]) == plain
    sealed, mac = writer.encrypt_packet(1, UInt32(32), plain)
    assert (len(sealed), mac) == (4 + 32 + TAG, b"")


def test_a_packet_that_is_open_already_is_handed_over_once() -> None:
    _, ours = pair(NAMES[0])
    ours.opened = b"plain"
    assert ours.decrypt_packet(0, b"", b"", 4, b"") == b"plain"
    assert ours.decrypt_packet(0, bytes(16), bytes(16), 4, bytes(16)) is None


def test_other_ciphers_stay_as_they_are() -> None:
    stock = get_encryption(b"aes128-ctr", bytes(16), bytes(16), b"hmac-sha2-256", bytes(32))
    assert packet_cipher(stock) is stock
