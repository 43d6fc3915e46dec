"""Authenticated packet ciphers that seal and open a whole packet at once.

They stand in for asyncssh's own objects once keys are agreed.  A key schedule is made
once per key, not once per packet, and a packet is neither sliced nor copied before it is
opened.  The stock code can go on using them through the `Encryption` interface; a packet
that the fast path has opened already is handed to it by `opened`.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from typing import Final

from asyncssh.encryption import Encryption
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

TAG: Final = 16
"""Bytes of the authentication tag of every cipher here."""

_length: Final = struct.Struct(">I")


class PacketCipher(Encryption):
    """One direction of a connection under one key.

    The plain text of a packet is padding length, payload and padding (RFC 4253 §6).
    """

    opened: bytes | None = None
    """A packet's plain text that `decrypt_packet` is to return next."""

    @abstractmethod
    def seal(self, seq: int, plain: bytes) -> tuple[bytes, bytes]:
        """The packet to send, in two parts: its length, and the rest with the tag."""

    @abstractmethod
    def length(self, seq: int, buffer: bytes, start: int) -> int:
        """The length of the packet that begins at `start`; not authenticated yet."""

    @abstractmethod
    def open(self, seq: int, packet: memoryview) -> bytes:
        """The plain text of a whole packet, length and tag included; empty if it is forged."""

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """Seal a packet for the stock code, which has built the header."""
        sealed_header, body = self.seal(seq, packet)
        return sealed_header + body, b""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """The first block as it is, and the packet's length in clear."""
        return first_block, _length.pack(self.length(seq, first_block, 0))

    def decrypt_packet(self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes) -> bytes | None:
        """Open a packet for the stock code, unless that was done already."""
        if self.opened is not None:
            plain, self.opened = self.opened, None
            return plain
        return self.open(seq, memoryview(first + rest + mac)) or None


class GcmCipher(PacketCipher):
    """AES-GCM as OpenSSH uses it: the length in clear, an invocation counter as nonce (RFC 5647)."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESGCM(key)
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:], "big")

    def _nonce(self) -> bytes:
        counter = self._counter
        self._counter = (counter + 1) & 0xFFFFFFFFFFFFFFFF
        return self._fixed + counter.to_bytes(8, "big")

    def seal(self, seq: int, plain: bytes) -> tuple[bytes, bytes]:
        header = _length.pack(len(plain))
        return header, self._aead.encrypt(self._nonce(), plain, header)

    def length(self, seq: int, buffer: bytes, start: int) -> int:
        return int.from_bytes(buffer[start : start + 4], "big")

    def open(self, seq: int, packet: memoryview) -> bytes:
        try:
            return self._aead.decrypt(self._nonce(), packet[4:], packet[:4])
        except InvalidTag:
            return b""


class ChachaCipher(PacketCipher):
    """chacha20-poly1305@openssh.com: two keys, the length encrypted on its own, the sequence number as nonce."""

    def __init__(self, key: bytes) -> None:
        self._data = Cipher(ChaCha20(key[:32], bytes(16)), mode=None).encryptor()
        self._header = Cipher(ChaCha20(key[32:], bytes(16)), mode=None).encryptor()

    def seal(self, seq: int, plain: bytes) -> tuple[bytes, bytes]:
        nonce = seq.to_bytes(16, "big")
        self._header.reset_nonce(nonce)
        header = self._header.update(_length.pack(len(plain)))
        self._data.reset_nonce(nonce)
        # Block 0 of the key stream holds the Poly1305 key, the data begins with block 1.
        tag = Poly1305(self._data.update(bytes(64))[:32])
        body = self._data.update(plain)
        tag.update(header)
        tag.update(body)
        return header, body + tag.finalize()

    def length(self, seq: int, buffer: bytes, start: int) -> int:
        self._header.reset_nonce(seq.to_bytes(16, "big"))
        return int.from_bytes(self._header.update(buffer[start : start + 4]), "big")

    def open(self, seq: int, packet: memoryview) -> bytes:
        self._data.reset_nonce(seq.to_bytes(16, "big"))
        tag = Poly1305(self._data.update(bytes(64))[:32])
        tag.update(packet[:-TAG])
        try:
            tag.verify(bytes(packet[-TAG:]))
        except InvalidSignature:
            return b""
        return self._data.update(packet[4:-TAG])
