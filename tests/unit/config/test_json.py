"""JSON is strict about types and generous about the case of keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.config.conftest import Fail, Read

from moorage.config import ConfigProblems
from moorage.config.reading.json_reader import read_json as parse


def test_keys_match_in_any_case_and_the_exact_one_needs_no_luck(read_json: Read) -> None:
    config = read_json('{"SSH": {"LISTEN": ":1", "serverversion": "SSH-2.0-x"}}').config
    assert (config.ssh.listen, config.ssh.server_version) == (":1", "SSH-2.0-x")


def test_of_two_equal_keys_the_later_one_counts(read_json: Read) -> None:
    assert read_json('{"backend": "sshproxy", "Backend": "docker"}').config.backend == "docker"
    assert read_json('{"ssh": {"banner": "a"}, "ssh": {"listen": ":1"}}').config.ssh.banner == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"ssh": {"banner": 1}}', "ssh.banner: expected a text, found a number"),
        ('{"metrics": {"enable": "yes"}}', "metrics.enable: expected true or false, found a text"),
        ('{"sshproxy": {"port": "22"}}', "sshproxy.port: expected a whole number, found a text"),
        ('{"sshproxy": {"port": 22.0}}', "sshproxy.port: expected a whole number, found a number"),
        ('{"ssh": []}', "ssh: expected a map, found a list"),
        ('{"ssh": {"foo": 1}}', "ssh.foo: unknown key"),
    ],
)
def test_types_are_strict(fail_json: Fail, text: str, what: str) -> None:
    (problem,) = fail_json(text)
    assert what in problem


@pytest.mark.parametrize("written", ["90000000000", '"90s"', "9e10"])
def test_a_duration_is_nanoseconds_or_a_text(read_json: Read, written: str) -> None:
    config = read_json(f'{{"docker": {{"timeouts": {{"signal": {written}}}}}}}').config
    assert config.docker.timeouts.signal == timedelta(seconds=90)


def test_unknown_keys_are_passed_over_in_auth_and_docker_timeouts_with_a_warning(read_json: Read) -> None:
    loaded = read_json('{"auth": {"foo": 1, "password": {"bar": 2}}, "docker": {"timeouts": {"x": 1}}}')
    said = {str(w) for w in loaded.warnings if "ignored" in w.what}
    assert len(said) == 3
    assert any(":1:34: auth.password.bar: unknown key, ignored" in text for text in said)


def test_the_old_layout_is_found_in_any_case(read_json: Read) -> None:
    config = read_json('{"Auth": {"URL": "http://h", "PubKey": false}}').config
    assert (config.auth.password.webhook.url, config.auth.public_key.method) == ("http://h", "")


@pytest.mark.parametrize("text", ["null", "{}", "{} and more", '{"ssh": null}'])
def test_a_document_without_content_is_the_defaults(read_json: Read, text: str) -> None:
    assert read_json(text).config.model_fields_set == set()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "c.json: EOF"),
        ("[]", "c.json:1:1: expected a map, found a list"),
        ('{\n "a": \n}', "c.json:3:1: is not JSON: expected a value"),
        ('{"a" 1}', "expected a colon"),
        ('{"a": 1 "b": 2}', "expected a comma or a closing brace"),
        ("{a: 1}", "expected a key in double quotes"),
        ('{"a": "x\ny"}', "is not JSON: invalid control character"),
        ('{"a": 01}', "expected a comma"),
        ('{"a": 1,}', "expected a key"),
        ('{"a": [1,]}', "expected a value"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": ' + "1" * 5000 + "}", "expected a value"),
    ],
)
def test_what_is_not_json_is_one_problem_with_a_place(fail_json: Fail, text: str, what: str) -> None:
    (problem,) = fail_json(text)
    assert what in problem


@given(st.text(alphabet='{}[]":, \n0a\\u', max_size=60))
def test_any_text_is_a_value_or_a_problem(text: str) -> None:
    try:
        parse(text, "c.json")
    except ConfigProblems as error:
        one_problem_with_the_file = [problem.place.file for problem in error.problems]
    else:
        one_problem_with_the_file = ["c.json"]
    assert one_problem_with_the_file == ["c.json"]
