"""Uploads end: what the spool's disk does not give is told, and left for the next start."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from moorage.audit.uploads import Uploads
from moorage.config.sections.audit import AuditS3Config


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_recording_that_cannot_be_read_is_not_tried_for_ever(tmp_path: Path, is_there: bool) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    config = AuditS3Config.model_validate(
        {
            "local": str(tmp_path),
            "accessKey": "k",
            "secretKey": "s",
            "bucket": "b",
            "region": "us-east-1",
            "endpoint": "http://127.0.0.1:1",
        }
    )
    name = "5" * 32
    if is_there:
        (tmp_path / name).mkdir()
    with capture_logs() as logs:
        uploads = Uploads(config, sleep=sleep)
        uploads.finished(name)
        while uploads._tasks:
            await next(iter(uploads._tasks.values()))
    assert len(pauses) == 2
    assert [line["code"] for line in logs] == ["AUDIT_STORAGE_NOT_READABLE"] * 3
    await uploads.stop()


async def test_a_captured_file_that_is_gone_is_given_up_and_told(tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None: ...

    captured = tmp_path / "captured"
    captured.mkdir()
    spool = tmp_path / "spool"
    spool.mkdir()
    config = AuditS3Config.model_validate({"local": str(spool), "bucket": "b", "endpoint": "http://127.0.0.1:1"})
    uploads = Uploads(config, captured=captured, sleep=sleep)
    assert uploads.takes_captured
    uploads.mark("ab" * 32)
    with capture_logs() as logs:
        uploads.start()
        while uploads._tasks:
            await next(iter(uploads._tasks.values()))
    assert [line["code"] for line in logs] == ["AUDIT_STORAGE_NOT_READABLE"] * 3
    assert [path.name for path in spool.iterdir()] == [f"{'ab' * 32}.captured"], "the next start tries again"
    await uploads.stop()
