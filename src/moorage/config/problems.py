"""What is wrong with a configuration, and what is doubtful: where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from moorage.codes import Code
from moorage.config.section import LONGEST_SHOWN, Path
from moorage.errors import ConfigError

MOST_PROBLEMS: Final = 100
"""Problems that one error lists; a file with more is not a configuration."""


def dotted(path: Path) -> str:
    """`path` as people write it: ``auth.password.webhook.url``, ``ssh.hostkeys[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            cut = part if len(part) <= LONGEST_SHOWN else part[:LONGEST_SHOWN] + "…"
            safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
            text += f".{safe}" if text else safe
    return text


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, and a line and column from 1; 0 where there is none."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that makes the configuration unusable.  No text in it comes from a secret field."""

    place: Place
    path: Path
    what: str
    mend: str = ""

    @property
    def key(self) -> str:
        """The dotted path; empty for the document as a whole."""
        return dotted(self.path)

    def __str__(self) -> str:
        parts = [part for part in (str(self.place), self.key, self.what) if part]
        return ": ".join(parts) + (f" ({self.mend})" if self.mend else "")


@dataclass(frozen=True, slots=True)
class ConfigWarning(Problem):
    """Something that is allowed but hardly meant."""

    code: Code = Code.CORE_CONFIG_ERROR


class ConfigProblems(ConfigError):
    """The configuration cannot be used; `problems` holds all the reasons, in the order of the file."""

    def __init__(self, problems: Iterable[Problem], *, code: Code | None = None) -> None:
        self.problems: Sequence[Problem] = in_order(problems)
        super().__init__(
            "invalid configuration: " + "; ".join(map(str, self.problems)),
            user_text="The server's configuration cannot be used.",
            code=code,
        )


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """`problems` by place and path, each once."""
    unique = dict.fromkeys(problems)
    ordered = sorted(unique, key=lambda p: (p.place.line, p.place.column, p.key, p.what))
    return tuple(ordered[:MOST_PROBLEMS])
