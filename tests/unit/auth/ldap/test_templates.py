"""A user's name is never more than a value in what a directory is asked."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.ldap import ber
from moorage.auth.ldap.templates import in_name, name_of, parse_filter


def equal(attribute: str, value: bytes) -> bytes:
    return ber.element(0xA3, ber.octets(attribute), ber.octets(value))


@given(st.text())
def test_a_name_in_a_filter_is_one_value_whatever_it_holds(name: str) -> None:
    made = parse_filter("(&(objectClass=person)(uid=%u))")({"u": name})
    assert made == ber.element(0xA0, equal("objectClass", b"person"), equal("uid", name.encode()))


@given(st.text(min_size=1))
def test_a_name_in_a_distinguished_name_is_read_back_as_it_was(name: str) -> None:
    escaped = in_name(name)
    assert re.fullmatch(r'(?:[^\\,+"<>;=#\x00]|\\00|\\[ \\,+"<>;=#])*', escaped, re.DOTALL)
    assert re.sub(r"\\(00|.)", lambda m: "\0" if m[1] == "00" else m[1], escaped, flags=re.DOTALL) == name
    assert not escaped.startswith(" ")


def test_what_a_name_holds_is_not_filled_again() -> None:
    assert name_of("uid=%u,ou=%u", "%u") == "uid=%u,ou=%u"
    assert parse_filter("(a=%u%d)")({"u": "%d", "d": "x"}) == equal("a", b"%dx")


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("(uid=a\\2ab)", equal("uid", b"a*b")),
        ("(mail=*)", ber.octets("mail", 0x87)),
        ("(!(a=b))", ber.element(0xA2, equal("a", b"b"))),
        ("(|(a=b) (c=d))", ber.element(0xA1, equal("a", b"b"), equal("c", b"d"))),
        ("(a>=1)", ber.element(0xA5, ber.octets("a"), ber.octets("1"))),
        (
            "(cn=a*b*c)",
            ber.element(
                0xA4,
                ber.octets("cn"),
                ber.element(ber.SEQUENCE, ber.octets("a", 0x80), ber.octets("b", 0x81), ber.octets("c", 0x82)),
            ),
        ),
        (
            "(memberOf:1.2.840.113556.1.4.1941:=cn=x)",
            ber.element(
                0xA9,
                ber.octets("1.2.840.113556.1.4.1941", 0x81),
                ber.octets("memberOf", 0x82),
                ber.octets("cn=x", 0x83),
            ),
        ),
    ],
)
def test_filters_are_read_as_rfc_4515_writes_them(text: str, encoded: bytes) -> None:
    assert parse_filter(text)({}) == encoded


@pytest.mark.parametrize(
    "text",
    ["", "uid=%u", "(uid=%u", "(uid=%u))", "(&(a=b)", "(!(a=b)(c=d))", "(a=\\zz)", "(a=((b))", "(:=x)", "(" * 99],
)
def test_what_is_no_filter_is_said_before_anybody_logs_in(text: str) -> None:
    with pytest.raises(ValueError):
        parse_filter(text)
