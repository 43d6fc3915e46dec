"""Log lines: their shape, their levels, what never appears in them."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from moorage import log
from moorage.codes import Code


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    target = io.StringIO()
    log.configure(level="debug", destination=log.Destination(stream=target))
    yield target
    structlog.reset_defaults()
    logging.getLogger().handlers[:], logging.getLogger().level = before[0], before[1]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_fields_that_operators_parse(stream: io.StringIO) -> None:
    structlog.get_logger().bind(connectionId="abc").warning("Something", code=Code.SSH_CONNECTED, count=3)
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "code": "SSH_CONNECTED",
        "message": "Something",
        "details": {"connectionId": "abc", "count": 3},
    }


def test_a_message_without_a_code_says_so(stream: io.StringIO) -> None:
    structlog.get_logger().info("x")
    assert lines(stream)[0]["code"] == "UNKNOWN_ERROR"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error", "crit"]),
        ("info", ["info", "warning", "error", "crit"]),
        ("notice", ["warning", "error", "crit"]),
        ("warning", ["warning", "error", "crit"]),
        ("error", ["error", "crit"]),
        ("emerg", ["crit"]),
    ],
)
def test_what_is_less_urgent_than_the_level_is_not_written(stream: io.StringIO, level: str, written: list[str]) -> None:
    log.configure(level=level)
    logger = structlog.get_logger()
    for method in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, method)("x")
    assert [line["level"] for line in lines(stream)] == written


def test_secrets_are_masked_by_name_and_by_type(stream: io.StringIO) -> None:
    structlog.get_logger().error(
        "x", password="canary1", apiToken="canary2", url=SecretStr("canary3"), passwordBase64=b"canary4", method="ok"
    )
    assert "canary" not in stream.getvalue()
    assert lines(stream)[0]["details"]["method"] == "ok"


def test_nobody_can_forge_a_line_or_drive_a_terminal(stream: io.StringIO) -> None:
    log.configure(level="debug", format="text")
    structlog.get_logger().info("x", username="a\n2026-01-01 crit \x1b[2J\u202e", other="")
    [line] = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert "\\n2026" in line


def test_a_value_of_any_length_makes_a_line_of_bounded_length(stream: io.StringIO) -> None:
    structlog.get_logger().info("x", username="u" * 1_000_000)
    assert len(stream.getvalue()) < 5000


def test_an_exception_is_told_with_its_trace(stream: io.StringIO) -> None:
    try:
        raise KeyError("missing")
    except KeyError:
        structlog.get_logger().exception("It failed", code=Code.SSH_INTERNAL_ERROR)
    [line] = lines(stream)
    assert line["level"] == "error"
    assert "KeyError: 'missing'" in line["details"]["exception"]


def test_libraries_that_log_in_their_own_way_come_out_in_ours(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("watch %s", "out")
    [line] = lines(stream)
    assert (line["level"], line["message"], line["details"]["module"]) == ("warning", "watch out", "some.library")


def test_a_file_that_was_rotated_away_is_opened_anew(stream: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "moorage.log"
    destination = log.Destination(path)
    log.configure(level="info", destination=destination)
    structlog.get_logger().info("before")
    path.rename(tmp_path / "old.log")
    log.configure(level="info")
    structlog.get_logger().info("after")
    destination.close()
    assert json.loads(path.read_text())["message"] == "after"


def test_a_file_that_cannot_be_reopened_is_kept_and_the_failure_told(stream: io.StringIO, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    destination = log.Destination(folder / "moorage.log")
    log.configure(level="info", destination=destination)
    folder.rename(tmp_path / "moved")
    log.configure(level="info")
    structlog.get_logger().info("still here")
    destination.close()
    first, second = (tmp_path / "moved" / "moorage.log").read_text().splitlines()
    assert json.loads(first)["code"] == "LOG_ROTATE_FAILED"
    assert json.loads(second)["message"] == "still here"


def test_a_destination_that_is_gone_stops_nobody(stream: io.StringIO) -> None:
    closed = io.StringIO()
    closed.close()
    log.configure(level="info", destination=log.Destination(stream=closed))
    structlog.get_logger().info("x")


def test_half_a_character_does_not_cost_the_line(tmp_path: Path, stream: io.StringIO) -> None:
    path = tmp_path / "log"
    destination = log.Destination(path)
    log.configure(level="debug", destination=destination)
    structlog.get_logger().info("x", username="\udcff")
    destination.close()
    assert json.loads(path.read_text())["details"] == {"username": "\udcff"}
