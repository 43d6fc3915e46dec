"""What the guides about certificates and other authorities show can be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.parts.kdc import PASSWORD, Kdc, kdc

from moorage.auth import wire
from moorage.auth.certificates.judge import CertificateJudge
from moorage.auth.chain import AuthChain
from moorage.auth.usersfile import parse_users
from moorage.config import load_text
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def blocks(guide: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (GUIDES / guide).read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize("text", blocks("auth-certificates.md", "yaml"))
def test_every_configuration_and_users_file_can_be_used(text: str) -> None:
    if text.startswith("users:"):
        assert parse_users(text).by_name["mia"].principals == ("mia", "team-blue")
        return
    config = load_text(text, "config.yaml", look_at_files=False).config
    keys = tuple(entry for entry in config.auth.public_key.certificates.authorities if " " in entry)
    CertificateJudge(config.auth.public_key.certificates.model_copy(update={"authorities": keys, "revoked": ()}))


@pytest.mark.parametrize("text", blocks("auth-oauth2.md", "yaml"))
async def test_every_provider_of_the_guide_can_be_made(text: str) -> None:
    config = load_text(text, "config.yaml", look_at_files=False).config
    chain = AuthChain(config)
    assert list(chain.methods) == ["keyboard-interactive"]
    await chain.close()


@pytest.mark.parametrize("text", blocks("auth-kerberos.md", "yaml"))
async def test_kerberos_works_as_the_guide_shows(text: str, realm: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    text = text.replace("/etc/moorage/krb5.keytab", str(realm.keytab)).replace("/etc/krb5.conf", str(realm.config))
    config = load_text(text, "config.yaml").config
    chain = AuthChain(config)
    if config.auth.password.method:
        mia = Attempt(ConnectionId("0" * 32), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia")
        assert (await chain.password(mia, PASSWORD.encode())).success
    else:
        assert list(chain.methods) == ["gssapi-with-mic"]
    await chain.close()


@pytest.fixture(scope="module")
def realm() -> Iterator[Kdc]:
    with kdc() as running:
        yield running


def test_the_question_about_a_certificate_is_of_the_protocol() -> None:
    shown = json.loads(blocks("auth-certificates.md", "json")[0])
    attempt = Attempt(ConnectionId(shown["connectionId"]), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia")
    asked = wire.public_key_request(attempt, shown["publicKey"], shown["caCertificate"])
    assert json.loads(asked) == shown
    assert list(json.loads(asked)) == list(shown)


async def test_a_ticket_where_tickets_are_off_is_a_refusal() -> None:
    config = load_text("auth: {authz: {method: webhook, webhook: {url: 'http://127.0.0.1:9'}}}", "c.yaml").config
    chain = AuthChain(config)
    mia = Attempt(ConnectionId("0" * 32), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia")
    assert "gssapi-with-mic" not in chain.methods
    with pytest.raises(AuthError, match="gssapi-with-mic is not switched on"):
        await chain.ticket(mia, NotImplemented)
    await chain.close()


def test_every_test_that_the_page_on_security_names_is_there() -> None:
    page = (GUIDES.parent / "security.md").read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page))
    there = {
        name
        for file in GUIDES.parents[1].joinpath("tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_[a-z0-9_]+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 30
    assert named <= there, named - there
