"""The webhook protocol's bodies, compared byte for byte."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.auth import wire
from moorage.auth.wire import WrongAnswer
from moorage.gateway.model import Address, Attempt, ConnectionId, FileValue, Metadata, TextValue, Verdict
from moorage.net.http import NotJson, parse_json

ID = ConnectionId("8f0c6b2a4d5e4f709a1b2c3d4e5f6071")
MIA = Attempt(ID, Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", "mia")
ATTACHED = Metadata(
    {"team": TextValue("blue")}, {"TOKEN": TextValue("t0k", sensitive=True)}, {"/run/lic": FileValue(b"\0\1\2", True)}
)


def test_a_password_request() -> None:
    assert wire.password_request(MIA, b"s3cret") == (
        b'{"remoteAddress":"198.51.100.7:40122","connectionId":"8f0c6b2a4d5e4f709a1b2c3d4e5f6071",'
        b'"clientVersion":"SSH-2.0-OpenSSH_9.6","username":"mia","passwordBase64":"czNjcmV0"}\n'
    )


def test_a_public_key_request() -> None:
    putty = replace(MIA, remote_address=Address("2001:db8::5", 50222), client_version="SSH-2.0-PuTTY_0.80")
    assert wire.public_key_request(putty, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==") == (
        b'{"remoteAddress":"[2001:db8::5]:50222","connectionId":"8f0c6b2a4d5e4f709a1b2c3d4e5f6071",'
        b'"clientVersion":"SSH-2.0-PuTTY_0.80","username":"mia",'
        b'"publicKey":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="}\n'
    )


def test_an_authorisation_or_configuration_request() -> None:
    login = replace(MIA, username="root", authenticated_username="mia", metadata=ATTACHED)
    assert wire.login_request(login) == (
        b'{"remoteAddress":"198.51.100.7:40122","connectionId":"8f0c6b2a4d5e4f709a1b2c3d4e5f6071",'
        b'"metadata":{"team":{"value":"blue","sensitive":false}},'
        b'"environment":{"TOKEN":{"value":"t0k","sensitive":true}},'
        b'"files":{"/run/lic":{"value":"AAEC","sensitive":true}},'
        b'"clientVersion":"SSH-2.0-OpenSSH_9.6","username":"root","authenticatedUsername":"mia"}\n'
    )


def test_an_unknown_authenticated_name_is_left_out() -> None:
    assert b"authenticatedUsername" not in wire.login_request(MIA)


def test_maps_are_sorted_by_name() -> None:
    attached = Metadata(environment={name: TextValue("") for name in ("b", "é", "A", "a", "\U0001f600", "\uffff")})
    body = json.loads(wire.login_request(replace(MIA, metadata=attached)))
    assert list(body["environment"]) == ["A", "a", "b", "é", "\uffff", "\U0001f600"]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("<mia&co>", rb"\u003cmia\u0026co\u003e"),
        ('q"b\\', rb"q\"b\\"),
        ("nl\ncr\rtab\tbs\bff\f", rb"nl\ncr\rtab\tbs\bff\f"),
        ("nul\0esc\x1bdel\x7f", b"nul\\u0000esc\\u001bdel\x7f"),
        ("/slash'", b"/slash'"),
        ("ls\u2028ps\u2029", rb"ls\u2028ps\u2029"),
        ("Zoë 😀", "Zoë 😀".encode()),
        ("not\udcff\udc80utf8", rb"not\ufffd\ufffdutf8"),
        ("\ufffd", b"\xef\xbf\xbd"),
        ("", b""),
        ("x" * 10_000, b"x" * 10_000),
    ],
)
def test_texts_are_escaped_as_gos_encoder_does(name: str, sent: bytes) -> None:
    body = wire.password_request(replace(MIA, username=name), b"")
    assert b'"username":"' + sent + b'","passwordBase64":""}\n' in body


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_every_name_makes_one_line_of_json_that_any_parser_reads(name: str) -> None:
    body = wire.password_request(replace(MIA, username=name), b"")
    assert body.count(b"\n") == 1
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in name)
    assert json.loads(body)["username"] == expected


def test_only_what_is_secret_is_held_back() -> None:
    mixed = ATTACHED.merged(Metadata(environment={"LANG": TextValue("C")}, files={"/a": FileValue(b"")}))
    assert wire.has_sensitive(mixed)
    kept = wire.without_sensitive(mixed)
    assert kept == Metadata({"team": TextValue("blue")}, {"LANG": TextValue("C")}, {"/a": FileValue(b"")})
    assert not wire.has_sensitive(kept)


# Answers


def test_an_answer_with_everything() -> None:
    answer = parse_json(
        b'{"success":true,"authenticatedUsername":"mia",'
        b'"metadata":{"quota":{"value":"5","sensitive":false}},"environment":{"LANG":{"value":"C.UTF-8"}},'
        b'"files":{"/home/mia/.netrc":{"value":"bWFjaGluZQo=","sensitive":true}}}'
    )
    assert wire.read_verdict(answer) == Verdict(
        True,
        "mia",
        Metadata(
            {"quota": TextValue("5")},
            {"LANG": TextValue("C.UTF-8")},
            {"/home/mia/.netrc": FileValue(b"machine\n", True)},
        ),
    )


@pytest.mark.parametrize(
    ("answer", "success"),
    [
        (b'{"success":true}', True),
        (b'{"SUCCESS":true}', True),
        (b'{"success":true,"remoteAddress":"<nil>:0","connectionId":"","clientVersion":"","username":""}', True),
        (b'{"success":true,"remoteAddress":7,"hint":{"a":[1]}}', True),
        (b'{"success":true,"metadata":null,"environment":null,"files":null,"authenticatedUsername":null}', True),
        (b'{"success":true,"environment":{"A":null}}', True),
        (b'{"success":false}', False),
        (b'{"success":null}', False),
        (b"{}", False),
        (b'{"success":true,"success":false}', False),
        (b'{"success":true,"Success":false}', False),
        (b'{"success":false,"authenticatedUsername":"root","environment":{"A":{"value":"b"}}}', False),
        (b'{"Success":false,"success":true}', True),
        (b'{"success":false} {"success":true}', False),
    ],
)
def test_yes_is_yes_and_everything_else_no(answer: bytes, success: bool) -> None:
    verdict = wire.read_verdict(parse_json(answer))
    assert verdict.success is success
    if not success:
        assert verdict == Verdict(False)


@pytest.mark.parametrize(
    "answer",
    [
        b"null",
        b"true",
        b"[]",
        b'"success"',
        b'{"success":"true"}',
        b'{"success":1}',
        b'{"success":[]}',
        b'{"success":true,"authenticatedUsername":7}',
        b'{"success":true,"metadata":[]}',
        b'{"success":true,"metadata":{"a":"b"}}',
        b'{"success":true,"metadata":{"a":{"value":1}}}',
        b'{"success":true,"metadata":{"a":{"value":"","sensitive":"no"}}}',
        b'{"success":true,"files":{"/a":{"value":"!"}}}',
        b'{"success":true,"files":{"/a":{"value":"YQ"}}}',
        b'{"success":true,"files":{"/a":{"value":[1,2]}}}',
        b'{"success":true,"files":{"":{"value":""}}}',
        b'{"success":true,"files":{"/\\u0000":{"value":""}}}',
        b'{"success":true,"environment":{"":{"value":""}}}',
        b'{"success":true,"environment":{"A=B":{"value":""}}}',
        b'{"success":true,"environment":{"A":{"value":"\\u0000"}}}',
    ],
)
def test_an_answer_of_another_form_is_no_answer(answer: bytes) -> None:
    with pytest.raises(WrongAnswer):
        wire.read_verdict(parse_json(answer))


def test_base64_may_be_broken_into_lines() -> None:
    answer = {"success": True, "files": {"/a": {"value": "bWFj\r\naGluZQo=\n"}}}
    assert wire.read_verdict(answer).metadata.files["/a"].value == b"machine\n"


def test_an_error_quotes_no_value() -> None:
    with pytest.raises(WrongAnswer) as caught:
        wire.read_verdict({"success": True, "files": {"/s3cret": {"value": "s3cret!"}}})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "config"),
    [
        ({"config": {"backend": "docker"}}, {"backend": "docker"}),
        ({"Config": {}}, {}),
        ({"config": None}, {}),
        ({}, {}),
    ],
)
def test_a_configuration_answer(answer: object, config: object) -> None:
    assert wire.read_config(answer) == config


@pytest.mark.parametrize("answer", [[], {"config": []}, {"config": "docker"}, {"config": True}])
def test_a_configuration_of_another_form_is_no_answer(answer: object) -> None:
    with pytest.raises(WrongAnswer):
        wire.read_config(answer)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "success",
                    "SUCCESS",
                    "metadata",
                    "environment",
                    "files",
                    "value",
                    "sensitive",
                    "authenticatedUsername",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(_JSON)
def test_no_answer_is_a_yes_that_does_not_say_true(answer: object) -> None:
    try:
        verdict = wire.read_verdict(answer)
    except WrongAnswer:
        return
    assert isinstance(answer, dict)
    said = [value for name, value in answer.items() if name.lower() == "success" and value is not None]
    assert verdict.success is (bool(said) and said[-1] is True)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_login_that_do_not_say_true(body: bytes) -> None:
    with contextlib.suppress(NotJson, WrongAnswer):
        assert b"true" in body or not wire.read_verdict(parse_json(body)).success


def test_a_hook_may_demand_further_methods() -> None:
    answer = {"success": True, "furtherMethods": ["keyboard-interactive"]}
    assert wire.read_verdict(answer).further == ("keyboard-interactive",)
    assert wire.read_verdict({"success": False, "furtherMethods": ["password"]}) == Verdict(False)


@pytest.mark.parametrize("further", ["password", ["telepathy"], [1], {"a": 1}, ["password"] * 5])
def test_a_demand_that_could_never_be_met_is_no_answer(further: object) -> None:
    with pytest.raises(WrongAnswer, match="furtherMethods"):
        wire.read_verdict({"success": True, "furtherMethods": further})
