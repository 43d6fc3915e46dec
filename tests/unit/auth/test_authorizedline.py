"""Lines of authorized_keys: every option is honoured or refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.authorizedline import parse_line
from moorage.gateway.model import Restrictions

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
NOTHING = {"terminal": False, "forwarding": False, "x11_forwarding": False, "agent_forwarding": False}


@pytest.mark.parametrize(
    ("options", "restrictions"),
    [
        ("restrict", Restrictions(**NOTHING)),  # type: ignore[arg-type]
        ("restrict,pty", Restrictions(**{**NOTHING, "terminal": True})),  # type: ignore[arg-type]
        ("no-pty", Restrictions(terminal=False)),
        ("no-port-forwarding,no-X11-forwarding", Restrictions(forwarding=False, x11_forwarding=False)),
        ("NO-AGENT-FORWARDING", Restrictions(agent_forwarding=False)),
        ("no-user-rc", Restrictions()),
        ('command="/bin/backup --all"', Restrictions(force_command="/bin/backup --all")),
        ('command="echo \\"a, b\\" # x",no-pty', Restrictions(force_command='echo "a, b" # x', terminal=False)),
        ('permitopen="db:5432",permitopen="[::1]:*"', Restrictions(targets=("db:5432", "[::1]:*"))),
        ('permitlisten="8080"', Restrictions(listeners=("localhost:8080",))),
        ("verify-required", Restrictions(verify_required=True)),
        ("no-touch-required", Restrictions(touch_required=False)),
    ],
)
def test_options_restrict_the_login(options: str, restrictions: Restrictions) -> None:
    read = parse_line(f"{options} {KEY} mia@laptop")
    assert read.restrictions == restrictions
    assert read.key.comment == "mia@laptop"


def test_a_line_without_options_restricts_nothing() -> None:
    assert parse_line(KEY).restrictions == Restrictions()


def test_environment_is_attached_and_the_first_of_a_name_counts() -> None:
    read = parse_line(f'environment="A=1",environment="A=2",environment="B=x=y" {KEY}')
    assert {name: text.value for name, text in read.metadata.environment.items()} == {"A": "1", "B": "x=y"}


@pytest.mark.parametrize(
    ("sources", "host", "is_good"),
    [
        ("192.0.2.0/24", "192.0.2.9", True),
        ("192.0.2.0/24", "198.51.100.1", False),
        ("192.0.2.*", "192.0.2.9", True),
        ("192.0.2.?", "192.0.2.10", False),
        ("192.0.2.0/24,!192.0.2.9", "192.0.2.9", False),
        ("!192.0.2.9", "192.0.2.8", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:DB8::1", "2001:db8:0::1", True),
        ("192.0.2.0/24", "2001:db8::1", False),
    ],
)
def test_from_names_where_a_login_may_come_from(sources: str, host: str, is_good: bool) -> None:
    assert (parse_line(f'from="{sources}" {KEY}').refusal(host, 0) == "") is is_good


@pytest.mark.parametrize(
    ("text", "seconds"), [("20300101Z", 1893456000), ("203001010000Z", 1893456000), ("20300101000030Z", 1893456030)]
)
def test_expiry_time_ends_a_key(text: str, seconds: int) -> None:
    key = parse_line(f'expiry-time="{text}" {KEY}')
    assert key.refusal("192.0.2.1", seconds - 1) == ""
    assert "expired" in key.refusal("192.0.2.1", seconds)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("cert-authority", "authorities"),
        ('cert-authority,principals="a"', "authorities"),
        ('tunnel="1"', "tunnel"),
        ("no-such-option", "not known"),
        ('restrict="x"', "takes no value"),
        ("command", "needs a value"),
        ("command=/bin/ls", "double quotes"),
        ('command="a",command="b"', "twice"),
        ('from="host.example.org"', "not looked up"),
        ('from="192.0.2.1/24"', "host bits"),
        ('from=""', "empty pattern"),
        ('expiry-time="tomorrow"', "YYYYMMDD"),
        ('expiry-time="20301301Z"', "no date"),
        ('permitopen="/run/x"', "host:port"),
        ('permitopen="db"', "host:port"),
        ('environment="=x"', "NAME=value"),
        ('command="unclosed', "double quotes"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(options: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_line(f"{options} {KEY}")


@given(st.text(max_size=200))
def test_no_line_breaks_the_reader_or_becomes_a_key(text: str) -> None:
    with pytest.raises(ValueError):
        parse_line(f"x{text}".replace("ssh-ed25519", ""))
