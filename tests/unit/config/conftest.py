"""Reading a configuration from a text, without looking at the disk or at what is built."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from moorage.config import ConfigProblems, Loaded, load_text

Read = Callable[[str], Loaded]
Fail = Callable[[str], list[str]]


def read_text(text: str, file: str = "c.yaml") -> Loaded:
    return load_text(dedent(text), file, look_at_files=False, built_only=False)


def fail_text(text: str, file: str = "c.yaml") -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        read_text(text, file)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def read() -> Read:
    """YAML to a configuration."""
    return read_text


@pytest.fixture
def fail() -> Fail:
    """YAML to its problems."""
    return fail_text


@pytest.fixture
def read_json() -> Read:
    """JSON to a configuration."""
    return lambda text: read_text(text, "c.json")


@pytest.fixture
def fail_json() -> Fail:
    """JSON to its problems."""
    return lambda text: fail_text(text, "c.json")
