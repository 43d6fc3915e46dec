"""The server's host keys: read from the configuration, or made once and kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import asyncssh
import structlog
from asyncssh.public_key import SSHOpenSSHCertificate
from pydantic import SecretStr

from moorage.codes import Code
from moorage.errors import ConfigError

HostKeys = Sequence[asyncssh.SSHKey]
HostCertificate = tuple[asyncssh.SSHKey, SSHOpenSSHCertificate]

_LARGEST: Final = 64 * 1024
"""Bytes of a host key file that are read."""

_MADE: Final[Sequence[tuple[str, str, dict[str, Any]]]] = (
    ("ed25519", "ssh-ed25519", {}),
    ("rsa", "ssh-rsa", {"key_size": 3072}),
)
"""Every client knows one of them, and no auditor objects to either."""

_ALSO_KEPT: Final = ("ecdsa",)
"""Used where there is one already."""

HOST_CERTIFICATE: Final = 2  # the certificate's type, PROTOCOL.certkeys of OpenSSH


def host_keys(configured: Sequence[SecretStr], directory: Path) -> HostKeys:
    """The host keys to use: those of the configuration or, where there are none, those kept in `directory`.

    Raises `ConfigError` for a key that cannot be used and for two keys of one type.
    """
    if not configured:
        return _kept(directory)
    keys: list[asyncssh.SSHKey] = []
    for index, entry in enumerate(configured):
        key = _configured(f"ssh.hostkeys[{index}]", entry.get_secret_value().strip())
        for other, known in enumerate(keys):
            if known.algorithm == key.algorithm:
                raise ConfigError(
                    f"ssh.hostkeys[{index}] is a second key of type {key.algorithm.decode()} "
                    f"beside ssh.hostkeys[{other}]; keep one of them"
                )
        keys.append(key)
    return keys


def host_certificates(configured: Sequence[str], keys: HostKeys) -> Sequence[HostCertificate]:
    """The certificates to show, each with the host key that it is for.

    Each entry is a file's path, or the certificate as such a file has it.  Raises `ConfigError` for what is no host
    certificate in force or is for none of `keys`.
    """
    found = []
    for index, entry in enumerate(configured):
        where, text = f"ssh.hostCertificates[{index}]", entry.strip()
        if "-cert-v01@openssh.com " not in text:
            where, text = f"{where} ({text})", _read(where, Path(text)).decode("utf-8", "replace")
        try:
            certificate = cast("SSHOpenSSHCertificate", asyncssh.import_certificate(text))
            certificate.validate(HOST_CERTIFICATE, (certificate.principals or [""])[0])  # any name of a host will do
        except (asyncssh.KeyImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{where} is no host certificate in force: {error}") from error
        key = next((key for key in keys if key.public_data == certificate.key.public_data), None)
        if key is None:
            raise ConfigError(f"{where} is for none of the host keys; sign the public half of one that is used")
        found.append((key, certificate))
    return found


def public_lines(keys: HostKeys) -> Sequence[str]:
    """The public halves, each as type and base64, as a known_hosts file has them."""
    return [" ".join(key.export_public_key("openssh").decode().split()[:2]) for key in keys]


def _configured(where: str, value: str) -> asyncssh.SSHKey:
    if not value:
        raise ConfigError(f"{where} is empty; give a PEM text or the path of a file")
    if value.startswith("-----"):
        return _key(where, value.encode())
    return _key(f"{where} ({value})", _read(where, Path(value)))


def _read(where: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise ConfigError(f"{where}: {path} cannot be read: {error.strerror}") from error


def _key(where: str, text: bytes, *, is_ours: bool = False) -> asyncssh.SSHKey:
    """The key in `text`.  The primes of an RSA key that we made ourselves are not tested again: that takes 0.2 s."""
    try:
        key = asyncssh.import_private_key(text, unsafe_skip_rsa_key_validation=is_ours)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if "assphrase" in str(error):
            raise ConfigError(f"{where} is protected by a passphrase, which is not supported") from error
        raise ConfigError(f"{where} is not a private key: {error}") from error
    if key.algorithm == b"ssh-dss":
        raise ConfigError(f"{where} is a DSA key, which no current client accepts; use ed25519, ecdsa or rsa")
    return key


def _kept(directory: Path) -> HostKeys:
    keys = []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, algorithm, options in _MADE:
            path = directory / f"ssh_host_{name}_key"
            if not path.exists():
                _make(path, algorithm, options)
            keys.append(_key(str(path), _read("host key", path), is_ours=True))
        for name in _ALSO_KEPT:
            path = directory / f"ssh_host_{name}_key"
            if path.exists():
                keys.append(_key(str(path), _read("host key", path), is_ours=True))
    except OSError as error:
        raise ConfigError(
            f"host keys cannot be kept in {directory}: {error.strerror}; make it writable or set ssh.hostkeys",
            code=Code.CORE_HOST_KEY_GENERATION_FAILED,
        ) from error
    return keys


def _make(path: Path, algorithm: str, options: dict[str, Any]) -> None:
    """Make a key at `path`, whole or not at all; a key that appeared meanwhile stays."""
    key = asyncssh.generate_private_key(algorithm, **options)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key("openssh"))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    structlog.get_logger().info(
        "A host key was made", code=Code.CORE_NO_HOST_KEYS, path=str(path), fingerprint=key.get_fingerprint()
    )
