"""From a file to a configuration that can be used, or to all the reasons why it cannot."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from moorage.config.disk import Disk
from moorage.config.legacy import modernise
from moorage.config.problems import ConfigProblems, ConfigWarning, Problem, in_order
from moorage.config.reading.document import MAX_BYTES, Document, decode, unreadable
from moorage.config.reading.json_reader import read_json
from moorage.config.reading.kinds import UNSET, Reading
from moorage.config.reading.shape import SectionKind
from moorage.config.reading.yaml_reader import read_yaml
from moorage.config.section import Finding, Path
from moorage.config.sections.kubernetes import default_metadata, default_spec
from moorage.config.sections.names import DEFAULT_GUEST_IMAGE, DEFAULT_SUBSYSTEMS
from moorage.config.sections.root import AppConfig
from moorage.config.unsupported import not_built


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, what is doubtful about it, and the document it came from."""

    config: AppConfig
    warnings: tuple[ConfigWarning, ...]
    source: Document


def load(path: str | os.PathLike[str], *, look_at_files: bool = True, built_only: bool = True) -> Loaded:
    """Reads the configuration in the file `path`: JSON if its name ends in ``.json``, else YAML.

    Raises `ConfigProblems` with everything that is wrong.  `look_at_files` also checks the
    keys and certificates that it names; `built_only` refuses what this version cannot do.
    """
    name = os.fspath(path)
    return load_text(_content(name), name, look_at_files=look_at_files, built_only=built_only)


def load_text(content: bytes | str, file: str, *, look_at_files: bool = True, built_only: bool = True) -> Loaded:
    """What `load` does, for `content` that is said to come from `file`."""
    if len(content) > MAX_BYTES:
        raise unreadable(file, "is larger than 4 MiB")
    text = content if isinstance(content, str) else decode(content, file)
    document = read_json(text, file) if file.endswith(".json") else read_yaml(text, file)
    return bind(document, look_at_files=look_at_files, built_only=built_only)


def bind(document: Document, *, look_at_files: bool = True, built_only: bool = True) -> Loaded:
    """The configuration that `document` says; it is changed where it has an old layout."""
    warnings = modernise(document)
    reading = Reading(document)
    values = SectionKind(AppConfig).read(document.value, (), reading)
    if values is UNSET:
        values = {}
    complete(values)
    try:
        config = AppConfig.model_validate(values)
    except ValidationError as error:  # pragma: no cover - what the kinds read, the models take
        raise ConfigProblems(_validation_problems(error, document)) from None
    problems = list(reading.problems)
    bad = {problem.path for problem in problems}
    if reading.is_hopeless:
        raise ConfigProblems(problems)
    findings = [*config.problems(Disk(look=look_at_files)), *(not_built(config) if built_only else ())]
    problems += (p for p in _placed(findings, document) if not _follows(p.path, bad))
    if problems:
        raise ConfigProblems(problems)
    warnings += (ConfigWarning(p.place, p.path, p.what, p.mend) for p in reading.ignored)
    warnings += (ConfigWarning(p.place, p.path, p.what, p.mend) for p in _placed(config.warnings(), document))
    ordered = in_order(warnings)
    return Loaded(config, tuple(warning for warning in ordered if isinstance(warning, ConfigWarning)), document)


def complete(values: dict[str, Any]) -> None:
    """Fills in what a file leaves out inside of structures that replace a default."""
    execution = _inner(values, "docker", "execution")
    if execution and "container" in execution and not execution["container"].get("Image"):
        execution["container"]["Image"] = DEFAULT_GUEST_IMAGE
    pod = _inner(values, "kubernetes", "pod")
    if not pod:
        return
    if "metadata" in pod:
        pod["metadata"] = {**default_metadata(), **pod["metadata"]}
    if "subsystems" in pod:
        pod["subsystems"] = {**DEFAULT_SUBSYSTEMS, **pod["subsystems"]}
    if "spec" in pod:
        default = default_spec()
        pod["spec"] = {**default, **pod["spec"]}
        containers = pod["spec"]["containers"]
        if containers:
            containers[0] = {**default["containers"][0], **containers[0]}


def _inner(values: dict[str, Any], *path: str) -> dict[str, Any] | None:
    for part in path:
        values = values.get(part) or {}
    return values or None


def _follows(path: Path, bad: Iterable[Path]) -> bool:
    """True if a problem at `path` only follows from a value that could not be read."""
    return any(path[: len(other)] == other or other[: len(path)] == path for other in bad)


def _placed(findings: Iterable[Finding], document: Document) -> list[Problem]:
    return [
        Problem(document.place(finding.path), document.origin(finding.path), finding.what, finding.mend)
        for finding in findings
    ]


def _validation_problems(error: ValidationError, document: Document) -> list[Problem]:
    return [
        Problem(document.place(details["loc"]), details["loc"], details["msg"])
        for details in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _content(name: str) -> bytes:
    try:
        # Opened without waiting: a pipe that nobody writes to must not hold the start up for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        mend = "--config FILE names another" if isinstance(error, FileNotFoundError) else ""
        raise unreadable(name, f"cannot be read: {(error.strerror or 'error').lower()}", mend) from error
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unreadable(name, "is a directory, not a file")
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise unreadable(name, "is larger than 4 MiB")
    return content
