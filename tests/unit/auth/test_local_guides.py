"""What the guide about users without a webhook shows can be used."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from moorage.auth.authorizedline import parse_line
from moorage.auth.chain import AuthChain
from moorage.config import load_text
from moorage.errors import ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "auth-local.md").read_text()
CONFIGURATIONS = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
LINES = re.findall(r"^.*ssh-ed25519 AAAA.*$", GUIDE, re.MULTILINE)


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's package, installed as far as Python can see."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    (tmp_path / "acme_auth.py").write_text(code)
    installed = tmp_path / "acme_auth-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-auth\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[moorage.authenticators]\nacme = acme_auth:authenticator\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_auth", raising=False)


async def test_the_package_of_the_guide_decides(acme: None) -> None:
    chain = AuthChain(load_text(CONFIGURATIONS[-1], "config.yaml").config)
    mia = Attempt(ConnectionId("0" * 32), Address("192.0.2.1", 1), "SSH-2.0-x", "mia")
    assert (await chain.password(mia, b"s3cret")).authenticated_username == "mia@example.org"
    assert not (await chain.password(mia, b"wrong")).success
    await chain.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: acme", "name: other"), "no package brings the authenticator 'other'; installed are: acme"),
        (("realm=", "region="), "cannot be used"),
        (("password:", "publicKey:"), "has no method public_key"),
    ],
)
async def test_an_authenticator_that_cannot_be_had_stops_the_start(
    acme: None, change: tuple[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        AuthChain(load_text(CONFIGURATIONS[-1].replace(*change), "config.yaml").config)


@pytest.mark.parametrize("text", CONFIGURATIONS)
async def test_every_configuration_makes_a_chain(acme: None, text: str) -> None:
    chain = AuthChain(load_text(text, "config.yaml", look_at_files=False).config)
    assert chain.methods
    await chain.close()


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_keys_is_honoured(line: str) -> None:
    assert parse_line(line).key.type == "ssh-ed25519"


def test_the_guide_shows_something() -> None:
    assert (len(CONFIGURATIONS), len(LINES)) == (6, 4)
