"""What commands that act on a configuration file share: the option, and what happens when the file cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from moorage.config import Loaded


def config_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--config``, given to the command as `path`; `text` is its help."""
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=Path("config.yaml"),
        show_default=True,
        help=text,
    )


def loaded(path: Path, *, look_at_files: bool = True, built_only: bool = True, otherwise: str = "") -> Loaded:
    """The configuration in `path`; one that cannot be used ends the process: all problems, `otherwise`, status 1."""
    from moorage.config import ConfigProblems, load

    try:
        return load(path, look_at_files=look_at_files, built_only=built_only)
    except ConfigProblems as problems:
        for problem in problems.problems:
            print(problem, file=sys.stderr)
        if otherwise:
            print(f"\n{otherwise}", file=sys.stderr)
        raise SystemExit(1) from None
