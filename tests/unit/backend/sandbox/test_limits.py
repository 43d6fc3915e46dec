"""What is left of killed servers goes; what lives stays."""

import os
from pathlib import Path

import pytest

from moorage.backend.sandbox import limits


def test_old_groups_of_others_and_all_of_our_own_are_removed_when_nothing_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    groups = tmp_path / "pids" / "moorage"
    for name in ("ours-1", "theirs-1", "theirs-2", "theirs-3"):
        (groups / name).mkdir(parents=True)
    (groups / "theirs-2" / "busy").touch()
    for name in ("theirs-1", "theirs-2"):
        os.utime(groups / name, (1, 1))
    limits.sweep("ours")
    assert {path.name for path in groups.iterdir()} == {"theirs-2", "theirs-3"}
