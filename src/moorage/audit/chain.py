"""The proof that a recording is as it was written.

A running SHA-256 goes over the CBOR of all messages.  From time to time it stands in the recording as a
message of its own (a global request of the type `CHECKPOINT`), and at the very end, after the disconnect
message, as a `SEAL` with the number of messages before it and, if the server has a key, an Ed25519
signature.  A recording that ends otherwise, because its server was killed, gets `CUT` in the place of a seal
when the next server finds it.  Without a key it shows accidents; with one it also shows what was done on
purpose by somebody who does not have the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from moorage.audit.codec import Entry, encode
from moorage.audit.recording import Message

CHECKPOINT: Final = "checkpoint@moorage"
SEAL: Final = "seal@moorage"
CUT: Final = "cut@moorage"
"""Says how far a recording went when it was found cut; beside it stands when that was."""

EVERY: Final = 256
"""Messages between two checkpoints."""

_PURPOSES: Final = {SEAL: b"moorage recording seal\0", CUT: b"moorage recording cut\0"}


def signed(connection_id: str, count: int, digest: bytes, kind: str = SEAL) -> bytes:
    """What the signature of a seal, or of `CUT`, is about."""
    return _PURPOSES[kind] + connection_id.encode() + b"\0" + count.to_bytes(8, "big") + digest


class Chain:
    """Adds checkpoints and the seal to messages that are written."""

    def __init__(self, connection_id: str, key: Any | None = None) -> None:
        """`key` is an Ed25519 private key."""
        self._id = connection_id
        self._key = key
        self._hash = hashlib.sha256()
        self._unhashed: list[bytes] = []
        self._count = 0
        self._at = 0

    def of(self, entry: Entry) -> Iterator[bytes]:
        """The CBOR of `entry`, and of a checkpoint after it where one is due."""
        self._at = entry.timestamp
        yield self._encoded(entry)
        if self._count % EVERY == EVERY - 1:
            yield self._encoded(self._mark(CHECKPOINT))

    def seal(self) -> bytes:
        """The CBOR of the last message."""
        return self._encoded(self._mark(SEAL))

    def _mark(self, kind: str) -> Entry:
        self.settle()
        digest = self._hash.digest()
        extra: dict[str, Any] = {"messages": self._count, "sha256": digest}
        if self._key is not None and kind == SEAL:
            extra["signature"] = self._key.sign(signed(self._id, self._count, digest))
        return Entry(200, self._at, {"requestType": kind}, extra=extra)

    def _encoded(self, entry: Entry) -> bytes:
        raw = encode(self._id, entry)
        self._unhashed.append(raw)
        self._count += 1
        return raw

    def settle(self) -> None:
        """Hash what was written since the last time, in one go: to be called after each batch."""
        self._hash.update(b"".join(self._unhashed))
        self._unhashed.clear()


class Proof:
    """Follows the chain of a recording that is read.  `of` is called for each message in order."""

    def __init__(self, key: Any | None = None) -> None:
        """`key` is the Ed25519 public key that seals are to be signed with; None believes unsigned ones too."""
        self._key = key
        self._hash = hashlib.sha256()
        self._before = self._hash.copy()
        self._count = 0
        self.checkpoints = 0
        self.is_sealed = False
        self.is_cut = False
        """It was found cut, and closed as such."""
        self.is_signed = False
        """The seal has a signature, which was checked if there is a key."""
        self.wrong = ""
        """What is wrong, at the first place where something is."""

    def raw(self, data: bytes) -> None:
        """The bytes of the next message."""
        self._before = self._hash.copy()
        self._hash.update(data)

    def of(self, message: Message) -> None:
        """The message that these bytes are."""
        kind = message.payload.get("requestType") if message.number == 200 else None
        if self.is_sealed or self.is_cut:
            self._is_wrong(message, "there is a message after the last")
        elif kind in {CHECKPOINT, SEAL, CUT}:
            self._check(message, kind)
        self._count += 1

    @property
    def count(self) -> int:
        """Messages so far."""
        return self._count

    def digest(self) -> bytes:
        """The hash of all messages so far."""
        return self._hash.digest()

    def _check(self, message: Message, kind: str) -> None:
        digest = message.extra.get("sha256")
        if digest != self._before.digest() or message.extra.get("messages") != self._count:
            self._is_wrong(message, "what stands before this point was changed")
        self.checkpoints += 1
        if kind == CHECKPOINT:
            return
        self.is_sealed, self.is_cut = kind == SEAL, kind == CUT
        signature = message.extra.get("signature")
        self.is_signed = isinstance(signature, bytes)
        if self._key is None:
            return
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(
                signature if isinstance(signature, bytes) else b"",
                signed(message.connection_id, self._count, self._before.digest(), kind),
            )
        except InvalidSignature:
            self._is_wrong(message, "the seal's signature is not by this key")

    def _is_wrong(self, message: Message, what: str) -> None:
        self.wrong = self.wrong or f"at unpacked byte {message.offset}: {what}"


def cut(last: Message, proof: Proof, key: Any | None, at: int) -> Entry:
    """What follows the `last` message, as far as `proof` has followed, of a recording that was found cut `at` then."""
    digest = proof.digest()
    extra: dict[str, Any] = {"messages": proof.count, "sha256": digest, "recovered": at}
    if key is not None:
        extra["signature"] = key.sign(signed(last.connection_id, proof.count, digest, CUT))
    return Entry(200, last.timestamp, {"requestType": CUT}, extra=extra)


def private_key(pem: str) -> Any:
    """The Ed25519 private key in `pem` (PKCS #8 or OpenSSH); raises `ValueError` for anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if "OPENSSH PRIVATE KEY" in pem else load_pem_private_key
    try:
        key = load(pem.encode(), None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key has a passphrase, or a form that is not known") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the key is no Ed25519 key")  # noqa: TRY004 - the text is at fault
    return key


def public_key(text: str) -> Any:
    """The Ed25519 public key in `text` (PEM, or as in authorized_keys); raises `ValueError` for anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    load = load_pem_public_key if text.lstrip().startswith("-----") else load_ssh_public_key
    try:
        key = load(text.strip().encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("the key has a form that is not known") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the key is no Ed25519 key")  # noqa: TRY004 - the text is at fault
    return key
