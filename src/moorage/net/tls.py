"""TLS contexts from inline PEM; no private key ever touches a disk.

What Python's ssl module cannot express is said, not passed over: `unhonoured` names it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_CURVES: Final = {
    "x25519": "X25519",
    "X25519": "X25519",
    "secp256r1": "prime256v1",
    "prime256v1": "prime256v1",
    "secp384r1": "secp384r1",
    "secp521r1": "secp521r1",
}
"""Names in the configuration and in OpenSSL."""

_SUITES_13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


def _suites_12() -> Mapping[str, str]:
    suites: dict[str, str] = {}
    for key in ("RSA", "ECDSA"):
        for iana, openssl in (
            ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
            ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
            ("CHACHA20_POLY1305", "CHACHA20-POLY1305"),
        ):
            name = f"ECDHE-{key}-{openssl}"
            for alias in (f"TLS_ECDHE_{key}_WITH_{iana}", f"TLS_ECDHE_{key}_{iana}", name):
                suites[alias] = name
    return suites


_SUITES_12: Final = _suites_12()
"""Each suite's IANA, GnuTLS and OpenSSL names, and its name in OpenSSL."""

_LARGEST_PEM: Final = 1024 * 1024


def client_context(
    *,
    ca: str = "",
    certificate: str = "",
    key: str = "",
    version: str = "1.2",
    curves: Sequence[str] = (),
    ciphers: Sequence[str] = (),
) -> ssl.SSLContext:
    """A client context that trusts `ca` alone (or the system, if empty) and shows the client certificate if given.

    `version` is the least that is spoken.  Certificates in `ca` are trusted as they stand, be they roots or not.
    Raises `ValueError` if a text or a name cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    _set_parameters(context, version, curves, ciphers)
    try:
        if ca:
            context.load_verify_locations(cadata=ca)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        else:
            context.load_default_certs()
    except (OSError, ValueError) as cause:
        raise ValueError(f"the CA certificate cannot be used: {_reason(cause)}") from cause
    if certificate or key:
        _load_pair(context, "client certificate", certificate, key)
    return context


def server_context(
    *,
    certificate: str,
    key: str,
    client_ca: str = "",
    version: str = "1.2",
    curves: Sequence[str] = (),
    ciphers: Sequence[str] = (),
) -> ssl.SSLContext:
    """A server context that shows `certificate` (a chain, if need be); with `client_ca` every client must show one too.

    Otherwise as `client_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_parameters(context, version, curves, ciphers)
    _load_pair(context, "certificate", certificate, key)
    if client_ca:
        try:
            context.load_verify_locations(cadata=client_ca)
        except (OSError, ValueError) as cause:
            raise ValueError(f"the CA certificate cannot be used: {_reason(cause)}") from cause
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def unhonoured(*, curves: Sequence[str], ciphers: Sequence[str]) -> list[str]:
    """One sentence for each wish that a context of `client_context` does not fulfil to the letter."""
    sentences = []
    wanted = {_CURVES[name] for name in curves if name in _CURVES}
    if 1 < len(wanted) < len(set(_CURVES.values())) and not hasattr(ssl.SSLContext, "set_groups"):
        sentences.append(
            "curves: this Python can choose one curve or leave the choice to OpenSSL, not a part of the list; "
            "OpenSSL's own list is in force"
        )
    if ciphers and not set(_SUITES_13) <= set(ciphers) and set(_SUITES_13) & set(ciphers):
        sentences.append("cipher: the suites of TLS 1.3 cannot be chosen; all of them stay in force")
    return sentences


def pem_text(value: str) -> str:
    """`value` itself if it is PEM text (it begins with dashes), otherwise the content of the file that it names.

    Raises `ValueError` that names the file if it cannot be read.
    """
    if not value.strip() or value.lstrip().startswith("-----"):
        return value.strip()
    try:
        with Path(value).open("rb") as file:
            content = file.read(_LARGEST_PEM + 1)
    except (OSError, ValueError) as cause:
        raise ValueError(f"the file {value} cannot be read: {_reason(cause)}") from cause
    if len(content) > _LARGEST_PEM:
        raise ValueError(f"the file {value} is too large to be PEM")
    return content.decode("utf-8", "replace").strip()


def _set_parameters(context: ssl.SSLContext, version: str, curves: Sequence[str], ciphers: Sequence[str]) -> None:
    if version not in _VERSIONS:
        raise ValueError(f"the TLS version {version!r} is unknown; known are 1.2 and 1.3")
    context.minimum_version = _VERSIONS[version]
    if unknown := [name for name in curves if name not in _CURVES]:
        raise ValueError(f"the curve {unknown[0]!r} is unknown; known are {', '.join(_CURVES)}")
    if unknown := [name for name in ciphers if name not in _SUITES_12 and name not in _SUITES_13]:
        raise ValueError(f"the cipher suite {unknown[0]!r} is unknown")
    wanted = list(dict.fromkeys(_CURVES[name] for name in curves))
    if hasattr(context, "set_groups") and wanted:
        context.set_groups(":".join(wanted))
    elif len(wanted) == 1:
        context.set_ecdh_curve(wanted[0])
    if older := list(dict.fromkeys(_SUITES_12[name] for name in ciphers if name in _SUITES_12)):
        context.set_ciphers(":".join(older))
    elif ciphers:
        # Only suites of TLS 1.3 are wanted, so there is nothing to agree on below it.
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _load_pair(context: ssl.SSLContext, what: str, certificate: str, key: str) -> None:
    # The ssl module reads certificate chains from files only: an anonymous memory file is one.
    if not certificate or not key:
        raise ValueError(f"a {what} and its key go together; one of them is missing")
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(f"{certificate.strip()}\n{key.strip()}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_passphrase)
    except (OSError, ValueError) as cause:
        raise ValueError(f"the {what} and key cannot be used: {_reason(cause)}") from cause
    finally:
        os.close(descriptor)


def _refuse_passphrase() -> NoReturn:
    raise ValueError("the key is protected by a passphrase, which nobody could type")


def _reason(cause: Exception) -> str:
    if isinstance(cause, ssl.SSLError):
        return cause.reason or str(cause)
    return cause.strerror or str(cause) if isinstance(cause, OSError) else str(cause)
