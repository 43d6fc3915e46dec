"""Who is let in to try, who is not, and that every count comes back to nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import AppConfig
from moorage.errors import Refused
from moorage.gateway.admission import Admission
from moorage.net.penalties import Cause


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admission(chance: float = 0.99, clock: Clock | None = None, **ssh: Any) -> Admission:
    config = AppConfig.model_validate({"ssh": ssh}).ssh
    return Admission(config, clock=clock or Clock(), chance=lambda: chance)


@pytest.mark.parametrize("key", ["maxConnections", "maxConnectionsPerSource", "maxStartupsPerSource"])
def test_a_limit_holds_until_a_ticket_comes_back(key: str) -> None:
    limit: dict[str, Any] = {key: 2}
    door = admission(**limit)
    tickets = [door.admit("192.0.2.1") for _ in range(2)]
    with pytest.raises(Refused, match=key):
        door.admit("192.0.2.1")
    tickets[0].give_back()
    tickets[0].give_back()
    door.admit("192.0.2.1")
    with pytest.raises(Refused, match=key):
        door.admit("192.0.2.1")


def test_sources_do_not_share_a_limit_and_networks_do() -> None:
    door = admission(maxConnectionsPerSource=1)
    door.admit("192.0.2.1")
    door.admit("192.0.2.2")
    door.admit("2001:db8::1")
    with pytest.raises(Refused):
        door.admit("2001:db8::2")


def test_startups_are_dropped_at_random_and_logins_make_room() -> None:
    starts = {"begin": 2, "rate": 50, "full": 4}
    lucky, unlucky = admission(0.99, maxStartups=starts), admission(0.1, maxStartups=starts)
    tickets = [lucky.admit("192.0.2.1") for _ in range(4)]
    with pytest.raises(Refused, match="maxStartups"):
        lucky.admit("192.0.2.9")
    tickets[0].authenticated()
    lucky.admit("192.0.2.9")
    for _ in range(2):
        unlucky.admit("192.0.2.1")
    with pytest.raises(Refused, match="maxStartups"):
        unlucky.admit("192.0.2.1")


def test_a_user_has_so_many_connections() -> None:
    door = admission(maxConnectionsPerUser=1)
    first, second = door.admit("192.0.2.1"), door.admit("192.0.2.2")
    assert first.take_user("mia")
    assert first.take_user("mia")
    assert not second.take_user("mia")
    assert second.take_user("ida")
    first.give_back()
    assert second.take_user("mia")
    assert not first.take_user("ida"), "it is gone"


def test_failures_lead_to_a_penalty_that_says_why_and_how_long() -> None:
    clock = Clock()
    door = admission(clock=clock)
    given = [door.admit("192.0.2.1").give_back(failures=1) for _ in range(3)]
    assert given[:2] == [None, None]
    assert given[2] is not None
    with pytest.raises(Refused) as refused:
        door.admit("192.0.2.1")
    assert refused.value.user_text == "Not allowed at this time: failed authentication. Try again in 15 seconds."
    door.admit("192.0.2.2")
    clock.now += 15
    door.admit("192.0.2.1")


def test_the_grace_time_is_what_it_costs_to_be_slow() -> None:
    clock = Clock()
    door = admission(clock=clock, loginGraceTime="10s", penalties={"min": "1s"})
    ticket = door.admit("192.0.2.1")
    clock.now += 10
    penalty = ticket.give_back()
    assert penalty is not None
    assert penalty.cause == "too slow authentication"


@pytest.mark.parametrize(
    ("failures", "fault", "cause", "seconds"),
    [
        (0, None, "no attempt to authenticate", 1),
        (0, Cause.PROTOCOL_ERROR, "broken handshake", 5),
        (2, Cause.PROTOCOL_ERROR, "failed authentication", 5),
        (2, Cause.INTERNAL_ERROR, "internal error", 90),
    ],
)
def test_each_cause_has_its_price(failures: int, fault: Cause | None, cause: str, seconds: float) -> None:
    door = admission(penalties={"min": "1s"})
    penalty = door.admit("192.0.2.1").give_back(failures=failures, fault=fault)
    assert penalty is not None
    assert (penalty.cause, penalty.seconds) == (cause, seconds)


def test_those_who_log_in_and_those_whom_we_end_and_the_exempt_are_never_penalised() -> None:
    door = admission(penalties={"min": "1s", "exempt": ["127.0.0.1/32"]})
    ticket = door.admit("192.0.2.1")
    ticket.authenticated()
    assert ticket.give_back(failures=5) is None
    assert door.admit("192.0.2.1").give_back(is_our_doing=True) is None
    assert door.admit("127.0.0.1").give_back(failures=5) is None
    assert door.admit("127.0.0.2").give_back(failures=5) is not None


def test_penalties_can_be_switched_off() -> None:
    door = admission(penalties={"enable": False, "min": "1s"})
    assert door.admit("192.0.2.1").give_back(failures=5) is None


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from(["", "mia", "ida"]))))
def test_every_count_comes_back_to_nothing(steps: list[tuple[int, bool, str]]) -> None:
    door = admission(maxConnectionsPerUser=2)
    tickets = []
    for number, is_in, user in steps:
        ticket = door.admit(f"192.0.2.{number}")
        tickets.append(ticket)
        if user and ticket.take_user(user) and is_in:
            ticket.authenticated()
    for ticket in tickets:
        ticket.give_back(is_our_doing=True)
    for tally in (door.starting, door.open, door.users):
        assert (tally.total, len(tally)) == (0, 0)
