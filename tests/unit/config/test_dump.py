"""What is written down is read back as the same, and secrets are hidden unless asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.config.conftest import Fail, Read

from moorage.config import AppConfig, ConfigProblems, dump, load_text, overlay
from moorage.config.rendering import plain

SECRET = "s3cr3t-value"
FULL = f"""
ssh: {{hostkeys: ["-----BEGIN {SECRET}"], banner: "line one\\nline two\\n"}}
configserver: {{url: "https://user:{SECRET}@h/x", cert: /c, key: "-----BEGIN {SECRET}"}}
auth:
  keyboardInteractive: {{oauth2: {{clientSecret: {SECRET}, github: {{key: "-----BEGIN {SECRET}"}}}}}}
  password: {{method: webhook, webhook: {{url: "http://:{SECRET}@h"}}}}
audit: {{s3: {{secretKey: {SECRET}}}}}
docker:
  connection: {{key: "-----BEGIN {SECRET}"}}
  execution: {{auth: {{password: {SECRET}, auth: {SECRET}, identitytoken: {SECRET}, registrytoken: {SECRET}}}}}
kubernetes: {{connection: {{password: {SECRET}, key: "-----BEGIN {SECRET}", bearerToken: {SECRET}}}}}
sshproxy: {{password: {SECRET}, privateKey: "-----BEGIN {SECRET}"}}
"""


def again(config: AppConfig) -> AppConfig:
    return load_text(dump(config, secrets=True), "c.yaml", look_at_files=False, built_only=False).config


def test_defaults_are_read_back() -> None:
    assert again(AppConfig()) == AppConfig()


def test_secrets_are_read_back_when_they_are_asked_for(read: Read) -> None:
    config = read(FULL).config
    assert again(config) == config
    assert dump(config, secrets=True).count(SECRET) == 17


def test_secrets_are_hidden_otherwise(read: Read) -> None:
    config = read(FULL).config
    assert SECRET not in dump(config)
    assert SECRET not in repr(config)
    assert SECRET not in str(config)
    assert SECRET not in json.dumps(plain(config))


def test_the_path_of_a_key_is_no_secret(read: Read) -> None:
    assert "/etc/key" in dump(read("ssh: {hostkeys: [/etc/key]}").config)


@pytest.mark.parametrize(
    "text",
    [
        f"sshproxy: {{password: [{SECRET}]}}",
        f"sshproxy: {{password: {{{SECRET}: 1}}}}",
        f"ssh: {{hostkeys: [[{SECRET}]]}}",
        f"configserver: {{url: 'ftp://u:{SECRET}@h'}}",
        f"configserver: {{url: 'http://u:{SECRET}@h h'}}",
        f"docker: {{connection: {{key: {SECRET}}}}}",
        f"docker: {{execution: {{auth: {{password: [{SECRET}]}}}}}}",
        f"docker: {{execution: {{container: {{env: {{A: {SECRET}}}}}}}}}",
    ],
)
def test_no_secret_stands_in_a_problem(fail: Fail, text: str) -> None:
    assert SECRET not in "".join(fail(text))


def test_no_secret_of_an_answer_stands_in_a_problem() -> None:
    with pytest.raises(ConfigProblems) as caught:
        overlay(AppConfig(), {"docker": {"execution": {"auth": {"password": [SECRET]}}}, "sshproxy": {"password": 5}})
    assert SECRET not in str(caught.value)


NASTY = [
    *(
        "",
        "null",
        "~",
        "yes",
        "No",
        "on",
        "y",
        "true",
        "12",
        "0x1f",
        "0o17",
        "017",
        "1_000",
        "1.10",
        "1e3",
        ".5",
        "22:30",
    ),
    *("2001-01-01", "<<", "=", "- a", "a: b", "#x", "x #y", "&a", "*a", "!t", "%x", "@x", "`x`", "'q'", '"q"', "[a]"),
    *(
        "{a}",
        " lead",
        "trail ",
        "two\nlines",
        "\n",
        "tab\there",
        "é",
        "漢字",
        "\u2028",
        "\x85",
        "🙂",
        "\\",
        "a,b",
        "?",
        ":",
    ),
]


@pytest.mark.parametrize("text", NASTY)
def test_a_text_is_read_back_whatever_it_looks_like(text: str) -> None:
    values: dict[str, Any] = {
        "ssh": {"banner": text},
        "security": {"env": {"allow": [text]}},
        "docker": {"execution": {"container": {"Image": "i", "Env": [text], "Labels": {"k" + text: text}}}},
        "kubernetes": {"pod": {"metadata": {"namespace": "n", "generateName": "g", "labels": {"a": text}}}},
        "sandbox": {"environment": {"A" + text: text}},
    }
    config = AppConfig.model_validate(values)
    assert again(config) == config


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40))
def test_any_printable_text_is_read_back(text: str) -> None:
    config = AppConfig.model_validate(
        {"ssh": {"banner": text}, "docker": {"execution": {"container": {"Image": "i", "Labels": {"a": text}}}}}
    )
    assert again(config) == config


def test_structures_are_written_as_yaml_files_have_them(read: Read) -> None:
    host, container = "{memory: 5, portbindings: {80/tcp: []}}", "{healthcheck: {interval: 30s}}"
    text = f"docker: {{execution: {{host: {host}, container: {container}}}}}"
    written = plain(read(text).config)["docker"]["execution"]
    assert written["host"] == {"resources": {"memory": 5}, "portbindings": {"80/tcp": []}}
    assert written["container"]["healthcheck"] == {"interval": "30s"}


def test_a_users_file_is_read_back() -> None:
    config = AppConfig.model_validate({"auth": {"users": {"file": "/users"}}})
    assert again(config) == config
