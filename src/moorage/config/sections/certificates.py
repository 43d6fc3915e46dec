"""``auth.publicKey.certificates`` and ``auth.publicKey.fido``: OpenSSH certificates and security keys."""

from collections.abc import Iterator
from typing import Annotated

from moorage.config.disk import Disk
from moorage.config.section import EachOneOf, Finding, Section, shown

CERTIFICATE_SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class CertificatesConfig(Section):
    """OpenSSH user certificates. An addition."""

    authorities: tuple[str, ...] = ()
    """Whose certificates let users in: public keys (`ssh-ed25519 AAAA…`), or paths of files with one a line. With
    authorities, a certificate of anybody else is refused, and `auth.publicKey.method` may be empty; with the method
    `webhook` the webhook is asked as well. Without any, a certificate is for the webhook to judge."""

    principals: tuple[str, ...] = ("%u",)
    """Which principals of a certificate are good for a login: names with `*` and `?` for any characters and `%u` for
    the name given to SSH. By default the name itself. A user's `principals` in the users file come before this."""

    principals_file: str = ""
    """A file with a user's principals, one a line; `%u` in the path is the name given to SSH. Replaces `principals`;
    who has no such file is refused."""

    revoked: tuple[str, ...] = ()
    """Files of revoked keys and certificates: key revocation lists of `ssh-keygen -k`, or public keys, one a line.
    Read again when they change; while one cannot be read, no key gets in."""

    signature_algorithms: Annotated[tuple[str, ...], EachOneOf(CERTIFICATE_SIGNATURES, "signature algorithm")] = (
        CERTIFICATE_SIGNATURES
    )
    """What an authority may sign with. SHA-1 is not to be had."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        for index, entry in enumerate(self.authorities):
            if " " not in entry.strip() and (wrong := disk.file(entry)):
                yield Finding(("authorities", index), wrong, "give a public key or the path of a file with some")
        for index, path in enumerate(self.revoked):
            if wrong := disk.file(path):
                yield Finding(("revoked", index), wrong, "ssh-keygen -k -f FILE makes an empty list")
        for index, pattern in enumerate(self.principals):
            if not pattern:
                yield Finding(("principals", index), f"{shown(pattern)} fits no principal")
        if self.principals_file and "%u" not in self.principals_file:
            yield Finding(("principalsFile",), "the path is the same for every user", "write %u for the name")


class FIDOConfig(Section):
    """Security keys (`sk-…`). An addition."""

    touch_required: bool = False
    """Demand a touch even where a certificate says `no-touch-required`; all other keys need one anyway."""

    verify_required: bool = False
    """Demand that the key has verified its user, by a PIN or otherwise."""
