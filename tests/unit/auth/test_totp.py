"""One-time passwords: the vectors of RFC 6238 and RFC 4226, drift, and that none counts twice."""

from __future__ import annotations

import pytest

from moorage.auth.totp import STEP, Codes, Secret

RFC = Secret(b"12345678901234567890")
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238(seconds: int, code: str) -> None:
    assert RFC.code(seconds // STEP) == code[-6:]


def test_the_vectors_of_rfc_4226() -> None:
    codes = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
    assert [RFC.code(counter) for counter in range(10)] == codes


@pytest.mark.parametrize(("drift", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_one_step(drift: int, good: bool) -> None:
    code = RFC.code(int(NOW) // STEP + drift)
    assert Codes().accepts("mia", RFC, code, now=NOW) is good


def test_a_code_counts_once_and_none_before_it_afterwards() -> None:
    codes, step = Codes(), int(NOW) // STEP
    assert codes.accepts("mia", RFC, RFC.code(step), now=NOW)
    assert not codes.accepts("mia", RFC, RFC.code(step), now=NOW)
    assert not codes.accepts("mia", RFC, RFC.code(step - 1), now=NOW)
    assert codes.accepts("bob", RFC, RFC.code(step), now=NOW), "another user's is another code"
    assert codes.accepts("mia", RFC, RFC.code(step + 1), now=NOW + STEP)


@pytest.mark.parametrize("given", ["", "12345", "1234567", "abcdef", "１２３４５６", "\0" * 6, "é" * 4000])
def test_what_is_no_code_is_refused(given: str) -> None:
    assert not Codes().accepts("mia", RFC, given, now=NOW)


def test_a_code_may_be_written_in_two_halves() -> None:
    code = RFC.code(int(NOW) // STEP)
    assert Codes().accepts("mia", RFC, f" {code[:3]} {code[3:]}\n", now=NOW)


def test_nobodys_code_is_never_the_one() -> None:
    assert not Codes().accepts("mia", None, RFC.code(int(NOW) // STEP), now=NOW)


def test_a_secret_is_read_as_it_is_shown_and_never_by_accident() -> None:
    assert Secret.parse(RFC.text) == RFC
    assert Secret.parse("gezd gnbv-GY3TQOJQGEZDGNBVGY3TQOJQ") == RFC
    assert RFC.text not in repr(RFC)
    assert Secret.fresh() != Secret.fresh()
    assert Secret.parse(Secret.fresh().text)


@pytest.mark.parametrize("text", ["", "GEZDGNBV", "0189", "GEZDGNBVGY3TQOJQ" * 8])
def test_a_secret_that_is_too_short_too_long_or_no_base32_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="one-time password"):
        Secret.parse(text)


def test_the_address_for_authenticators_is_escaped() -> None:
    url = RFC.url("mia & co", "A/B")
    assert url == f"otpauth://totp/A%2FB:mia%20%26%20co?secret={RFC.text}&issuer=A%2FB"
