"""Countries of addresses, from files that are well made, of another kind, or broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.parts.mmdb import country, write_mmdb

from moorage.config.sections.geoip import GeoIPConfig
from moorage.errors import ConfigError
from moorage.net.geoip import Countries, countries

NETWORKS: dict[str, Any] = {
    "192.0.2.0/24": country("CH"),
    "198.51.100.128/25": country("NZ"),
    "2001:db8::/32": country("IS"),
    "203.0.113.0/24": {"registered_country": {"iso_code": "US"}},
    "203.0.114.0/24": {"country": {"iso_code": ""}},
    "203.0.115.0/24": {"country": {"iso_code": 'C"\n'}},
    "203.0.116.0/24": {"country": "CH"},
    "203.0.117.0/24": "CH",
}


@pytest.mark.parametrize("kind", ["GeoIP2-Country", "DBIP-Country-Lite", "GeoLite2-City"])
@pytest.mark.parametrize("record_size", [24, 32])
@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("192.0.2.7", "CH"),
        ("198.51.100.200", "NZ"),
        ("198.51.100.100", "XX"),
        ("2001:db8::1", "IS"),
        ("2001:db9::1", "XX"),
        ("::ffff:192.0.2.7", "XX"),  # addresses of connections are never written so
        ("203.0.113.1", "XX"),
        ("203.0.114.1", "XX"),
        ("203.0.115.1", "XX"),
        ("203.0.116.1", "XX"),
        ("203.0.117.1", "XX"),
        ("no address", "XX"),
        ("", "XX"),
    ],
)
def test_an_address_has_the_country_of_its_network_or_none(
    tmp_path: Path, kind: str, record_size: int, host: str, code: str
) -> None:
    found = Countries(str(write_mmdb(tmp_path / "c.mmdb", NETWORKS, kind=kind, record_size=record_size)))
    assert found(host) == code
    found.close()


def test_a_file_for_ipv4_alone_knows_no_ipv6(tmp_path: Path) -> None:
    found = Countries(str(write_mmdb(tmp_path / "c.mmdb", {"192.0.2.0/24": country("CH")}, ip_version=4)))
    assert (found("192.0.2.1"), found("2001:db8::1")) == ("CH", "XX")


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 4096])
def test_what_is_no_database_stops_the_start_and_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mmdb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"geoip\.maxmind-geoip2-file: .*broken\.mmdb is no MaxMind database"):
        Countries(str(path))


def test_a_file_broken_inside_costs_the_country_and_nothing_else(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "c.mmdb", NETWORKS)
    whole = bytearray(path.read_bytes())
    for index in range(0, len(whole) - 400, 7):
        whole[index] ^= 0xFF
    path.write_bytes(whole)
    found = Countries(str(path))
    assert all(found(f"192.0.2.{last}") in {"CH", "XX"} for last in range(256))


def test_after_an_update_of_the_file_the_new_one_counts_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "c.mmdb", {"192.0.2.0/24": country("CH")})
    found = Countries(str(path))
    write_mmdb(tmp_path / "new", {"192.0.2.0/24": country("AT")}).replace(path)
    assert found("192.0.2.1") == "CH"
    found.reopen()
    assert found("192.0.2.1") == "AT"
    (tmp_path / "bad").write_bytes(b"x")
    (tmp_path / "bad").replace(path)
    found.reopen()
    assert found("192.0.2.1") == "AT"


def test_a_closed_one_knows_nothing(tmp_path: Path) -> None:
    found = Countries(str(write_mmdb(tmp_path / "c.mmdb", NETWORKS)))
    found.close()
    found.close()
    assert found("192.0.2.7") == "XX"


def test_the_configuration_chooses(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "c.mmdb", NETWORKS)
    assert countries(GeoIPConfig())("192.0.2.7") == "XX"
    chosen = GeoIPConfig.model_validate({"provider": "maxmind", "maxmind-geoip2-file": str(path)})
    assert countries(chosen)("192.0.2.7") == "CH"
