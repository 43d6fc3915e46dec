"""A real OpenLDAP server on the loopback, with a few users and groups."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from tests.parts import need

BASE = "dc=example,dc=org"
READER = f"cn=reader,{BASE}"
READER_PASSWORD = "reader-pw"

_CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
pidfile {directory}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile {directory}/ca.pem
TLSCertificateFile {directory}/server.pem
TLSCertificateKeyFile {directory}/server.key
database mdb
suffix "{base}"
rootdn "cn=admin,{base}"
rootpw admin-pw
directory {directory}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.base="{reader}" read by self read by * none
"""

_ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {reader_password}

dn: uid=mia,ou=people,{base}
objectClass: inetOrgPerson
objectClass: ldapPublicKey
uid: mia
cn: Mia
sn: M
mail: mia@example.org
userPassword: {password}

dn: uid=pat,ou=people,{base}
objectClass: inetOrgPerson
uid: pat
cn: Pat
sn: P
userPassword: {password}

dn: uid=twin,ou=people,{base}
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: {password}

dn: cn=twin,ou=groups,{base}
objectClass: inetOrgPerson
uid: twin
cn: twin
sn: T
userPassword: {password}

dn: cn=blue,ou=groups,{base}
objectClass: groupOfNames
cn: blue
member: uid=mia,ou=people,{base}

dn: cn=staff,ou=groups,{base}
objectClass: groupOfNames
cn: staff
member: uid=mia,ou=people,{base}
member: uid=pat,ou=people,{base}
"""


@dataclass(frozen=True)
class Slapd:
    """The running server."""

    port: int
    tls_port: int
    authority: str
    """The certificate that signed the server's, as PEM."""
    directory: Path

    @property
    def url(self) -> str:
        return f"ldap://localhost:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    def modify(self, ldif: str) -> None:
        """Change entries as the administrator."""
        command = ["ldapmodify", "-x", "-H", self.url, "-D", f"cn=admin,{BASE}", "-w", "admin-pw"]
        subprocess.run(command, input=ldif, text=True, check=True, capture_output=True, timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(password: str) -> Iterator[Slapd]:
    """A server for the length of the block; every user has `password`."""
    program = need.program("slapd", "slapd")
    for tool in ("slapadd", "ldapmodify"):
        need.program(tool, "slapd and ldap-utils")
    with tempfile.TemporaryDirectory(prefix="slapd-") as name:
        directory = Path(name)
        (directory / "data").mkdir()
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        (directory / "ca.pem").write_bytes(authority.cert_pem.bytes())
        (directory / "server.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (directory / "server.key").write_bytes(certificate.private_key_pem.bytes())
        config = directory / "slapd.conf"
        config.write_text(_CONFIG.format(directory=directory, base=BASE, reader=READER))
        entries = _ENTRIES.format(base=BASE, reader=READER, reader_password=READER_PASSWORD, password=password)
        load = [need.program("slapadd"), "-f", str(config)]
        subprocess.run(load, input=entries, text=True, check=True, capture_output=True, timeout=60)
        port, tls_port = _free_port(), _free_port()
        urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/"
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                [program, "-f", str(config), "-h", urls, "-d", "0"], stdout=log, stderr=log, cwd=directory
            )
            try:
                _await(process, port, tls_port)
                yield Slapd(port, tls_port, authority.cert_pem.bytes().decode(), directory)
            finally:
                process.terminate()
                process.wait(timeout=20)


def _await(process: subprocess.Popen[bytes], *ports: int) -> None:
    for port in ports:
        for _ in range(400):
            assert process.poll() is None, "slapd has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        else:
            pytest.fail(f"slapd does not listen on {port}")
