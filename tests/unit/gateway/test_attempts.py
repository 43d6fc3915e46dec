"""Several factors: nothing is accepted before the last one, and what is proved counts for one name only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import structlog

from moorage.config import AppConfig
from moorage.errors import AuthError
from moorage.gateway import events
from moorage.gateway.admission import Admission
from moorage.gateway.attempts import Attempts, Outcome
from moorage.gateway.contract import Ask, TicketExchange
from moorage.gateway.model import Address, Attempt, ConnectionId, Metadata, Prompt, Round, TextValue, Verdict

KEYS = ("ssh-ed25519 AAAA", "ssh-ed25519 BBBB")
PEER = Address("192.0.2.7", 40000)


@dataclass
class Authenticator:
    """Everybody's keys, password and code are the right ones; each says that it was asked."""

    lists: Sequence[Sequence[str]] = ()
    further: tuple[str, ...] = ()
    authorized: bool = True
    broken: bool = False
    taken_back: list[Metadata] = field(default_factory=list)
    asked: list[tuple[str, Attempt]] = field(default_factory=list)
    methods: Sequence[str] = ("publickey", "password", "keyboard-interactive")

    def _answer(self, what: str, attempt: Attempt, success: bool, further: tuple[str, ...] = ()) -> Verdict:
        self.asked.append((what, attempt))
        return Verdict(success, metadata=Metadata({what: TextValue("yes")}), further=further)

    async def password(self, attempt: Attempt, password: bytes) -> Verdict:
        return self._answer("password", attempt, password == b"right", self.further)

    async def public_key(self, attempt: Attempt, key: str) -> Verdict:
        return self._answer("key", attempt, key in KEYS)

    async def ticket(self, attempt: Attempt, exchange: TicketExchange) -> Verdict:
        raise AuthError("tickets are not tested here")

    async def keyboard_interactive(self, attempt: Attempt, ask: Ask) -> Verdict:
        (code,) = await ask(Round(prompts=(Prompt("Code: "),)))
        return self._answer("code", attempt, code == "123456")

    async def required(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        if self.broken:
            raise AuthError("the users are out")
        return self.lists if attempt.username != "root" else [("keyboard-interactive",)]

    async def ended(self, metadata: Metadata) -> None:
        self.taken_back.append(metadata)

    async def authorize(self, attempt: Attempt) -> Verdict:
        return self._answer("authorize", attempt, self.authorized)

    async def close(self) -> None:
        pass


class Tried:
    """The attempts of one connection, and the events that they caused."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.config = AppConfig()
        self.told: list[events.AuthAttempted] = []
        self.attempts = Attempts(
            Attempt(ConnectionId("ab" * 16), PEER, "SSH-2.0-x", ""),
            authenticator,
            Admission(self.config.ssh).admit(PEER.host),
            config=lambda: self.config,
            emit=self._told,
            log=structlog.get_logger(),
        )

    def _told(self, event: events.Event) -> None:
        if isinstance(event, events.QuestionsAsked | events.QuestionsAnswered):
            return
        assert isinstance(event, events.AuthAttempted)
        self.told.append(event)


async def right_code(shown: Round) -> Sequence[str]:
    return ["123456"]


async def test_no_method_alone_is_enough_where_a_list_demands_two() -> None:
    authenticator = Authenticator(lists=[("publickey", "password")])
    tried = Tried(authenticator)
    attempts = tried.attempts
    assert await attempts.password("mia", b"right") is Outcome.REFUSED
    assert [what for what, _ in authenticator.asked] == [], "nobody is asked about a method that is not due"
    assert attempts.methods == ("publickey",)
    assert await attempts.key_verified("mia", KEYS[0]) is Outcome.PARTIAL
    assert attempts.accepted is None
    assert attempts.methods == ("password",)
    assert await attempts.password("mia", b"right") is Outcome.ACCEPTED
    assert attempts.accepted is not None
    assert [what for what, _ in authenticator.asked] == ["key", "password", "authorize"]
    assert [(event.method, event.success, event.further) for event in tried.told] == [
        ("password", False, ()),
        ("publickey", True, ("password",)),
        ("password", True, ()),
    ]


async def test_later_services_are_told_what_the_earlier_ones_said() -> None:
    authenticator = Authenticator(lists=[("publickey", "password")])
    attempts = Tried(authenticator).attempts
    await attempts.key_verified("mia", KEYS[0])
    await attempts.password("mia", b"right")
    assert set(authenticator.asked[1][1].metadata.metadata) == {"key"}
    assert attempts.accepted is not None
    assert set(attempts.accepted[1].metadata.metadata) == {"key", "password", "authorize"}


async def test_another_name_begins_anew() -> None:
    attempts = Tried(Authenticator(lists=[("publickey", "password")])).attempts
    assert await attempts.key_verified("mia", KEYS[0]) is Outcome.PARTIAL
    assert await attempts.password("bob", b"right") is Outcome.REFUSED
    assert await attempts.password("mia", b"right") is Outcome.REFUSED
    assert attempts.accepted is None


async def test_names_have_lists_of_their_own() -> None:
    attempts = Tried(Authenticator()).attempts
    await attempts.begin("root")
    assert attempts.methods == ("keyboard-interactive",)
    assert await attempts.keyboard_interactive("root", right_code) is Outcome.ACCEPTED


async def test_two_keys_must_be_two() -> None:
    attempts = Tried(Authenticator(lists=[("publickey", "publickey")])).attempts
    assert await attempts.key_verified("mia", KEYS[0]) is Outcome.PARTIAL
    assert not await attempts.public_key("mia", KEYS[0])
    assert await attempts.key_verified("mia", KEYS[0]) is Outcome.REFUSED
    assert await attempts.key_verified("mia", KEYS[1]) is Outcome.ACCEPTED


async def test_the_key_that_signed_is_the_one_that_counts() -> None:
    """As in CVE-2024-45337: the good key is only offered, another one signs."""
    authenticator = Authenticator()
    attempts = Tried(authenticator).attempts
    assert await attempts.public_key("mia", KEYS[0])
    assert not await attempts.public_key("mia", "ssh-ed25519 EVIL")
    assert await attempts.public_key("mia", KEYS[0])
    assert await attempts.key_verified("mia", "ssh-ed25519 EVIL") is Outcome.REFUSED
    assert attempts.accepted is None


async def test_a_service_may_demand_one_more() -> None:
    attempts = Tried(Authenticator(further=("keyboard-interactive",))).attempts
    assert await attempts.password("mia", b"right") is Outcome.PARTIAL
    assert attempts.methods == ("keyboard-interactive",)
    assert await attempts.keyboard_interactive("mia", right_code) is Outcome.ACCEPTED


async def test_an_authorization_that_is_refused_lets_the_last_factor_be_tried_again() -> None:
    authenticator = Authenticator(lists=[("publickey", "password")], authorized=False)
    attempts = Tried(authenticator).attempts
    await attempts.key_verified("mia", KEYS[0])
    assert await attempts.password("mia", b"right") is Outcome.REFUSED
    assert attempts.accepted is None
    authenticator.authorized = True
    assert await attempts.password("mia", b"right") is Outcome.ACCEPTED


@pytest.mark.parametrize("method", ["password", "publickey"])
async def test_nobody_gets_in_while_it_is_not_known_what_is_demanded(method: str) -> None:
    authenticator = Authenticator(broken=True)
    tried = Tried(authenticator)
    if method == "password":
        assert await tried.attempts.password("mia", b"right") is Outcome.REFUSED
    else:
        assert await tried.attempts.key_verified("mia", KEYS[0]) is Outcome.REFUSED
    assert authenticator.asked == []
    assert not tried.told[0].available
    authenticator.broken = False
    assert await tried.attempts.password("mia", b"right") is Outcome.ACCEPTED


async def test_keys_that_are_offered_before_they_are_due_do_not_use_up_the_tries() -> None:
    attempts = Tried(Authenticator(lists=[("password", "publickey")])).attempts
    before = attempts.tries_left()
    for number in range(10):
        assert not await attempts.public_key("mia", f"ssh-ed25519 {number}")
    assert attempts.tries_left() == before
    assert await attempts.password("mia", b"right") is Outcome.PARTIAL
    assert await attempts.key_verified("mia", KEYS[0]) is Outcome.ACCEPTED
