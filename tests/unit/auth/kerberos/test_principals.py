"""A principal is a name here only in a realm that is listed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.kerberos.principals import first_principal, is_plain, name_of

REALMS = {"EXAMPLE.COM"}
NAMES = {"mia/admin@EXAMPLE.COM": "root", "eve@EXAMPLE.COM": "", "joe@PARTNER.ORG": "joe-partner"}


@pytest.mark.parametrize(
    ("principal", "name"),
    [
        ("mia@EXAMPLE.COM", "mia"),
        ("mia@OTHER.ORG", None),
        ("mia@example.com", None),
        ("mia", None),
        ("@EXAMPLE.COM", None),
        ("bob/admin@EXAMPLE.COM", "bob/admin"),
        ("mia/admin@EXAMPLE.COM", "root"),
        ("eve@EXAMPLE.COM", None),
        ("joe@PARTNER.ORG", "joe-partner"),
        (r"mia\@EXAMPLE.COM@OTHER.ORG", None),
        (r"mia\@OTHER.ORG@EXAMPLE.COM", None),
        ("mia@OTHER.ORG@EXAMPLE.COM", None),
    ],
)
def test_names(principal: str, name: str | None) -> None:
    assert name_of(principal, realms=REALMS, names=NAMES) == name


@pytest.mark.parametrize(
    ("name", "plain"),
    [("mia", True), ("mia/admin", True), ("", False), ("mia@X", False), ("a\\b", False), ("a\nb", False)],
)
def test_a_name_of_ssh_cannot_choose_another_realm(name: str, plain: bool) -> None:
    assert is_plain(name) is plain


def entry(realm: bytes, *parts: bytes) -> bytes:
    body = len(parts).to_bytes(2, "big")
    for part in (realm, *parts):
        body += len(part).to_bytes(2, "big") + part
    return len(body).to_bytes(4, "big") + body


def test_the_first_key_of_a_keytab_is_found_behind_holes(tmp_path: Path) -> None:
    hole = (-5).to_bytes(4, "big", signed=True) + bytes(5)
    (tmp_path / "k").write_bytes(b"\x05\x02" + hole + entry(b"R", b"host", b"a.b") + entry(b"R", b"other"))
    assert first_principal(tmp_path / "k") == "host/a.b@R"


@given(st.binary(max_size=100))
def test_what_is_no_keytab_is_a_value_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.keytab"
    for content in (data, b"\x05\x02" + data):
        file.write_bytes(content)
        with contextlib.suppress(ValueError):
            assert "@" in first_principal(file)
