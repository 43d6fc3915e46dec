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


def _records(config: AppConfig) -> bool:
    return config.audit.enable and config.audit.format != "none" and config.audit.storage != "none"


NOT_BUILT: Final = (
    NotBuilt(("backend",), lambda c: c.backend == "kubernetes", "the backend kubernetes", "use docker or sandbox"),
    NotBuilt(("backend",), lambda c: c.backend == "sshproxy", "the backend sshproxy", "use docker or sandbox"),
    NotBuilt(("audit", "enable"), _records, "recording", "set it to false"),
    NotBuilt(("geoip", "provider"), lambda c: c.geoip.provider == "maxmind", "the provider maxmind", "use dummy"),
    NotBuilt(
        ("auth", "password", "method"),
        lambda c: c.auth.password.method == "kerberos",
        "Kerberos for passwords",
        "use webhook or users",
    ),
    NotBuilt(
        ("auth", "gssapi", "method"), lambda c: c.auth.gssapi.method == "kerberos", "Kerberos tickets", "remove it"
    ),
    NotBuilt(
        ("auth", "keyboardInteractive", "method"),
        lambda c: c.auth.keyboard_interactive.method == "oauth2",
        "OAuth2",
        "remove it",
    ),
)


def not_built(config: AppConfig) -> Iterator[Finding]:
    """Everything that `config` switches on and this version cannot do."""
    for feature in NOT_BUILT:
        if feature.is_on(config):
            yield Finding(feature.path, f"{feature.what} is not available in this version", feature.mend)
