"""Strangers get in by rules, each source for itself, and nothing grows without a bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moorage.auth import honeypot
from moorage.auth.honeypot import Honeypot
from moorage.config.sections.honeypot import HoneypotConfig
from moorage.errors import ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId


class Pauses:
    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def made(**config: Any) -> Honeypot:
    return Honeypot(HoneypotConfig.model_validate(config), sleep=Pauses())


async def tries(pot: Honeypot, *pairs: str, host: str = "192.0.2.7") -> list[bool]:
    found = []
    for pair in pairs:
        name, _, password = pair.partition(":")
        attempt = Attempt(ConnectionId("0" * 32), Address(host, 1), "SSH-2.0-x", name)
        found.append((await pot.password(attempt, password.encode("utf-8", "surrogateescape"))).success)
    return found


async def test_by_default_everything_gets_in() -> None:
    assert await tries(made(), "root:x", "a:", "\udcff:\udcfe") == [True, True, True]


async def test_patterns_say_who_gets_in_and_who_never_does() -> None:
    pot = made(accept=["root:*", "admin:adm?n", "*:123456"], refuse=["root:root", "*:secret"])
    assert await tries(pot, "root:x", "root:root", "admin:admin", "admin:adn", "pi:123456", "root:secret") == [
        *(True, False, True, False, True, False)
    ]
    assert await tries(made(accept=["r[o]ot:x"]), "root:x", "r[o]ot:x") == [True, False]


async def test_the_nth_try_of_a_source_gets_in_and_what_got_in_gets_in_again() -> None:
    pot = made(fromTry=3)
    assert await tries(pot, "a:1", "a:2", "a:3", "a:3") == [False, False, True, True]
    assert await tries(pot, "a:3", "a:3", host="192.0.2.8") == [False, False]


async def test_a_file_has_pairs_to_be_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"root:*\npi:rasp:berry\r\nno pair\n\xff:\xfe\n")
    pot = made(accept=[], acceptFile=str(path))
    assert await tries(pot, "root:x", "root:*", "pi:rasp:berry", "\udcff:\udcfe") == [False, True, True, True]
    with pytest.raises(ConfigError, match=r"auth\.honeypot\.acceptFile"):
        made(acceptFile=str(tmp_path / "none"))


@pytest.mark.parametrize("accepted", [True, False])
async def test_keys_get_in_only_if_that_is_wished(accepted: bool) -> None:
    attempt = Attempt(ConnectionId("0" * 32), Address("192.0.2.7", 1), "SSH-2.0-x", "root")
    assert (await made(acceptKeys=accepted).public_key(attempt, "ssh-ed25519 AAAA")).success is accepted


async def test_answers_take_their_time() -> None:
    pauses = Pauses()
    pot = Honeypot(HoneypotConfig.model_validate({"delay": "1s"}), sleep=pauses)
    await tries(pot, "a:b")
    assert pauses.asked == [1.0]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honeypot, "MOST_SOURCES", 10)
    pot = made()
    for number in range(50):
        await tries(pot, *(f"a:{one}" for one in range(20)), host=f"192.0.2.{number}")
    assert len(pot._sources) == 10
    assert all(len(source.pairs) <= honeypot.MOST_PAIRS for source in pot._sources.values())
    assert b"a:1" not in b"".join(pair for source in pot._sources.values() for pair in source.pairs)
    await pot.close()
    assert len(pot._sources) == 0
