"""Every configuration that README and guides show can be used as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from moorage.config import load_text

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
OTHERS = ("users:", "groups:", "apiVersion:", "services:")
"""How blocks begin, or lines in them, that are something else: users, groups, a Kubernetes object, a compose file."""


def configurations() -> Iterator[ParameterSet]:
    for page in PAGES:
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)):
            if not re.search(rf"^({'|'.join(OTHERS)})", text, re.MULTILINE):
                yield pytest.param(text, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("config.yaml")), ids=lambda path: path.parent.name)
def test_an_example_can_be_used(path: Path) -> None:
    load_text(path.read_text(), "config.yaml", look_at_files=False)


@pytest.mark.parametrize("text", tuple(configurations()))
def test_a_configuration_in_the_documentation_can_be_used(text: str) -> None:
    load_text(text, "config.yaml", look_at_files=False)
