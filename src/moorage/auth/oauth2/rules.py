"""What follows from claims about a user, by the configuration's rules.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorage.auth.oauth2.contract import Denied
from moorage.codes import Code
from moorage.config.sections.oauth2 import ClaimRuleConfig
from moorage.config.targets import matches_wildcards
from moorage.gateway.model import Metadata, Restrictions, TextValue

_MOST = 1000
"""Elements of a claim that are looked at."""


def applied(rules: Sequence[ClaimRuleConfig], claims: Mapping[str, Any]) -> tuple[Metadata, Restrictions]:
    """What all rules that apply attach and forbid; later rules win key by key, restrictions add up.

    Raises `Denied` where one of them says so, and where there are rules and none applies.
    """
    metadata, restrictions = Metadata(), Restrictions()
    found = [rule for rule in rules if _applies(rule, claims)]
    if rules and not found:
        raise _denied("no rule of auth.keyboardInteractive.oauth2.rules applies")
    for rule in found:
        if rule.deny:
            raise _denied(f"a rule denies it by the claim {rule.claim!r}")
        metadata = metadata.merged(Metadata(_texts(rule.metadata), _texts(rule.environment)))
        restrictions = restrictions.both(
            Restrictions(
                force_command=rule.force_command or None,
                terminal="terminal" not in rule.without,
                forwarding="forwarding" not in rule.without,
                x11_forwarding="x11" not in rule.without,
                agent_forwarding="agent" not in rule.without,
            )
        )
    return metadata, restrictions


def _applies(rule: ClaimRuleConfig, claims: Mapping[str, Any]) -> bool:
    return any(
        matches_wildcards(pattern, value) for value in _values(claims.get(rule.claim)) for pattern in rule.values
    )


def _values(claim: Any) -> Iterator[str]:
    for value in (claim if isinstance(claim, list) else [claim])[:_MOST]:
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            yield str(value)


def _texts(values: Mapping[str, str]) -> dict[str, TextValue]:
    return {name: TextValue(value) for name, value in values.items()}


def _denied(why: str) -> Denied:
    return Denied(why, Code.AUTH_FAILED, user_text="Your account may not log in here.")
