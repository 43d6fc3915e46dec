"""Credentials come from the section that is asked for, and no complaint shows one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.audit.s3credentials import GOOD_FOR, CredentialsFile
from moorage.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "c4n4rybird"
FILE = f"""\
[default]
aws_access_key_id = one
aws_secret_access_key = {SECRET}%1

[audit]
aws_access_key_id=two
aws_secret_access_key=three
aws_session_token=four

[half]
aws_access_key_id = five
"""


def read(path: Path, profile: str = "default") -> dict[str, object]:
    return dict(CredentialsFile(path, profile, now=lambda: NOW)())


def test_a_section_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text(FILE)
    assert read(path) == {
        "access_key_id": "one",
        "secret_access_key": f"{SECRET}%1",
        "token": None,
        "expires_at": NOW + GOOD_FOR,
    }
    assert read(path, "audit") == {
        "access_key_id": "two",
        "secret_access_key": "three",
        "token": "four",
        "expires_at": NOW + GOOD_FOR,
    }
    path.write_text(FILE.replace("one", "six"))
    assert read(path)["access_key_id"] == "six"


@pytest.mark.parametrize(
    ("text", "profile", "complaint"),
    [
        (None, "default", "No such file"),
        (FILE, "other", r"has no section \[other\]"),
        (FILE, "half", r"\[half\] needs aws_access_key_id and aws_secret_access_key"),
        (f"{SECRET} is no section", "default", "is not in the form"),
        (f"[default]\n{SECRET}", "default", "is not in the form"),
    ],
    ids=["no file", "no section", "half", "no form", "no value"],
)
def test_what_is_wrong_is_told_and_no_secret_with_it(
    tmp_path: Path, text: str | None, profile: str, complaint: str
) -> None:
    path = tmp_path / "credentials"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read(path, profile)
    assert SECRET not in str(caught.value)
