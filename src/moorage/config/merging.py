"""The configuration of one login: the file's, with what the webhook said laid over it.

The webhook's rule is the zero rule: config servers send every key, most of them with
their language's zero value, so a zero never replaces anything.  Lists replace lists, maps
are united, and everything else goes field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from moorage.codes import Code
from moorage.config.disk import Disk
from moorage.config.loading import Loaded
from moorage.config.problems import ConfigProblems, Place, Problem
from moorage.config.reading.document import Document
from moorage.config.reading.kinds import UNSET, Reading
from moorage.config.reading.shape import SectionKind, merged
from moorage.config.reading.structs import copied
from moorage.config.section import Finding, Section, under
from moorage.config.sections.root import AppConfig
from moorage.config.unsupported import not_built

ANSWER: Final = "config webhook"

_SERVER_SECTIONS: Final = ("ssh", "configserver", "auth", "log", "metrics", "geoip", "audit", "health", "tracing")
_DISK: Final = Disk()
_NOTHING: Final = Disk(look=False)
"""For sections without effect on a login: what they name is not worth a look."""


def overlay(base: Loaded | AppConfig, answer: Mapping[str, Any] | None) -> AppConfig:
    """`base` where the webhook said `answer` (its ``config``, as decoded from JSON), checked as a whole.

    The result shares nothing that can be changed with `base` or with another login's.
    Raises `ConfigProblems` if the answer or the result cannot be used; its texts hold no secret.
    """
    config = base.config if isinstance(base, Loaded) else base
    reading = Reading(Document(ANSWER, answer, folds_case=True), is_answer=True)
    try:
        values = SectionKind(AppConfig).read(answer, (), reading)
    except ConfigProblems as error:
        raise ConfigProblems(error.problems, code=Code.BACKEND_CONFIG_ERROR) from None
    if reading.problems:
        raise ConfigProblems(reading.problems, code=Code.BACKEND_CONFIG_ERROR)
    result = _on_its_own(merged(config, {} if values is UNSET else values))
    problems = [
        Problem(Place(ANSWER), finding.path, finding.what, finding.mend) for finding in _findings(result, config)
    ]
    if problems:
        raise ConfigProblems(problems, code=Code.BACKEND_CONFIG_ERROR)
    return result


def _findings(result: AppConfig, base: AppConfig) -> Iterator[Finding]:
    """What is wrong with `result`; sections that are still those of the checked `base` are not asked again."""
    for name in _SERVER_SECTIONS:
        section: Section = getattr(result, name)
        if section is not getattr(base, name):
            yield from under(name, section.problems(_NOTHING))
    yield from result.login_problems(_DISK)
    yield from not_built(result)


def _on_its_own(config: Section) -> AppConfig:
    """`config` with its own copies of everything that could be changed in place."""
    result = _separated(config)
    assert isinstance(result, AppConfig)
    return result


def _separated(section: Section) -> Section:
    update: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, dict):
            update[name] = copied(value)
        elif isinstance(value, Section) and name in _HOLD_DICTS:
            update[name] = _separated(value)
    return section.model_copy(update=update) if update else section


_HOLD_DICTS: Final = frozenset({"docker", "execution", "kubernetes", "pod", "sandbox"})
"""The sections on the way to a dict; a test finds out when one is missing."""
