"""A real MIT KDC with a realm of its own (k5test), for the time of a block."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.parts import need

PASSWORD: Final = "pass-c4n4rybird"
_SETTINGS: Final = {"libdefaults": {"rdns": "false", "dns_canonicalize_hostname": "false", "forwardable": "true"}}


@dataclass
class Kdc:
    """A running realm.  It knows mia and mia/admin (by `PASSWORD`) and the hosts localhost and 127.0.0.1."""

    realm: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The realm's name."""
        return str(self.realm.realm)

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return Path(self.realm.tmpdir)

    @property
    def config(self) -> Path:
        """Its krb5.conf."""
        return self.directory / "krb5.conf"

    @property
    def keytab(self) -> Path:
        """The keys of the hosts."""
        return Path(self.realm.keytab)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for Kerberos programs."""
        return {str(name): str(value) for name, value in self.realm.env.items()}

    def kinit(self, principal: str, cache: Path, *options: str, password: str = PASSWORD) -> dict[str, str]:
        """Get tickets for `principal` into `cache`; the environment in which programs find them."""
        environment = {**os.environ, **self.environment, "KRB5CCNAME": f"FILE:{cache}"}
        done = subprocess.run(
            ["kinit", *options, principal],
            input=f"{password}\n".encode(),
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return environment

    def stop_kdc(self) -> None:
        """The KDC falls silent."""
        self.realm.stop_kdc()

    def start_kdc(self) -> None:
        """The KDC is there again."""
        self.realm.start_kdc()


@contextmanager
def kdc(name: str = "MOORAGE.TEST", settings: Mapping[str, Any] | None = None) -> Iterator[Kdc]:
    """A realm for the time of the block."""
    need.program("krb5kdc", "krb5-kdc")
    need.program("kadmin.local", "krb5-admin-server")
    need.program("kinit", "krb5-user")
    try:
        k5test: Any = importlib.import_module("k5test")
    except ImportError as error:
        need.missing(f"the Python packages gssapi and k5test ({error})")
    realm = k5test.K5Realm(
        realm=name,
        portbase=_free_ports(),
        krb5_conf={**_SETTINGS, **(settings or {})},
        create_user=False,
        create_host=False,
        get_creds=False,
    )
    try:
        for principal in ("mia", "mia/admin", "bob"):
            realm.addprinc(f"{principal}@{name}", PASSWORD)
        for host in sorted({"localhost", "127.0.0.1", socket.getfqdn()}):
            realm.addprinc(f"host/{host}@{name}")
            realm.extract_keytab(f"host/{host}@{name}", realm.keytab)
        yield Kdc(realm)
    finally:
        realm.stop()


def _free_ports() -> int:
    """The first of ten ports that nobody listens on, below those that systems give to clients."""
    for _ in range(100):
        first = 20000 + 10 * secrets.randbelow(1200)
        if all(_is_free(first + offset) for offset in range(10)):
            return first
    raise AssertionError("no ten free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
