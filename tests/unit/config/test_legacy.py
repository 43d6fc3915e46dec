"""Old layouts mean what they meant, and newer keys win."""

from __future__ import annotations

import pytest
from tests.unit.config.conftest import Fail, Read

from moorage.config.problems import dotted


def test_one_old_webhook_serves_both_methods_with_all_its_settings(read: Read) -> None:
    auth = read("auth: {url: 'https://h', timeout: 5s, tlsVersion: 1.2, cacert: /ca, authTimeout: 9s}").config.auth
    assert auth.password.method == auth.public_key.method == "webhook"
    assert auth.password.webhook == auth.public_key.webhook
    hook = auth.password.webhook
    assert (hook.tls_version, hook.cacert, hook.timeout.total_seconds()) == ("1.2", "/ca", 5)
    assert hook.auth_timeout.total_seconds() == 9


@pytest.mark.parametrize(
    ("flags", "methods"),
    [
        ("", ("webhook", "webhook")),
        ("password: false", ("", "webhook")),
        ("pubkey: false", ("webhook", "")),
        ("password: false, pubkey: no", ("", "")),
        ("password: true, pubkey: true", ("webhook", "webhook")),
    ],
)
def test_the_old_flags_are_honoured(read: Read, flags: str, methods: tuple[str, str]) -> None:
    auth = read(f"auth: {{url: 'http://h', {flags}}}").config.auth
    assert (auth.password.method, auth.public_key.method) == methods


def test_newer_keys_win_over_the_old_url_method_by_method(read: Read) -> None:
    loaded = read(
        """
        auth:
          url: http://old
          password: {method: webhook, webhook: {url: "http://new"}}
        """
    )
    auth = loaded.config.auth
    assert auth.password.webhook.url == "http://new"
    assert auth.public_key.webhook.url == "http://old"
    assert any("auth.password say otherwise and win" in str(warning) for warning in loaded.warnings)


def test_another_method_is_not_replaced_by_the_old_url(read: Read) -> None:
    auth = read("auth: {url: 'http://old', password: {method: kerberos}}").config.auth
    assert (auth.password.method, auth.public_key.method) == ("kerberos", "webhook")


@pytest.mark.parametrize("text", ["{password: false}", "{pubkey: true}", "{url: '', pubkey: null, timeout: 2s}"])
def test_old_keys_without_a_url_mean_nothing(read: Read, text: str) -> None:
    auth = read(f"auth: {text}").config.auth
    assert auth.is_off


def test_a_flag_beside_a_newer_method_is_fine(read: Read) -> None:
    auth = read("auth: {password: false, publicKey: {method: webhook, webhook: {url: 'http://h'}}}").config.auth
    assert (auth.password.method, auth.public_key.method) == ("", "webhook")


def test_a_problem_in_an_old_layout_is_shown_where_it_is_written(fail: Fail) -> None:
    problems = fail("auth:\n  url: http://h\n  timeout: never\n")
    assert all(problem.startswith("c.yaml:3:3: auth.timeout: ") for problem in problems)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("listen: :1", ":1"),
        ("listen: :1\nssh: {listen: ':2'}", ":2"),
        ("listen: :1\nssh: {listen: 0.0.0.0:2222}", ":1"),
        ("listen: :1\nssh:", ":1"),
        ("listen: ''", "0.0.0.0:2222"),
    ],
)
def test_listen_moves_unless_the_newer_key_says_otherwise(read: Read, text: str, listen: str) -> None:
    loaded = read(text)
    assert loaded.config.ssh.listen == listen
    assert "listen" in {dotted(warning.path) for warning in loaded.warnings}


def test_an_old_backend_without_its_section_is_the_new_one_with_defaults(read: Read) -> None:
    config = read("backend: dockerrun").config
    assert (config.backend, config.docker.execution.mode) == ("docker", "session")
    config = read("backend: kuberun").config
    assert (config.backend, config.kubernetes.pod.mode) == ("kubernetes", "session")


@pytest.mark.parametrize("section", ["dockerrun", "kuberun"])
def test_an_old_section_that_is_not_chosen_is_passed_over(read: Read, section: str) -> None:
    loaded = read(f"{section}: {{anything: 1}}\ndocker: {{execution: {{mode: session}}}}")
    assert loaded.config.docker.execution.mode == "session"
    assert any(f"{section} is deprecated" in str(warning) for warning in loaded.warnings)
