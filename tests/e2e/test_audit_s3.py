"""Recordings reach a real S3 server, through outages, restarts and wrong credentials; nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.serving import MOORAGE
from tests.e2e.waiting import until
from tests.parts.s3 import ACCESS, BUCKET, SECRET, S3Server, s3_server
from tests.parts.weather import weather

from moorage.audit.recording import Message, read


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def audit(s3: S3Server, spool: Path, **changed: Any) -> dict[str, Any]:
    spool.mkdir(exist_ok=True)
    bucket = {
        "local": str(spool),
        "accessKey": ACCESS,
        "secretKey": SECRET,
        "bucket": BUCKET,
        "region": "us-east-1",
        "endpoint": s3.endpoint,
        "pathStyleAccess": True,
        "metadata": {"ip": True, "username": True},
        **changed,
    }
    return {"enable": True, "format": "binary", "storage": "s3", "s3": bucket, "intercept": {"stdout": True}}


def with_output(s3: S3Server, text: bytes) -> list[str]:
    """The names of recordings in the bucket in which `text` was shown."""

    def shows(data: bytes) -> bool:
        shown = [one.payload["data"] for one in read([data]) if isinstance(one, Message) and one.number == 500]
        return text in b"".join(shown)

    return [name for name, data in s3.objects().items() if shows(data)]


def test_recordings_are_uploaded_whole_with_their_metadata_and_leave_the_spool(
    s3: S3Server, serve: Serve, tmp_path: Path
) -> None:
    place = serve("sandbox", audit=audit(s3, tmp_path / "spool"))
    assert place.user.run("echo small").stdout == b"small\n"
    large = place.user.run("head -c 12000000 /dev/urandom; echo the end")
    assert large.returncode == 0
    until(lambda: bool(with_output(s3, b"small\n") and with_output(s3, b"the end\n")), "both are there", seconds=30)
    until(lambda: not list((tmp_path / "spool").iterdir()), "the spool is empty", seconds=15)
    [name] = with_output(s3, b"small\n")
    metadata = s3.metadata(name)
    assert {key: metadata[key] for key in ("authenticated", "country", "username", "ip")} == {
        "authenticated": "true",
        "country": "XX",
        "username": place.user.user,
        "ip": "127.0.0.1",
    }
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    command = [str(MOORAGE), "audit", "ls", "--json", "--logins", "--endpoint", s3.endpoint, f"s3://{BUCKET}"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=40, check=True)
    listed = {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert len(listed) == 2
    assert {one["state"] for one in listed.values()} == {"complete"}
    assert max(one["bytes_out"] for one in listed.values()) == 12_000_000 + len("the end\n")


def test_the_environment_may_have_the_credentials(
    s3: S3Server, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    place = serve("sandbox", audit=audit(s3, tmp_path / "spool", accessKey="", secretKey="", region=""))
    assert place.user.run("echo by the environment").returncode == 0
    until(lambda: bool(with_output(s3, b"by the environment\n")), "it is uploaded", seconds=30)


def test_a_file_may_have_the_credentials_and_change(s3: S3Server, serve: Serve, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    form = "[audit]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    credentials.write_text(form.format(ACCESS, "wrong-c4n4rybird"))
    by_file = {"accessKey": "", "secretKey": "", "credentialsFile": str(credentials), "profile": "audit"}
    place = serve("sandbox", audit=audit(s3, tmp_path / "spool", **by_file))
    assert place.user.run("echo by a file").returncode == 0

    def told() -> bool:
        return "AUDIT_S3_SINGLE_UPLOAD_FAILED" in {record["code"] for record in place.server.records()}

    until(told, "the failure is told", seconds=30)
    credentials.write_text(form.format(ACCESS, SECRET))
    until(lambda: bool(with_output(s3, b"by a file\n")), "it is uploaded", seconds=60)
    listed = subprocess.run(
        [str(MOORAGE), "audit", "ls", "--json", "--logins", "--config", str(place.server.config_file)],
        capture_output=True,
        timeout=40,
        check=True,
    )
    assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["complete"]


def test_a_recording_may_stay_here_too_and_goes_when_it_is_old(s3: S3Server, serve: Serve, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    old = kept / ("0" * 32)
    old.write_bytes(b"old")
    os.utime(old, (0, 0))
    settings = audit(s3, tmp_path / "spool", keep=str(kept))
    place = serve("sandbox", audit={**settings, "retention": {"age": "24h"}})
    until(lambda: not old.exists(), "what is old is gone")
    assert place.user.run("echo in both places").returncode == 0
    until(lambda: bool(with_output(s3, b"in both places\n")), "it is uploaded", seconds=30)
    [name] = with_output(s3, b"in both places\n")
    until((kept / name).exists, "it is here too")
    assert (kept / name).read_bytes() == s3.objects()[name]
    until(lambda: not list((tmp_path / "spool").iterdir()), "the spool is empty", seconds=15)


def test_a_spool_that_is_full_refuses_until_there_is_room(s3: S3Server, serve: Serve, tmp_path: Path) -> None:
    place = serve("sandbox", audit=audit(s3, tmp_path / "spool", spoolLimit=100_000))
    s3.stop()
    assert place.user.run("head -c 200000 /dev/urandom").returncode == 0

    def said(code: str, what: str) -> bool:
        return any(record["code"] == code and what in record["message"] for record in place.server.records())

    until(lambda: said("AUDIT_STORAGE_FAILED", "wait for their upload"), "the spool is full")
    refused = place.user.run("echo in")
    assert refused.returncode == 255
    assert refused.stdout == b""
    s3.start()
    until(lambda: said("AUDIT_STORAGE_WORKS", "room"), "there is room again", seconds=40)
    assert place.user.run("echo in").stdout == b"in\n"


def test_an_encrypted_recording_has_its_metadata_and_only_its_recipient_reads_it(
    s3: S3Server, serve: Serve, tmp_path: Path
) -> None:
    identity = tmp_path / "identity"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    recipient = subprocess.run(
        ["age-keygen", "-y", identity], check=True, capture_output=True, text=True
    ).stdout.strip()
    place = serve("sandbox", audit={**audit(s3, tmp_path / "spool"), "recipients": [recipient]})
    assert place.user.run("echo for your eyes only").returncode == 0

    def listed(*options: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(MOORAGE), "audit", "ls", "--json", "--logins", "--config", str(place.server.config_file)]
        return subprocess.run([*command, *options], capture_output=True, timeout=40, check=False)

    def found() -> list[dict[str, Any]]:
        return [json.loads(line) for line in listed("--identity", str(identity)).stdout.splitlines()]

    until(found, "it is uploaded", seconds=30)
    [one] = found()
    assert (one["state"], one["username"], one["bytes_out"]) == ("complete", place.user.user, 19)
    assert s3.metadata(f"{one['name']}.age")["username"] == place.user.user
    assert all(name.endswith(".age") and data.startswith(b"age-encryption") for name, data in s3.objects().items())
    until(lambda: not list((tmp_path / "spool").iterdir()), "the spool is empty", seconds=15)
    blind = listed()
    assert (blind.returncode, blind.stdout) == (1, b"")
    assert b"--identity" in blind.stderr


def test_a_slow_line_that_breaks_in_the_middle_of_a_part_loses_nothing(
    s3: S3Server, serve: Serve, tmp_path: Path
) -> None:
    with weather(int(s3.endpoint.rpartition(":")[2])) as line:
        line.breaks_after = 2_000_000
        settings = audit(s3, tmp_path / "spool", endpoint=f"http://127.0.0.1:{line.port}", checksum="SHA256")
        place = serve("sandbox", audit=settings)
        large = place.user.run("head -c 12000000 /dev/urandom; echo the end")
        assert large.returncode == 0
        until(lambda: line.broken >= 2, "the line breaks, and again", seconds=30)
        assert not with_output(s3, b"the end\n")
        line.breaks_after, line.bytes_per_second = float("inf"), 4_000_000
        started = time.monotonic()
        assert place.user.run("echo meanwhile").stdout == b"meanwhile\n", "a slow store slows nobody"
        assert time.monotonic() - started < 15
        until(lambda: bool(with_output(s3, b"the end\n")), "it is uploaded", seconds=50)
        until(lambda: not list((tmp_path / "spool").iterdir()), "the spool is empty", seconds=30)
    [name] = with_output(s3, b"the end\n")
    assert verified(tmp_path, s3.objects()[name]) == 0


def verified(directory: Path, recording: bytes) -> int:
    """The status of ``moorage audit verify`` for a recording: 0 if it is whole."""
    path = directory / ("e" * 32)
    path.write_bytes(recording)
    return subprocess.run([str(MOORAGE), "audit", "verify", path], capture_output=True, check=False).returncode


def test_a_bucket_with_object_lock_takes_recordings_and_keeps_them(serve: Serve, tmp_path: Path) -> None:
    with s3_server(locked=True) as locked:
        place = serve("sandbox", audit=audit(locked, tmp_path / "spool", checksum="SHA256"))
        assert place.user.run("echo for good").returncode == 0
        until(lambda: bool(with_output(locked, b"for good\n")), "it is uploaded", seconds=30)
        [name] = with_output(locked, b"for good\n")
        assert locked.refuses_to_delete(name)


def test_an_outage_and_a_restart_in_the_middle_lose_nothing(s3: S3Server, serve: Serve, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    place = serve("sandbox", audit=audit(s3, spool))
    s3.stop()
    assert place.user.run("echo while it is away").returncode == 0

    def failures() -> int:
        return [record["code"] for record in place.server.records()].count("AUDIT_S3_SINGLE_UPLOAD_FAILED")

    until(lambda: failures() >= 1, "the outage is noticed", seconds=30)
    assert place.user.run("echo still serving").stdout == b"still serving\n"
    place.server.process.kill()
    place.server.wait()
    s3.start()
    place.server.start()
    until(lambda: bool(with_output(s3, b"while it is away\n")), "the first is uploaded", seconds=30)
    until(lambda: bool(with_output(s3, b"still serving\n")), "the second is uploaded", seconds=30)


def test_wrong_credentials_and_a_missing_bucket_are_told_and_keep_the_recording(
    s3: S3Server, serve: Serve, tmp_path: Path
) -> None:
    for number, changed in enumerate(({"secretKey": "wrong-c4n4rybird"}, {"bucket": "nobody-has-it"})):
        spool = tmp_path / f"spool{number}"
        place = serve("sandbox", audit=audit(s3, spool, **changed))
        assert place.user.run("echo kept").stdout == b"kept\n"

        def told() -> bool:
            return "AUDIT_S3_SINGLE_UPLOAD_FAILED" in {record["code"] for record in place.server.records()}  # noqa: B023

        until(told, "the failure is told", seconds=30)
        assert [path for path in spool.iterdir() if b"ContainerSSH" in path.read_bytes()]
        place.server.process.kill()
        place.server.wait()
    assert s3.objects() == {}
