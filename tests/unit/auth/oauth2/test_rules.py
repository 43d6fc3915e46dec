"""Claims become metadata, restrictions and refusals by the configuration's rules."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.auth.oauth2.contract import Denied
from moorage.auth.oauth2.rules import applied
from moorage.config.sections.oauth2 import ClaimRuleConfig
from moorage.gateway.model import Restrictions, TextValue

MIA: dict[str, Any] = {"groups": ["dev", "admins"], "email_verified": True, "level": 3, "sub": "mia", "odd": {"a": 1}}


def rule(claim: str, *values: str, **more: Any) -> ClaimRuleConfig:
    return ClaimRuleConfig.model_validate({"claim": claim, **({"values": values} if values else {}), **more})


def test_without_rules_all_are_welcome() -> None:
    metadata, restrictions = applied((), MIA)
    assert not metadata.metadata
    assert restrictions == Restrictions()


@pytest.mark.parametrize(
    ("one", "applies"),
    [
        (rule("groups", "admins"), True),
        (rule("groups", "adm*"), True),
        (rule("groups", "guests", "dev"), True),
        (rule("groups", "guests"), False),
        (rule("groups", "ADMINS"), False),
        (rule("email_verified", "true"), True),
        (rule("email_verified", "false"), False),
        (rule("level", "3"), True),
        (rule("sub"), True),
        (rule("missing"), False),
        (rule("odd"), False),
    ],
)
def test_a_rule_applies_by_the_claims_value_or_one_of_its_elements(one: ClaimRuleConfig, applies: bool) -> None:
    if applies:
        applied((one,), MIA)
    else:
        with pytest.raises(Denied, match="no rule"):
            applied((one,), MIA)


def test_a_rule_that_denies_comes_before_all_others() -> None:
    with pytest.raises(Denied, match="denies"):
        applied((rule("sub"), rule("groups", "dev", deny=True)), MIA)


def test_what_rules_attach_is_merged_and_what_they_forbid_adds_up() -> None:
    rules = (
        rule("groups", "dev", metadata={"role": "dev", "a": "1"}, environment={"TEAM": "blue"}, without=("x11",)),
        rule("groups", "admins", metadata={"role": "admin"}, force_command="menu", without=("agent", "terminal")),
        rule("groups", "guests", metadata={"role": "guest"}),
    )
    metadata, restrictions = applied(rules, MIA)
    assert metadata.metadata == {"role": TextValue("admin"), "a": TextValue("1")}
    assert metadata.environment == {"TEAM": TextValue("blue")}
    assert restrictions == Restrictions("menu", False, True, False, False)
