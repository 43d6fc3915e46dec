"""What is too old goes, the oldest go where there is too much, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from moorage.audit.retention import Retention, retention
from moorage.codes import Code
from moorage.config.sections.audit import AuditConfig

NOW = 1_000_000.0


def recording(directory: Path, digit: str, *, age: float, size: int = 10, length: int = 32) -> Path:
    path = directory / (digit * length)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - age, NOW - age))
    return path


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def enforce(directory: Path, *, seconds: float = 0, size: int = 0) -> None:
    Retention([directory], seconds=seconds, size=size, clock=lambda: NOW).enforce()


def test_what_is_older_goes_and_what_is_not_stays(tmp_path: Path) -> None:
    recording(tmp_path, "a", age=101)
    recording(tmp_path, "b", age=100)
    recording(tmp_path, "c", age=0)
    enforce(tmp_path, seconds=100)
    assert left(tmp_path) == ["b" * 32, "c" * 32]


def test_the_oldest_go_where_there_is_too_much(tmp_path: Path) -> None:
    for digit, age in (("a", 1), ("b", 3), ("c", 2)):
        recording(tmp_path, digit, age=age)
    enforce(tmp_path, size=29)
    assert left(tmp_path) == ["a" * 32, "c" * 32]
    enforce(tmp_path, size=20)
    assert left(tmp_path) == ["a" * 32, "c" * 32]
    enforce(tmp_path, size=1)
    assert left(tmp_path) == []


def test_both_rules_hold(tmp_path: Path) -> None:
    recording(tmp_path, "a", age=50, size=1)
    recording(tmp_path, "b", age=5, size=10)
    recording(tmp_path, "c", age=1, size=10)
    enforce(tmp_path, seconds=10, size=10)
    assert left(tmp_path) == ["c" * 32]


def test_captured_files_go_too_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    place = tmp_path / "place"
    place.mkdir()
    recording(place, "a", age=500, length=64)
    for name in ("d" * 32 + ".part", "notes.txt", "e" * 31, "F" * 32):
        (place / name).write_bytes(b"x")
        os.utime(place / name, (0, 0))
    (place / ("1" * 32)).mkdir()
    (place / ("2" * 32)).symlink_to(outside)
    os.utime(place / ("2" * 32), (0, 0), follow_symlinks=False)
    enforce(place, seconds=100, size=1)
    assert left(place) == sorted(["d" * 32 + ".part", "notes.txt", "e" * 31, "F" * 32, "1" * 32, "2" * 32])
    assert outside.read_bytes() == b"precious"


def test_it_says_what_it_has_removed_and_what_it_could_not(tmp_path: Path) -> None:
    recording(tmp_path, "a", age=50, size=7)
    with capture_logs() as logged:
        Retention([tmp_path / "gone", tmp_path], seconds=10, size=0, clock=lambda: NOW).enforce()
        Retention([tmp_path], seconds=10, size=0, clock=lambda: NOW).enforce()
    assert [(line["code"], line.get("count"), line.get("bytes")) for line in logged] == [
        (Code.AUDIT_STORAGE_FAILED, None, None),
        (Code.AUDIT_EXPIRED, 1, 7),
    ]


@pytest.mark.parametrize(
    ("settings", "directories"),
    [
        ({}, None),
        ({"retention": {"age": "24h"}}, ["rec"]),
        ({"retention": {"size": "1Gi"}, "capture": {"directory": "cap"}}, ["rec", "cap"]),
        ({"retention": {"age": "24h"}, "storage": "s3", "s3": {"local": "spool"}}, []),
        ({"retention": {"age": "24h"}, "storage": "s3", "s3": {"local": "spool", "keep": "kept"}}, ["kept"]),
    ],
    ids=["none", "recordings", "captured too", "never the spool", "what is kept after the upload"],
)
def test_which_directories_are_looked_after(settings: dict[str, object], directories: list[str] | None) -> None:
    config = AuditConfig.model_validate({"enable": True, "storage": "file", "file": {"directory": "rec"}, **settings})
    made = retention(config)
    assert (None if made is None else [str(one) for one in made._directories]) == directories
