"""Figures, their ratios, and whether they are what is wanted; on the terminal and in the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HEADS: Final = {
    "docker": "Moorage, docker",
    "warm": "Moorage, docker, warm",
    "sandbox": "Moorage, sandbox",
    "recorded": "Moorage, sandbox, recorded",
    "sshd": "sshd",
    "engine": "raw engine API",
}
"""The columns, and how they are called."""


@dataclass(frozen=True)
class Sample:
    """Repeated measurements of one thing in one unit."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """Nineteen of twenty values are not above this one."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]


@dataclass(frozen=True)
class Figure:
    """One row of absolute figures: a text for each column that has one."""

    name: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Ratio:
    """One row of ratios: what is compared, the ratio, and its wanted bound."""

    name: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Is the ratio within its bound?"""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


@dataclass
class Report:
    """All that one run has found."""

    machine: str
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    def figure(self, name: str, cells: dict[str, str]) -> None:
        """Add a row of absolute figures and show it."""
        self.figures.append(Figure(name, cells))
        print(f"  {name}: " + ", ".join(f"{column} {cell}" for column, cell in cells.items()), flush=True)

    def times(self, name: str, samples: dict[str, Sample]) -> None:
        """Add a row of milliseconds: median and p95 of each column."""
        cells = {column: f"{s.median * 1e3:.0f} / {s.p95 * 1e3:.0f}" for column, s in samples.items()}
        if min(s.median for s in samples.values()) < 0.01:
            cells = {column: f"{s.median * 1e3:.1f} / {s.p95 * 1e3:.1f}" for column, s in samples.items()}
        self.figure(name, cells)

    def at_most(self, name: str, value: float, bound: float) -> None:
        """Add a ratio that should not be above `bound`."""
        self.ratios.append(Ratio(name, value, bound))

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Add a ratio that should not be below `bound`."""
        self.ratios.append(Ratio(name, value, bound, at_most=False))

    def text(self) -> str:
        """The report as Markdown tables."""
        columns = [c for c in HEADS if any(c in f.cells for f in self.figures)]
        figures = [[f.name, *(f.cells.get(column, "–") for column in columns)] for f in self.figures]
        ratios = [
            [r.name, f"{r.value:.2f}", f"{'≤' if r.at_most else '≥'} {r.bound:g}", "yes" if r.met else "**no**"]
            for r in self.ratios
        ]
        return "\n\n".join(
            [
                self.machine,
                _table(["ratio", "measured", "wanted", "met"], ratios),
                _table(["figure", *(HEADS[column] for column in columns)], figures),
            ]
        )


def write_into(page: Path, text: str, *, part: str = "bench") -> None:
    """Put `text` between the two markers of `part` in `page`; a page without markers gets them at its end."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    old = page.read_text() if page.exists() else "# Performance\n"
    if begin not in old or end not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in lines
    )
