"""Signatures of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.webhook.signature import TOLERANCE, SignatureError, sign, verify

SECRET = b"sixteen characters"


def test_the_form_is_the_published_one() -> None:
    assert sign(b"secret", "password", b"{}", now=1767225600) == (
        "t=1767225600,v1=" + __import__("hmac").new(b"secret", b"1767225600.password.{}", "sha256").hexdigest()
    )


@given(st.binary(max_size=50), st.sampled_from(["password", "config"]), st.integers(0, 2**33))
def test_what_was_signed_passes_and_nothing_else(body: bytes, hook: str, now: int) -> None:
    header = sign(SECRET, hook, body, now=now)
    verify(SECRET, hook, body, header, now=now + TOLERANCE)
    for other in ((SECRET + b"x", hook, body), (SECRET, hook + "x", body), (SECRET, hook, body + b"x")):
        with pytest.raises(SignatureError, match="does not match"):
            verify(*other, header, now=now)
    for late in (now + TOLERANCE + 1, now - TOLERANCE - 1):
        with pytest.raises(SignatureError, match="away from now"):
            verify(SECRET, hook, body, header, now=late)


@pytest.mark.parametrize(
    "header", ["", "t=1", "v1=" + "0" * 64, "t=x,v1=" + "0" * 64, "t=1,v1=" + "0" * 63, "t=١,v1=" + "0" * 64]
)
def test_what_is_no_signature_is_said_to_be_none(header: str) -> None:
    with pytest.raises(SignatureError, match="no readable"):
        verify(SECRET, "password", b"", header)
