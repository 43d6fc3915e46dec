"""Keys from one file for each user."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.auth.lines import captured_log

from moorage.auth.keyfiles import AuthorizedKeys
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFub3RoZXIga2V5IG9mIHRoZSB0ZXN0cy4uLi4u"
MIA = Attempt(ConnectionId("0" * 32), Address("192.0.2.1", 1), "SSH-2.0-x", "mia")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "mia").write_text(f"# keys of mia\n\n{OTHER} other\nrestrict,pty {KEY} laptop\n")
    (tmp_path / "mia").chmod(0o644)
    return tmp_path


async def test_the_keys_of_a_user_are_those_of_his_file(directory: Path) -> None:
    keys = AuthorizedKeys(f"{directory}/%u")
    verdict = await keys.public_key(MIA, KEY)
    assert (verdict.success, verdict.authenticated_username) == (True, "mia")
    assert (verdict.restrictions.terminal, verdict.restrictions.forwarding) == (True, False)
    assert (await keys.public_key(MIA, OTHER)).success
    (directory / "mia").write_text(f"{OTHER}\n")
    assert not (await keys.public_key(MIA, KEY)).success


@pytest.mark.parametrize("name", ["pat", "", ".", "..", "../mia", "mia/", "mia\0", "mia\n", "x" * 10_000, "MIA", "míа"])
async def test_a_name_leads_to_its_own_file_or_to_none(directory: Path, name: str) -> None:
    keys = AuthorizedKeys(f"{directory}/%u")
    assert not (await keys.public_key(replace(MIA, username=name), KEY)).success


async def test_a_key_is_good_where_one_of_its_lines_is(directory: Path) -> None:
    (directory / "mia").write_text(f'from="198.51.100.0/24" {KEY}\nexpiry-time="20200101Z" {KEY}\n')
    keys = AuthorizedKeys(f"{directory}/%u")
    refused = await keys.public_key(MIA, KEY)
    assert (refused.success, "expired" in refused.reason) == (False, True)
    assert (await keys.public_key(replace(MIA, remote_address=Address("198.51.100.9", 1)), KEY)).success


async def test_a_line_that_cannot_be_honoured_lets_nobody_in_and_is_logged(directory: Path) -> None:
    (directory / "mia").write_text(f'tunnel="0" {KEY}\n{OTHER}\n')
    keys = AuthorizedKeys(f"{directory}/%u")
    with captured_log() as lines:
        assert not (await keys.public_key(MIA, KEY)).success
        assert (await keys.public_key(MIA, OTHER)).success
    assert "line 1" in str(lines)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622])
async def test_a_file_that_others_may_write_is_not_believed(directory: Path, mode: int) -> None:
    (directory / "mia").chmod(mode)
    with pytest.raises(AuthError, match="others than its owner"):
        await AuthorizedKeys(f"{directory}/%u").public_key(MIA, KEY)


async def test_what_is_no_file_of_a_sensible_size_is_not_read(directory: Path) -> None:
    keys = AuthorizedKeys(f"{directory}/%u")
    os.mkfifo(directory / "pipe", 0o600)
    (directory / "huge").write_bytes(b"#" * (1024 * 1024 + 1))
    (directory / "huge").chmod(0o600)
    (directory / "latin").write_bytes(b"\xff")
    (directory / "latin").chmod(0o600)
    for name in ("pipe", "huge", "latin"):
        with pytest.raises(AuthError):
            await keys.public_key(replace(MIA, username=name), KEY)


@pytest.mark.parametrize("pattern", ["", "keys/%u", "/etc/keys"])
def test_a_pattern_without_a_place_for_the_name_stops_the_start(pattern: str) -> None:
    with pytest.raises(ConfigError, match="authorizedKeys"):
        AuthorizedKeys(pattern)
