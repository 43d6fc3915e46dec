"""Which principals of a certificate may log in under a name.  Pure, but for the file of a user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from moorage.config.targets import matches_wildcards
from moorage.errors import AuthError

LARGEST_FILE: Final = 1024 * 1024
NAME: Final = "%u"
"""Stands for the name given to SSH."""


def are_for(principals: Iterable[str], patterns: Sequence[str], username: str) -> bool:
    """Does one of `principals` fit one of `patterns`, in which ``%u`` is `username` and ``*`` and ``?`` are wild?"""
    named = {principal for principal in principals if principal}
    for pattern in patterns:
        if pattern == NAME:
            if username in named:
                return True
            continue
        if NAME in pattern and set("*?") & set(username):  # what is wild comes from the configuration alone
            continue
        whole = pattern.replace(NAME, username)
        if any(matches_wildcards(whole, principal) for principal in named):
            return True
    return False


async def from_file(template: str, username: str) -> Sequence[str]:
    """The principals that the file for `username` lists, one a line; none if there is no such file.

    Raises `AuthError` for a file that cannot be used.
    """
    if "/" in username or "\0" in username or username in {"", ".", ".."}:
        return ()
    path = Path(template.replace(NAME, username))
    try:
        content = await asyncio.to_thread(_read, path)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"the principals file {path} cannot be read: {error}") from error
    if len(content) > LARGEST_FILE:
        raise AuthError(f"the principals file {path} is larger than 1 MiB")
    lines = [line.strip() for line in content.splitlines()]
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if any(len(line.split()) != 1 for line in found):
        raise AuthError(f"the principals file {path} has a line that is more than a name; options are not supported")
    return found


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1).decode()
