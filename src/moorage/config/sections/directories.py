"""``auth.pam``, ``auth.ldap``, ``auth.publicKey.authorizedKeys``: users that are kept elsewhere, without a webhook."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import SecretStr

from moorage.config.disk import Disk, is_inline_pem
from moorage.config.section import URL, AtLeast, Duration, Finding, OneOf, Section, shown

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class AuthorizedKeysConfig(Section):
    """A file of public keys for each user. An addition."""

    file: str = ""
    """An absolute path with `%u` where the user's name belongs, such as `/etc/moorage/keys/%u`. The files are written
    as `authorized_keys` of OpenSSH, with options; they are read for every login."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.file:
            yield Finding(("file",), "is required for the method authorizedKeys", "write a path with %u for the name")
        elif "%u" not in self.file:
            yield Finding(("file",), "the path is the same for every user", "write %u for the name")
        elif not self.file.startswith("/"):
            yield Finding(("file",), "the path is not absolute")


class PluginConfig(Section):
    """A part that another package brings. An addition."""

    name: str = ""
    """Its name in the entry point group `moorage.authenticators`, or for events `moorage.audit_sinks`."""

    settings: tuple[str, ...] = ()
    """What it is told, each as `key=value`. Not a place for secrets: name a file that holds them."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.name:
            yield Finding(("name",), "is required for a plugin")
        for index, entry in enumerate(self.settings):
            if not entry.partition("=")[1]:
                yield Finding(("settings", index), f"{shown(entry)} cannot be read", "write key=value")


class PAMConfig(Section):
    """The machine's own users and rules, by PAM. An addition."""

    service: str = "moorage"
    """The name of the file in `/etc/pam.d` that says which modules are asked."""

    directory: str = ""
    """A directory with service files instead of `/etc/pam.d`; needs Linux-PAM 1.4."""

    timeout: Annotated[Duration, AtLeast(timedelta(seconds=1))] = timedelta(minutes=1)
    """The longest that the modules may take, the user's answers included; at least 1s."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if not self.service or "/" in self.service or self.service.startswith("."):
            yield Finding(("service",), f"{shown(self.service)} is no name of a service")
        elif self.directory and (wrong := disk.file(f"{self.directory.rstrip('/')}/{self.service}")):
            yield Finding(("directory",), f"the service {shown(self.service)}: {wrong}")


class LDAPConfig(Section):
    """Users of an LDAP directory. An addition."""

    url: URL = ""
    """The server: `ldaps://host`, or `ldap://host` with `startTLS`, or `ldapi:///` for a unix socket. In clear text
    only the loopback is spoken to."""

    start_tls: bool = False
    """Switch to TLS before anything else is said (`ldap://` only)."""

    cacert: str = ""
    """Certificates, PEM text or path, that replace the system's authorities."""

    tls_version: Annotated[str, OneOf(("1.2", "1.3"), "TLS version")] = "1.2"
    """The lowest TLS version: `1.2` or `1.3`."""

    bind_dn: str = ""
    """Who looks users up; anonymous if it is empty."""

    bind_password: SecretStr = SecretStr("")
    """The password of `bindDN`."""

    user_dn: str = ""
    """The name of a user's entry, with `%u` for the name given to SSH: `uid=%u,ou=people,dc=example,dc=org`. If it is
    empty, users are searched for."""

    search_base: str = ""
    """Where users are searched for; below here, at any depth."""

    search_filter: str = "(uid=%u)"
    """Which entry is the user's; it also holds for `userDN`. Names are escaped: `(&(objectClass=person)(uid=%u))`."""

    username_attribute: str = "uid"
    """The attribute that holds a user's name; one of its values must be exactly the name given to SSH, because
    directories find `Mia` for `mia` as well. `sAMAccountName` for Active Directory."""

    group_base: str = ""
    """Where groups are searched for; empty: groups do not matter."""

    group_filter: str = "(member=%d)"
    """Which groups are the user's: `%d` is the name of his entry, `%u` the name given to SSH."""

    group_attribute: str = "cn"
    """The attribute of a group that is its name. The names are put into the metadata `LDAP_GROUPS`."""

    required_groups: tuple[str, ...] = ()
    """Groups of which a user has to be in one."""

    public_key_attribute: str = "sshPublicKey"
    """The attribute with `authorized_keys` lines, for `auth.publicKey.method: ldap`."""

    metadata: tuple[str, ...] = ()
    """Metadata of the login, each as `NAME=attribute`: `EMAIL=mail`."""

    timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=10)
    """The longest that all that a login asks may take; at least 100ms."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        parts = urlsplit(self.url)
        if parts.scheme not in {"ldap", "ldaps", "ldapi"}:
            yield Finding(("url",), "is required, and begins with ldap://, ldaps:// or ldapi://")
        elif parts.scheme == "ldap" and not self.start_tls and parts.hostname not in _LOOPBACK:
            yield Finding(("url",), "passwords would be sent in clear text", "write ldaps://, or set startTLS")
        elif parts.scheme != "ldap" and self.start_tls:
            yield Finding(("startTLS",), f"does not go with {parts.scheme}://", "write ldap:// or remove it")
        if self.cacert and (wrong := disk.certificates(self.cacert)):
            yield Finding(("cacert",), "the PEM text is no certificate" if is_inline_pem(self.cacert) else wrong)
        if not self.user_dn and not self.search_base:
            yield Finding(("searchBase",), "is required where there is no userDN")
        if self.user_dn and "%u" not in self.user_dn:
            yield Finding(("userDN",), "is the same for every user", "write %u for the name")
        if not self.user_dn and "%u" not in self.search_filter:
            yield Finding(("searchFilter",), "is the same for every user", "write %u for the name")
        if not self.username_attribute:
            yield Finding(("usernameAttribute",), "is empty", "name the attribute that holds the name, such as uid")
        if self.bind_dn and not self.bind_password.get_secret_value():
            yield Finding(("bindPassword",), "is required with bindDN")
        for index, entry in enumerate(self.metadata):
            if not all(entry.partition("=")):
                yield Finding(("metadata", index), f"{shown(entry)} cannot be read", "write NAME=attribute")
        if self.required_groups and not self.group_base:
            yield Finding(("groupBase",), "is required with requiredGroups")
