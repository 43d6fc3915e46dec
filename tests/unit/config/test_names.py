"""Attributes are the snake case of the keys, and names have no typing errors."""

from __future__ import annotations

import re

import pytest

from moorage.config import AppConfig
from moorage.config.reading.shape import SectionKind, shape_of
from moorage.config.section import Section, without_password
from moorage.config.sections import names


def test_every_attribute_is_the_snake_case_of_its_key() -> None:
    def check(section: type[Section]) -> None:
        for entry in shape_of(section).entries.values():
            key = entry.key.replace("require2FA", "require2fa").replace("-", "_")
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower().replace("require2fa", "require_2fa")
            assert entry.attribute == snake
            if isinstance(entry.kind, SectionKind):
                check(entry.kind.section)

    check(AppConfig)


def test_every_spelling_of_a_suite_leads_to_its_iana_name() -> None:
    spellings = names.TLS_SUITE_SPELLINGS
    iana = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"
    assert {spellings[name] for name in (iana, "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_CHACHA20_POLY1305")} == {
        iana
    }
    assert set(names.DEFAULT_TLS_SUITES) <= set(spellings)


def test_every_algorithm_that_old_files_name_is_accepted() -> None:
    assert {"aes128-cbc", "arcfour256", "arcfour128", "arcfour", "tripledescbcID"} <= set(names.SSH_CIPHERS)
    assert {"diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"} <= set(names.SSH_KEX)
    assert {"hmac-sha1", "hmac-sha1-96"} <= set(names.SSH_MACS)
    assert {"ssh-rsa", "ssh-dss", "ssh-dss-cert-v01@openssh.com"} <= set(names.SSH_HOST_KEY_ALGORITHMS)


def test_facilities_and_levels_stand_at_the_numbers_of_syslog() -> None:
    assert (names.SYSLOG_FACILITIES[4], names.SYSLOG_FACILITIES[16], len(names.SYSLOG_FACILITIES)) == (
        "auth",
        "local0",
        24,
    )
    assert (names.LOG_LEVELS[5], names.LOG_LEVELS[7]) == ("notice", "debug")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@h/x?y", "http://**********@h/x?y"),
        ("http://p@h", "http://**********@h"),
        ("http://a@b@h", "http://**********@h"),
        ("http://h/a@b", "http://h/a@b"),
        ("http://h?a@b", "http://h?a@b"),
        ("no url", "no url"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
