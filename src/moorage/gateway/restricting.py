"""A login's configuration under the restrictions of the credential it was made with.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.config import AppConfig
from moorage.config.sections.security import ForwardingSecurityConfig
from moorage.config.targets import any_host
from moorage.gateway.model import Restrictions

_FORWARDING = ("forwarding_mode", "reverse_forwarding_mode", "socket_forwarding_mode", "socket_listen_mode")


def recorded(config: AppConfig) -> AppConfig:
    """`config` without what would not be recorded, where ``security.recordedOnly`` demands that."""
    if not config.security.recorded_only or (config.audit.enable and config.audit.intercept.forwarding):
        return config
    modes = dict.fromkeys((*_FORWARDING, "x11_forwarding_mode", "agent_forwarding_mode"), "disable")
    forwarding = config.security.forwarding.model_copy(update=modes)
    return config.model_copy(update={"security": config.security.model_copy(update={"forwarding": forwarding})})


def restricted(config: AppConfig, restrictions: Restrictions) -> AppConfig:
    """`config` with what `restrictions` forbid switched off; nothing is ever switched on.

    The configuration's own ``security.forceCommand`` comes before a credential's.
    """
    security = config.security
    modes: dict[str, Any] = {}
    if not restrictions.forwarding:
        modes |= dict.fromkeys(_FORWARDING, "disable")
    else:
        modes |= _narrowed(security.forwarding, "forwarding_mode", "allowed_targets", restrictions.targets)
        modes |= _narrowed(security.forwarding, "reverse_forwarding_mode", "allowed_listeners", restrictions.listeners)
    if not restrictions.x11_forwarding:
        modes["x11_forwarding_mode"] = "disable"
    if not restrictions.agent_forwarding:
        modes["agent_forwarding_mode"] = "disable"
    changes: dict[str, Any] = {}
    if modes:
        changes["forwarding"] = security.forwarding.model_copy(update=modes)
    if not restrictions.terminal:
        changes["tty"] = security.tty.model_copy(update={"mode": "disable"})
    if restrictions.force_command is not None and not security.force_command:
        # An empty command would mean none at all; `true` is what a shell makes of it.
        changes["force_command"] = restrictions.force_command or "true"
    if not changes:
        return config
    return config.model_copy(update={"security": security.model_copy(update=changes)})


def _narrowed(
    rules: ForwardingSecurityConfig, mode: str, lists: str, permitted: Sequence[str] | None
) -> dict[str, Any]:
    """The mode and the list with which `permitted` alone is let through, and of that only what was before."""
    before = getattr(rules, mode)
    if permitted is None or before not in {"enable", "filter"}:
        return {}
    listed: Sequence[str] = getattr(rules, lists)
    if before == "filter":
        permitted = [entry for entry in permitted if _is_listed(entry, listed)]
    paths = [entry for entry in listed if entry.startswith("/")]
    return {mode: "filter", lists: (*permitted, *paths)}


def _is_listed(entry: str, listed: Sequence[str]) -> bool:
    """Is all that `entry` lets through let through by `listed`?  No where that is not certain."""
    host, _, port = entry.rpartition(":")
    if entry in listed or "*:*" in listed:
        return True
    return port.isdigit() and not {"*", "?", "/"} & set(host) and any_host(listed, host.strip("[]"), int(port))
