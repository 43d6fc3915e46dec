"""``sshproxy``: guests on an SSH server behind this one."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import SecretStr

from moorage.config.disk import Disk
from moorage.config.section import AlsoCalled, Duration, EachOneOf, Finding, PrivateKey, Section, Within
from moorage.config.sections.names import SSH_HOST_KEY_ALGORITHMS
from moorage.config.sections.ssh import Ciphers, Kex, Macs, dead_ciphers, version_problem

_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


class SSHProxyConfig(Section):
    """The SSH proxy backend."""

    server: str = ""
    """The server's host name or address; required."""

    port: Annotated[int, Within(0, 65535)] = 22
    """The server's port."""

    username_pass_through: bool = False
    """Log in under the name that the client gave."""

    username: str = ""
    """The name to log in with; required unless passed through."""

    password: SecretStr = SecretStr("")
    """The password to log in with."""

    private_key: PrivateKey = SecretStr("")
    """The private key to log in with, PEM text or path, without a passphrase."""

    allowed_host_key_fingerprints: tuple[str, ...] = ()
    """Fingerprints of the server's host keys, `SHA256:…` as `ssh-keygen -l` shows them; at least one, unless there is
    `knownHosts`."""

    known_hosts: str = ""
    """A file of known hosts in OpenSSH's form, `@cert-authority` lines too, that vouches for the server's keys instead,
    or besides. An addition."""

    ciphers: Ciphers = None
    """Ciphers to ask for, best first. Unset: a modern list."""

    kex: Kex = None
    """Key exchange methods to ask for, best first. Unset: a modern list."""

    macs: Macs = None
    """Message authentication codes to ask for, best first. Unset: a modern list."""

    host_key_algos: Annotated[
        tuple[str, ...] | None,
        EachOneOf(SSH_HOST_KEY_ALGORITHMS, "host key algorithm"),
        AlsoCalled("hostKeyAlgorithms"),
    ] = None
    """Host key algorithms to accept, best first. Unset: a modern list."""

    timeout: Duration = timedelta(seconds=60)
    """How long connecting may take."""

    client_version: str = "SSH-2.0-ContainerSSH"
    """The identification line that the server sees (RFC 4253 §4.2)."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.server:
            yield Finding(("server",), "is required")
        if not self.username and not self.username_pass_through:
            yield Finding(("username",), "is required", "set it, or usernamePassThrough: true")
        private_key = self.private_key.get_secret_value()
        if private_key and (wrong := disk.private_key(private_key)):
            yield Finding(("privateKey",), wrong)
        if self.known_hosts:
            if wrong := disk.file(self.known_hosts):
                yield Finding(("knownHosts",), wrong)
        elif not self.allowed_host_key_fingerprints:
            yield Finding(("allowedHostKeyFingerprints",), "the list is empty", "ssh-keyscan HOST | ssh-keygen -lf -")
        for index, fingerprint in enumerate(self.allowed_host_key_fingerprints):
            if not _FINGERPRINT.fullmatch(fingerprint):
                mend = "write SHA256: and 43 characters, as ssh-keygen -l shows it"
                yield Finding(("allowedHostKeyFingerprints", index), "is not a SHA256 fingerprint", mend)
        yield from super().problems(disk)
        if self.timeout < timedelta(0):
            yield Finding(("timeout",), "must not be negative")
        if wrong := version_problem(self.client_version):
            yield Finding(("clientVersion",), wrong)

    def warnings(self) -> Iterator[Finding]:
        yield from dead_ciphers(self.ciphers)
