"""Patterns of forwarding: what they match, what they must not, and what is no pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import ConfigProblems, load_text
from moorage.config.targets import any_host, any_path, is_plain, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "host", "port", "matches"),
    [
        ("db.internal:5432", "db.internal", 5432, True),
        ("db.internal:5432", "DB.Internal.", 5432, True),
        ("db.internal:5432", "db.internal", 5433, False),
        ("db.internal:5432", "xdb.internal", 5432, False),
        ("*.internal:443", "a.b.internal", 443, True),
        ("*.internal:443", "internal", 443, False),
        ("*.internal:443", "x.internal.evil.example", 443, False),
        ("web?:80", "web1", 80, True),
        ("web?:80", "web10", 80, False),
        ("a*b*c:1", "aXbYc", 1, True),
        ("a*b*c:1", "abbbb", 1, False),
        ("*:80-443", "anything", 80, True),
        ("*:80-443", "10.0.0.1", 443, True),
        ("*:80-443", "", 443, True),
        ("*:80-443", "::1", 444, False),
        ("10.0.0.0/8:1-1024", "10.255.0.1", 22, True),
        ("10.0.0.0/8:1-1024", "11.0.0.1", 22, False),
        ("10.0.0.0/8:1-1024", "::ffff:10.1.2.3", 22, True),
        ("10.0.0.0/8:1-1024", "10.evil.example", 22, False),
        ("10.0.0.0/8:*", "10.1", 22, False),
        ("10.0.0.0/8:*", "0x0a000001", 22, False),
        ("10.0.0.0/8:*", "167772161", 22, False),
        ("127.0.0.1:*", "127.0.0.1", 0, True),
        ("127.0.0.1:*", "localhost", 80, False),
        ("localhost:1-65535", "localhost", 0, False),
        ("localhost:*", "127.0.0.1", 80, False),
        ("[::1]:*", "::1", 1, True),
        ("[::1]:*", "0:0:0:0:0:0:0:1", 1, True),
        ("[fd00::/8]:443", "fd12::1", 443, True),
        ("[fd00::/8]:443", "fe80::1", 443, False),
        ("*.internal:1", "a" * 300 + ".internal", 1, False),
        ("/run/app.sock", "/run/app.sock", 1, False),
    ],
)
def test_hosts_and_ports(pattern: str, host: str, port: int, matches: bool) -> None:
    assert any_host([pattern], host, port) is matches


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/run/app.sock", b"/run/app.sock", True),
        ("/run/app.sock", b"/run/app.sock2", False),
        ("/run/*.sock", b"/run/x.sock", True),
        ("/run/*.sock", b"/run/x/y.sock", False),
        ("/run/*/bus", b"/run/7/bus", True),
        ("/run/*/bus", b"/run/7/8/bus", False),
        ("/srv/**", b"/srv/a/b/c", True),
        ("/srv/**/s", b"/srv/s", True),
        ("/srv/**/s", b"/srv/a/b/s", True),
        ("/srv/**/a*/s", b"/srv/a/x/ab/s", True),
        ("/srv/**", b"/srv2/a", False),
        ("/srv/**", b"/srv/../etc/s", False),
        ("/srv/**", b"/srv//x", False),
        ("/srv/**", b"/srv/./x", False),
        ("/**", b"relative", False),
        ("/**", b"//x", False),
        ("/**", b"/a\0b", False),
        ("/**", b"/\xff\xfe", True),
        ("/**", b"", False),
        ("*:*", b"/run/x", False),
    ],
)
def test_paths(pattern: str, path: bytes, matches: bool) -> None:
    assert any_path([pattern], path) is matches


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("", "needs a host and a port"),
        ("localhost", "needs a host and a port"),
        (":80", "needs a host and a port"),
        ("localhost:", "a port is a number"),
        ("localhost:http", "a port is a number"),
        ("localhost:65536", "a port is a number"),
        ("localhost:-1", "a port is a number"),
        ("localhost:1-", "a port is a number"),
        ("localhost:9-1", "range of ports is empty"),
        ("localhost:\u0661", "a port is a number"),
        ("::1:80", "needs brackets"),
        ("[::1/8]:80", "host bits"),
        ("10.1.0.0/8:80", "host bits"),
        ("10.0.0.0/33:80", "no network"),
        ("[fd00::g]:80", "no network"),
        ("10.*:80", "write a network"),
        ("a b:80", "no host name"),
        ("a" * 300 + ":80", "no host name"),
        ("/run//x", "empty parts"),
        ("/run/../x", "empty parts"),
        ("/run/a**", "stands alone"),
    ],
)
def test_what_is_no_pattern(pattern: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_pattern(pattern)


def test_a_wrong_pattern_is_a_problem_of_the_configuration() -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_text(
            'security: {forwarding: {allowedTargets: ["a:1", nonsense], allowedListeners: ["/a/../b"]}}', "c.yaml"
        )
    assert [problem.key for problem in caught.value.problems] == [
        "security.forwarding.allowedTargets[1]",
        "security.forwarding.allowedListeners[0]",
    ]


@given(st.text(max_size=80), st.text(max_size=400), st.integers(0, 65535), st.binary(max_size=300))
def test_any_input_gets_an_answer(pattern: str, host: str, port: int, path: bytes) -> None:
    for text in (pattern, f"{pattern}:*", f"/{pattern}", "*a*b*c*d*e:*", "/**/*a*b/**/c"):
        try:
            parsed = parse_pattern(text)
        except ValueError:
            continue
        assert parsed == parse_pattern(text)
        any_host([text], host, port)
        any_path([text], path)


@given(st.binary(max_size=60))
def test_a_plain_path_has_one_spelling(path: bytes) -> None:
    if is_plain(path):
        assert not {b"", b".", b".."} & set(path[1:].split(b"/")) or path == b"/"


def test_hostile_names_take_no_time() -> None:
    pattern = "*a" * 50 + "b:*"
    assert not any_host([pattern], "a" * 255, 1)
