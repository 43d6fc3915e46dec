"""The reference page is what the models say."""

from __future__ import annotations

from pathlib import Path

from moorage.config import AppConfig
from moorage.config.reading.shape import SectionKind, shape_of
from moorage.config.reference import _docs, page
from moorage.config.section import Section

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m moorage.config.reference > docs/reference/config.md"


def test_every_key_says_what_it_means() -> None:
    def check(section: type[Section]) -> None:
        assert section.__doc__
        docs = _docs(section)
        for entry in shape_of(section).entries.values():
            assert docs[entry.attribute].endswith((".", ")")), f"{section.__name__}.{entry.attribute}"
            if isinstance(entry.kind, SectionKind):
                check(entry.kind.section)

    check(AppConfig)
