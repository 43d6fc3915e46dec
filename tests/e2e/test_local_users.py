"""Users that are kept outside of Moorage — files of keys, PAM, a directory — with OpenSSH's client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.clients import Client, make_key
from tests.e2e.conftest import Serve
from tests.e2e.places import PASSWORD
from tests.e2e.serving import CANARY
from tests.e2e.test_factors import log_in
from tests.parts.slapd import BASE, READER, READER_PASSWORD, Slapd, running


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A directory in which everybody has the password of these tests."""
    with running(PASSWORD) as server:
        yield server


def test_a_file_of_keys_lets_its_user_in_within_its_options(serve: Serve, tmp_path: Path) -> None:
    key, other = make_key(tmp_path / "key"), make_key(tmp_path / "other")
    directory = tmp_path / "keys"
    directory.mkdir()

    def authorize(options: str) -> None:
        path = directory / "mia"
        path.write_text(f"{options}{' ' if options else ''}{key.with_suffix('.pub').read_text()}")
        path.chmod(0o600)

    authorize("")
    auth = {"publicKey": {"method": "authorizedKeys", "authorizedKeys": {"file": f"{directory}/%u"}}}
    place = serve("sandbox", auth=auth)
    mia = Client(place.server.port, "mia", tmp_path, key=key)
    assert mia.run("echo in").stdout == b"in\n"
    assert replace(mia, key=other).run("echo in").returncode == 255
    assert replace(mia, user="pat").run("echo in").returncode == 255
    authorize('command="echo forced; echo $SSH_ORIGINAL_COMMAND"')
    assert mia.run("echo in").stdout == b"forced\necho in\n"
    authorize('expiry-time="20200101Z"')
    assert mia.run("echo in").returncode == 255
    authorize('from="192.0.2.0/24"')
    assert mia.run("echo in").returncode == 255
    reasons = [record["details"].get("reason", "") for record in place.server.records() if record["details"]]
    assert any("expired" in reason for reason in reasons)
    assert any("not for logins from 127.0.0.1" in reason for reason in reasons)


def test_pam_decides_about_passwords_and_asks_its_questions(serve: Serve, tmp_path: Path) -> None:
    check = tmp_path / "check"
    check.write_text(f'#!/bin/sh\nIFS= read -r given || true\n[ "$PAM_USER" = mia ] && [ "$given" = "{PASSWORD}" ]\n')
    check.chmod(0o755)
    services = tmp_path / "pam.d"
    services.mkdir()
    (services / "moorage").write_text(
        f"auth [success=1 default=ignore] pam_exec.so quiet expose_authtok {check}\n"
        "auth requisite pam_deny.so\nauth required pam_permit.so\naccount required pam_permit.so\n"
    )
    auth = {
        "pam": {"directory": str(services)},
        "password": {"method": "pam"},
        "keyboardInteractive": {"method": "pam"},
    }
    place = serve("sandbox", auth=auth)
    mia = Client(place.server.port, "mia", tmp_path, password=PASSWORD)
    assert mia.run("echo in").stdout == b"in\n"
    assert replace(mia, password=f"wrong-{CANARY}").run("echo in").returncode == 255
    assert replace(mia, user="root").run("echo in").returncode == 255
    asked = log_in(replace(mia, password=None), [PASSWORD], tmp_path, "PreferredAuthentications=keyboard-interactive")
    assert asked.stdout == b"in\n", asked.stderr


def test_a_directory_decides_about_passwords_and_keys(serve: Serve, slapd: Slapd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    line = key.with_suffix(".pub").read_text().strip()
    slapd.modify(f"dn: uid=mia,ou=people,{BASE}\nchangetype: modify\nadd: sshPublicKey\nsshPublicKey: {line}\n")
    directory = {
        "url": slapd.tls_url,
        "cacert": slapd.authority,
        "bindDN": READER,
        "bindPassword": READER_PASSWORD,
        "searchBase": f"ou=people,{BASE}",
        "groupBase": f"ou=groups,{BASE}",
        "requiredGroups": ["blue"],
    }
    auth = {"ldap": directory, "password": {"method": "ldap"}, "publicKey": {"method": "ldap"}}
    place = serve("sandbox", auth=auth)
    mia = Client(place.server.port, "mia", tmp_path, password=PASSWORD)
    assert mia.run("echo in").stdout == b"in\n"
    assert replace(mia, password=None, key=key).run("echo in").stdout == b"in\n"
    for user, password in (("mia", f"wrong-{CANARY}"), ("pat", PASSWORD), ("*", PASSWORD), ("Mia", PASSWORD)):
        assert replace(mia, user=user, password=password).run("echo in").returncode == 255
