"""Finished recordings that only their recipients can read, in the format of age (https://age-encryption.org/v1).

A connection that is open is recorded in the clear, so that a crash leaves what can be closed; when it is over the
whole recording is encrypted and the clear one removed.  The library is the package ``pyrage``.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from moorage.codes import Code
from moorage.errors import ConfigError

SUFFIX: Final = ".age"
ABOUT: Final = ".about"
"""What stands after the name of a file that says in the clear what a store is told of the recording."""

_TEMPORARY: Final = ".sealing"
_PIECE: Final = 64 * 1024
_NO_PACKAGE: Final = "needs a package that is missing: pip install 'moorage[age]'"

About = Callable[[Path], Mapping[str, str]]


class Encryption:
    """Encrypts files to `recipients`."""

    def __init__(self, recipients: Sequence[str], *, about: About | None = None) -> None:
        """`recipients` are ``age1…`` or lines of an SSH public key, Ed25519 or RSA; raises `ConfigError`.

        `about` says of a recording in the clear what is to stand beside the encrypted one.
        """
        self._recipients = [_recipient(text) for text in recipients]
        self._about = about

    def seal(self, clear: Path, target: Path) -> None:
        """Put `clear`, encrypted, to disk as `target`, and remove it.  Raises `OSError`; may be tried again."""
        import pyrage

        temporary = target.with_name(target.name + _TEMPORARY)
        temporary.unlink(missing_ok=True)
        if self._about is not None:
            _write(target.with_name(target.name + ABOUT), json.dumps(dict(self._about(clear))).encode())
        with clear.open("rb") as source, _created(temporary) as file:
            pyrage.encrypt_io(source, file, self._recipients)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
        clear.unlink()


class Sealed(OSError):
    """An encrypted recording that cannot be read, and why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.strerror = text


def opened(pieces: Iterable[bytes], identities: Sequence[Any]) -> Iterator[bytes]:
    """The clear bytes of what `pieces` are; raises `Sealed`, where the file is cut after what can be read of it."""
    if not identities:
        raise Sealed("is encrypted; name the file of an identity by --identity")
    reading, writing = os.pipe()
    failures: list[Exception] = []
    worker = threading.Thread(target=_decrypt, args=(pieces, identities, writing, failures), daemon=True)
    worker.start()
    try:
        while piece := os.read(reading, _PIECE):
            yield piece
    finally:
        os.close(reading)
        worker.join()
    if failures:
        raise Sealed(f"cannot be decrypted: {failures[0]}") from failures[0]


def _decrypt(pieces: Iterable[bytes], identities: Sequence[Any], writing: int, failures: list[Exception]) -> None:
    import pyrage

    with open(writing, "wb", buffering=0) as target:
        try:
            pyrage.decrypt_io(_Reader(pieces), target, list(identities))
        except Exception as error:  # noqa: BLE001 - the library's own; a reader that went away is one too
            failures.append(error)


class _Reader:
    """Pieces as the library wants to read them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._waiting = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._waiting:
            try:
                self._waiting = next(self._pieces)
            except StopIteration:
                return b""
        taken = self._waiting if size < 0 else self._waiting[:size]
        self._waiting = self._waiting[len(taken) :]
        return taken


def identities(path: Path) -> list[Any]:
    """The identities in a file: of age, one a line, or one SSH private key without a passphrase.

    Raises `ConfigError`.
    """
    pyrage = _package("reading this")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    try:
        if b"PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text)]
        lines = [line.strip() for line in text.decode().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise ConfigError(f"{path}: is no identity of age, and no SSH key without a passphrase") from None
    if not found:
        raise ConfigError(f"{path}: there is no identity in it")
    return found


def _recipient(text: str) -> Any:
    pyrage = _package("audit.recipients")
    try:
        if text.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(
            f"audit.recipients: {text[:40]!r} is no recipient ({error}); write age1… or an SSH public key",
            code=Code.CORE_CONFIG_ERROR,
        ) from None


def _package(what: str) -> Any:
    try:
        import pyrage
    except ImportError as cause:
        raise ConfigError(f"{what} {_NO_PACKAGE}", code=Code.CORE_CONFIG_ERROR) from cause
    return pyrage


@contextlib.contextmanager
def _created(path: Path) -> Iterator[Any]:
    """A new file for its owner alone; removed again if the block fails."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", _PIECE)
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with _created(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
