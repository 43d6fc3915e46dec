"""The codes of the log and the page that lists them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from moorage.codes import Code, _sayings, reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "codes.md"


def test_the_reference_page_has_every_code() -> None:
    """What is said with a code may be reworded without the page; `make references` brings it up to date."""
    listed = re.findall(r"^\| [`*]([A-Z0-9_]+)[`*] \|", PAGE.read_text(), re.MULTILINE)
    assert listed == [code.name for code in Code], "run: make references"
    assert re.findall(r"^\| [`*]([A-Z0-9_]+)[`*] \|", reference(), re.MULTILINE) == listed


def test_a_code_is_its_name() -> None:
    assert all(code.value == name for name, code in Code.__members__.items())
    assert all(re.fullmatch(r"[A-Z0-9_]{3,64}", code) for code in Code)


def test_what_is_said_with_a_code_is_found_in_the_source() -> None:
    source = """
log.info("one", code=Code.A)
log.warning(f"two {x} more", code=Code.B if y else Code.C)
raise Refused("yes" if z else "no", code=Code.D)
other("unseen", code=Code.E)
"""
    found = set(_sayings(ast.parse(source)))
    assert {one for one in found if one[1]} == {
        ("A", "info", "one"),
        ("B", "warning", "two … more"),
        ("C", "warning", "two … more"),
        ("D", "error", "yes / no"),
    }
    assert ("E", "", "") in found
