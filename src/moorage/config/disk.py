"""What a configuration refers to on disk: keys, certificates, files, directories.

A `Disk` answers with an empty string or with what is wrong, in words.  One that does
not look always answers "fine": for reading a configuration that is meant for another machine.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

PEM_MARK: Final = "-----"
MAX_PEM_BYTES: Final = 1024 * 1024
MAX_KUBECONFIG_BYTES: Final = 1024 * 1024


def is_inline_pem(value: str) -> bool:
    """True if `value` is a PEM text itself; anything else names a file."""
    return value.strip().startswith(PEM_MARK)


def read_pem(value: str) -> str:
    """The PEM text that `value` is, or that stands in the file which it names.

    Raises `OSError` if the file cannot be read and `ValueError` if it is not text or too large.
    """
    if is_inline_pem(value):
        return value
    # Opened without waiting: a named pipe must not hold everybody up.
    descriptor = os.open(value, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_PEM_BYTES + 1)
    if len(content) > MAX_PEM_BYTES:
        raise ValueError("the file is larger than 1 MiB")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("the file is not a PEM text") from None


class Disk:
    """Looks at what a configuration names; `look=False` takes everything as good."""

    def __init__(self, *, look: bool = True) -> None:
        self._look = look

    def certificates(self, value: str) -> str:
        """Is `value` (PEM or path) at least one certificate?"""
        if not self._look or (wrong := self._pem(value, "CERTIFICATE", "no certificate")):
            return wrong if self._look else ""
        import ssl

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=read_pem(value))
        except (ssl.SSLError, OSError, ValueError):
            return "the certificate is damaged"
        return ""

    def private_key(self, value: str) -> str:
        """Is `value` (PEM or path) a private key without a passphrase?"""
        if self._look and (wrong := self._pem(value, "PRIVATE KEY", "no private key")):
            return wrong
        if self._look and "ENCRYPTED" in read_pem(value):
            return "the private key is protected by a passphrase, which is not supported"
        return ""

    def key_pair(self, certificate: str, key: str) -> str:
        """Do `certificate` and `key` (PEM or path) belong together?"""
        if not self._look or self.certificates(certificate) or self.private_key(key):
            return ""  # each is reported at its own key
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # OpenSSL reads key pairs from files only; an anonymous one in memory keeps the key off the disk.
        anonymous = os.memfd_create("pair", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(anonymous), "w") as file:
                file.write(read_pem(certificate).rstrip("\n") + "\n" + read_pem(key))
            context.load_cert_chain(f"/proc/self/fd/{anonymous}", password=lambda: b"")
        except (ssl.SSLError, OSError, ValueError):
            return "certificate and key do not belong together, or are damaged"
        finally:
            os.close(anonymous)
        return ""

    def file(self, path: str) -> str:
        """Is `path` a file that can be read?"""
        if not self._look:
            return ""
        try:
            if stat.S_ISDIR(Path(path).stat().st_mode):
                return "is a directory, not a file"
        except OSError as error:
            return _said(error)
        return "" if os.access(path, os.R_OK) else "permission denied"

    def kubeconfig(self, path: str, context: str) -> str:
        """Is `path` a kubeconfig file that has `context`, or a current context if that is empty?"""
        if not self._look or (wrong := self.file(path)):
            return wrong if self._look else ""
        import yaml

        try:
            with Path(path).open("rb") as file:
                document = yaml.safe_load(file.read(MAX_KUBECONFIG_BYTES).decode())
        except (OSError, ValueError, yaml.YAMLError):
            return "is not a YAML file"
        if not isinstance(document, dict) or not isinstance(document.get("contexts"), list):
            return "is not a kubeconfig file: it has no list of contexts"
        names = [entry.get("name") for entry in document["contexts"] if isinstance(entry, dict)]
        name = context or document.get("current-context")
        if not name:
            return "has no current context"
        return "" if name in names else f"has no context {name!r}"

    def directory(self, path: str, *, writable: bool = False) -> str:
        """Is `path` a directory, and if asked, one that can be written to?"""
        if not self._look:
            return ""
        try:
            if not stat.S_ISDIR(Path(path).stat().st_mode):
                return "is not a directory"
        except OSError as error:
            return _said(error)
        return "is not writable" if writable and not os.access(path, os.W_OK | os.X_OK) else ""

    def _pem(self, value: str, kind: str, missing: str) -> str:
        if not self._look:
            return ""
        try:
            text = read_pem(value)
        except OSError as error:
            return f"the file cannot be read: {_said(error)}"
        except ValueError as error:
            return str(error)
        begins = any(line.startswith("-----BEGIN ") and kind in line for line in text.splitlines())
        where = "" if is_inline_pem(value) else " in the file"
        return "" if begins else f"there is {missing}{where}"


def _said(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()
