"""What the configuration knows and this version cannot do yet.

Switching such a thing on is an error that names the key: nothing is ever silently
ignored.  A feature that gets built leaves this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moorage.config.section import Finding, Path
from moorage.config.sections.root import AppConfig


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A feature: the key that switches it on, whether it is on, and what to do meanwhile."""

    path: Path
    is_on: Callable[[AppConfig], bool]
    what: str
    mend: str = ""


def _to_s3(config: AppConfig) -> bool:
    return config.audit.enable and config.audit.format != "none" and config.audit.storage == "s3"


def _in_pods(config: AppConfig) -> bool:
    return config.backend == "kubernetes" and config.kubernetes.pod.mode == "session"


NOT_BUILT: Final = (
    NotBuilt(
        ("kubernetes", "pod", "disableAgent"),
        lambda c: _in_pods(c) and c.kubernetes.pod.disable_agent,
        "a pod for each program without an agent",
        "leave it out: our agent is put into any image",
    ),
    NotBuilt(
        ("kubernetes", "pod", "agent"),
        lambda c: _in_pods(c) and c.kubernetes.pod.agent != "moorage",
        "a pod for each program with the image's own agent",
        "use moorage: our agent is put into any image",
    ),
    NotBuilt(
        ("audit", "s3", "acl"), lambda c: _to_s3(c) and bool(c.audit.s3.acl), "a canned ACL", "use a bucket policy"
    ),
)


def not_built(config: AppConfig) -> Iterator[Finding]:
    """Everything that `config` switches on and this version cannot do."""
    for feature in NOT_BUILT:
        if feature.is_on(config):
            yield Finding(feature.path, f"{feature.what} is not available in this version", feature.mend)
