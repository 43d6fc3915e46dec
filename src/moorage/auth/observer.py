"""The calls of hooks as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from moorage import metrics as m
from moorage.auth.contract import HookKind
from moorage.config import AppConfig
from moorage.gateway.model import Address


class HookMetrics:
    """Counts in `metrics`; implements `moorage.auth.contract.HookObserver`."""

    def __init__(self, metrics: m.Metrics, config: AppConfig, *, country: m.Country = m.no_country) -> None:
        """What can be expected of the hooks that `config` names is shown from the beginning."""
        self._metrics = metrics
        self._country = country
        for kind in hooks_of(config):
            metrics.expect(m.HOOK_DURATION, webhook=kind, outcome="answered")
            if kind is HookKind.CONFIG:
                metrics.expect(m.CONFIG_REQUESTS, retry="0")
                continue
            metrics.expect(m.AUTH_REQUESTS, authtype=kind, retry="0")
            for outcome in (m.AUTH_ACCEPTED, m.AUTH_REFUSED):
                metrics.expect(outcome, authtype=kind, retry="0", country=m.UNKNOWN_COUNTRY)

    def requested(self, kind: HookKind, *, retry: bool) -> None:
        if kind is HookKind.CONFIG:
            self._metrics.count(m.CONFIG_REQUESTS, retry=_digit(retry))
        else:
            self._metrics.count(m.AUTH_REQUESTS, authtype=kind, retry=_digit(retry))

    def failed(self, kind: HookKind, *, retry: bool, reason: str, final: bool) -> None:
        severity = "hard" if final else "soft"
        if kind is HookKind.CONFIG:
            self._metrics.count(m.CONFIG_FAILURES, type=severity, retry=_digit(retry), reason=reason)
        else:
            self._metrics.count(m.AUTH_FAILURES, type=severity, authtype=kind, retry=_digit(retry), reason=reason)

    def decided(self, kind: HookKind, *, retry: bool, success: bool, remote_address: Address) -> None:
        outcome = m.AUTH_ACCEPTED if success else m.AUTH_REFUSED
        self._metrics.count(outcome, authtype=kind, retry=_digit(retry), country=self._country(remote_address.host))

    def took(self, kind: HookKind, *, seconds: float, is_answered: bool) -> None:
        outcome = "answered" if is_answered else "failed"
        self._metrics.observe(m.HOOK_DURATION, seconds, webhook=kind, outcome=outcome)


def hooks_of(config: AppConfig) -> Iterator[HookKind]:
    """The hooks that `config` will have called."""
    auth = config.auth
    if auth.password.method == "webhook":
        yield HookKind.PASSWORD
    if auth.public_key.method == "webhook":
        yield HookKind.PUBLIC_KEY
    if auth.keyboard_interactive.method == "webhook":
        yield HookKind.ONE_TIME_PASSWORD
    if auth.authz.method == "webhook":
        yield HookKind.AUTHORIZATION
    if config.configserver.url:
        yield HookKind.CONFIG


def _digit(is_retry: bool) -> str:
    return "1" if is_retry else "0"
