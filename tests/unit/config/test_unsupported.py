"""What is not there yet cannot be switched on, in a file or for one login."""

from __future__ import annotations

import pytest

from moorage.config import AppConfig, ConfigProblems, load_text, overlay
from moorage.config.unsupported import NOT_BUILT

SWITCHES = {
    "{backend: kubernetes, kubernetes: {pod: {mode: session, disableAgent: true}}}": "kubernetes.pod.disableAgent",
    "{backend: kubernetes, kubernetes: {pod: {mode: session, agent: containerssh}}}": "kubernetes.pod.agent",
    "audit: {enable: true, format: binary, storage: s3, s3: {acl: private}}": "audit.s3.acl",
}


@pytest.mark.parametrize(("text", "key"), SWITCHES.items())
def test_switching_it_on_is_a_problem_that_names_the_key(text: str, key: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_text(text, "c.yaml")
    said = {problem.key for problem in caught.value.problems if "not available in this version" in problem.what}
    assert said == {key}


def test_every_entry_of_the_table_has_a_switch_above() -> None:
    assert len(SWITCHES) == len(NOT_BUILT)


def test_the_defaults_switch_nothing_on() -> None:
    assert load_text("{}", "c.yaml").config == AppConfig()


def test_a_webhook_cannot_switch_it_on_either() -> None:
    with pytest.raises(ConfigProblems, match="a pod for each program without an agent is not available"):
        overlay(
            AppConfig(), {"backend": "kubernetes", "kubernetes": {"pod": {"mode": "session", "disableAgent": True}}}
        )
