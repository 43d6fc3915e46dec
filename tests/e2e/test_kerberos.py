"""Kerberos: OpenSSH with tickets of a real KDC, and passwords that it checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients import Client, Done
from tests.e2e.conftest import Serve
from tests.e2e.hooks import hooks, say
from tests.e2e.places import Place
from tests.e2e.serving import Server
from tests.parts.kdc import PASSWORD, Kdc, kdc

OPTIONS = ("GSSAPIAuthentication=yes", "PreferredAuthentications=gssapi-with-mic", "GSSAPIKeyExchange=no")


@pytest.fixture(scope="module")
def realm() -> Iterator[Kdc]:
    """A KDC with mia, mia/admin and bob."""
    with kdc() as running:
        yield running


@pytest.fixture
def _replay_cache(realm: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5RCACHEDIR", str(realm.directory))


def kerberos(realm: Kdc, **more: Any) -> dict[str, Any]:
    """A method that asks this realm."""
    block = {"keytab": str(realm.keytab), "configPath": str(realm.config), "timeout": "30s", **more}
    return {"method": "kerberos", "kerberos": block}


class Ticketed(Client):
    """A client with Kerberos tickets."""

    tickets: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.tickets}


def with_tickets(realm: Kdc, place: Place, cache: Path, principal: str = "mia", *options: str) -> Ticketed:
    """A client whose user has called kinit."""
    client = Ticketed(place.server.port, "mia", place.user.directory, options=OPTIONS)
    client.tickets = {}
    if principal:
        client.tickets = {n: v for n, v in realm.kinit(principal, cache, *options).items() if n.startswith("KRB5")}
    return client


pytestmark = pytest.mark.usefixtures("_replay_cache")


def test_a_ticket_gets_in_without_a_password(backend: str, serve: Serve, realm: Kdc, tmp_path: Path) -> None:
    place = serve(backend, auth={"gssapi": kerberos(realm)})
    mia = with_tickets(realm, place, tmp_path / "mia")
    assert mia.run("echo in").stdout == b"in\n"
    assert replace_user(mia, "bob").run("echo in").returncode == 255
    assert with_tickets(realm, place, tmp_path / "none", "").run("echo in").returncode == 255
    log = place.server.log()
    assert "KRB_USERNAME_DOES_NOT_MATCH" in log


def replace_user(client: Ticketed, user: str) -> Ticketed:
    """The same tickets, another name."""
    other = replace(client, user=user)
    other.tickets = client.tickets
    return other


SEE = 'test "$(stat -c %u:%a "${KRB5CCNAME#FILE:}")" = "$(id -u):600" && head -c 2 "${KRB5CCNAME#FILE:}" | od -An -tx1'


def test_delegated_tickets_are_in_the_guest_and_nobody_elses(
    backend: str, serve: Serve, realm: Kdc, tmp_path: Path
) -> None:
    place = serve(backend, auth={"gssapi": kerberos(realm)})
    mia = with_tickets(realm, place, tmp_path / "mia", "mia", "-f")
    done: Done = mia.run(SEE, options=["GSSAPIDelegateCredentials=yes"])
    assert done.stdout.split() == [b"05", b"04"], done
    assert mia.run('echo "[$KRB5CCNAME]"').stdout == b"[]\n", "without delegation there are none"


def test_a_password_is_checked_by_the_kdc(backend: str, serve: Serve, realm: Kdc) -> None:
    place = serve(backend, auth={"password": kerberos(realm)})
    mia = replace(place.user, user="mia", key=None, password=PASSWORD)
    assert mia.run(SEE).stdout.split() == [b"05", b"04"]
    for refused in (replace(mia, password="wrong-c4n4rybird"), replace(mia, user="eve")):
        done = refused.run("echo in")
        assert (done.returncode, done.stdout) == (255, b"")
    realm.stop_kdc()
    try:
        assert mia.run("echo in").returncode == 255
    finally:
        realm.start_kdc()
    codes = [record["code"] for record in place.server.records()]
    assert "KRB_BACKEND_ERROR" in codes
    assert "SSH_AUTH_UNAVAILABLE" in codes


def test_hooks_hear_who_it_is_and_not_the_tickets(serve: Serve, realm: Kdc, tmp_path: Path) -> None:
    with hooks() as hook:
        hook.answers["/authz"] = lambda _: say(success=True)
        authz = {"method": "webhook", "webhook": {"url": hook.url}}
        names = [{"principal": f"mia/admin@{realm.name}", "name": "root"}]
        gssapi = kerberos(realm, enforceUsername=False, principals=names)
        place = serve("sandbox", auth={"gssapi": gssapi, "authz": authz})
        admin = with_tickets(realm, place, tmp_path / "admin", "mia/admin", "-f")
        assert admin.run("echo in", options=["GSSAPIDelegateCredentials=yes"]).stdout == b"in\n"
        (asked,) = hook.requests("/authz")
    assert asked["authenticatedUsername"] == "root"
    assert asked["metadata"]["KERBEROS_PRINCIPAL"]["value"] == f"mia/admin@{realm.name}"
    assert "files" not in asked


def test_a_keytab_that_is_missing_stops_the_start(realm: Kdc, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", {"backend": "sandbox", "auth": {"gssapi": kerberos(realm, keytab="/nowhere")}})
    with pytest.raises(AssertionError, match=r"auth\.gssapi\.kerberos\.keytab"):
        server.start()
    server.end()
