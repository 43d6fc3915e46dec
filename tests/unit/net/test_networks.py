"""Sets of networks."""

from __future__ import annotations

import pytest

from moorage.net.networks import Networks


@pytest.mark.parametrize(
    ("host", "is_in"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_an_address_is_in_a_network_or_not(host: str, is_in: bool) -> None:
    assert (host in Networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])) is is_in


def test_no_networks_are_false_and_hold_nothing() -> None:
    assert not Networks([])
    assert "10.0.0.1" not in Networks([])


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError):
        Networks(["10.0.0.1/8"])
