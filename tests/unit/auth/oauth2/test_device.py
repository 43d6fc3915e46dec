"""The pace of a device flow: no faster than the provider wants, and no longer than it makes sense."""

from __future__ import annotations

import pytest

from moorage.auth.oauth2.contract import Denied
from moorage.auth.oauth2.device import Pace
from moorage.codes import Code


def test_waiting_changes_nothing() -> None:
    pace = Pace(5)
    pace.answered("authorization_pending")
    assert pace.interval == 5


def test_slow_down_adds_five_seconds_each_time() -> None:
    pace = Pace(5)
    for wanted in (10, 15, 20):
        pace.answered("slow_down")
        assert pace.interval == wanted


def test_failures_double_the_pause_up_to_a_minute() -> None:
    pace = Pace(5)
    seen = []
    for _ in range(6):
        pace.failed()
        seen.append(pace.interval)
    assert seen == [10, 20, 40, 60, 60, 60]


@pytest.mark.parametrize(("given", "used"), [(0.001, 1), (1, 1), (1e6, 60)])
def test_an_interval_is_neither_none_nor_endless(given: float, used: float) -> None:
    assert Pace(given).interval == used


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", Code.AUTH_FAILED),
        ("expired_token", Code.AUTH_OAUTH2_TIMEOUT),
        ("unsupported_grant_type", Code.AUTH_OAUTH_UNSUPPORTED_GRANT_TYPE),
        ("incorrect_client_credentials", Code.OAUTH_INCORRECT_CLIENT_CREDENTIALS),
        ("invalid_client", Code.OAUTH_INCORRECT_CLIENT_CREDENTIALS),
        ("anything else", Code.AUTH_FAILED),
        ("", Code.AUTH_FAILED),
    ],
)
def test_every_other_answer_is_final(error: str, code: Code) -> None:
    with pytest.raises(Denied) as caught:
        Pace(5).answered(error)
    assert caught.value.code is code
