"""The class of examples/, by the commands of its README: thirty students at once, their homes, and the lesson's end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.clients import Client
from tests.e2e.processes import tree
from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "teaching" / "README.md").read_text()
START, LOG_IN, TEACH = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
RESET = TEACH.splitlines()[-1]


class Class:
    """The example, running in a directory of its own."""

    def __init__(self, **settings: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="class-"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self.state = self.directory / "state"
        self.environment = {
            **os.environ,
            "PATH": f"{self.directory}/bin:/usr/bin:/bin",  # a newcomer's: the README finds Moorage, or nobody does
            "CLASS_DIR": str(self.state),
            "CLASS_PORT": str(self.port),
            "CLASS_HOOKS": f"127.0.0.1:{free_port()}",
            **settings,
        }
        wrapper = self.directory / "bin" / "ssh"  # the README's, with nothing of this machine's own settings
        wrapper.parent.mkdir()
        options = f"-F none -o UserKnownHostsFile={self.directory}/known -o StrictHostKeyChecking=accept-new"
        wrapper.write_text(f'#!/bin/sh\nexec sshpass -e {shutil.which("ssh")} {options} "$@"\n')
        wrapper.chmod(0o700)

    @property
    def passwords(self) -> dict[str, str]:
        lines = (self.state / "passwords.txt").read_text().splitlines()
        return {name: password for name, _, password in (line.partition(" ") for line in lines)}

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def student(self, number: int) -> Client:
        name = f"student{number:02}"
        return Client(self.port, name, self.directory, password=self.passwords[name])

    def sh(self, commands: str, *, password: str | None = None) -> str:
        asked = self.passwords["student01"] if password is None else password
        environment = {**self.environment, "SSHPASS": asked}
        done = subprocess.run(
            ["sh", "-ec", commands], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def held(**settings: str) -> Iterator[tuple[Class, subprocess.Popen[bytes]]]:
    """A lesson, by the two commands that the README begins with."""
    lesson = Class(**settings)
    with (lesson.directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-ec", START],
            cwd=ROOT,
            env=lesson.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: "SSH_AVAILABLE" in lesson.log() or process.poll() is not None, "it listens", seconds=50)
        assert process.poll() is None, lesson.log()
        yield lesson, process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(lesson.directory)


@pytest.fixture(scope="module")
def lesson(bubblewrap: None) -> Iterator[tuple[Class, subprocess.Popen[bytes]]]:
    need.root()
    with held() as running:
        yield running


def test_what_the_readme_says(lesson: tuple[Class, subprocess.Popen[bytes]]) -> None:
    school, _ = lesson
    first = school.sh(LOG_IN)
    assert "Lesson 1" in first
    assert re.search(r"^key = [0-9a-f]{16}$", first, re.MULTILINE)
    assert (school.state / "homes" / "student01" / "answer").read_text() == "shell\n"
    client = school.student(1).start("echo here; exec sleep 1000")
    assert client.stdout is not None
    assert client.stdout.readline() == b"here\n"
    told = school.sh(TEACH)
    assert re.search(r"student01 .* sandbox +open +1", told)
    assert "student01 starts anew" in told
    client.communicate(timeout=15)
    assert client.returncode != 0
    assert school.student(1).run("ls").stdout == b""


def test_a_whole_class_logs_in_at_once_and_leaves_nothing(lesson: tuple[Class, subprocess.Popen[bytes]]) -> None:
    school, process = lesson
    before = len(tree([process.pid]))

    def log_in(number: int) -> tuple[bytes, float]:
        begun = time.monotonic()
        done = school.student(number).run("id -un; cat /material/README; echo $CLOUD_KEY", timeout=60)
        return done.stdout, time.monotonic() - begun

    begun = time.monotonic()
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(log_in, range(1, 31)))
    seconds = [took for _, took in answers]
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(  # noqa: T201 - a figure, not a bound
        f"30 students in {time.monotonic() - begun:.1f} s; from login to answer p95 {p95:.1f} s"
    )
    for number, (shown, _) in enumerate(answers, 1):
        assert shown.startswith(f"student{number:02}\nLesson 1".encode()), number
    assert len({shown.splitlines()[-1] for shown, _ in answers}) == 30, "each has credentials of their own"
    until(lambda: len(tree([process.pid])) <= before, "no guest is left", seconds=20)


def test_homes_are_kept_or_not_and_are_nobody_elses(lesson: tuple[Class, subprocess.Popen[bytes]]) -> None:
    school, _ = lesson
    keeper, other, guest = school.student(2), school.student(3), school.student(30)
    assert keeper.run("echo mine > diary; umask 022; ls -d ~").stdout == b"/home/student02\n"
    assert keeper.run("cat diary").stdout == b"mine\n"
    assert (school.state / "homes" / "student02" / "diary").stat().st_uid == 50003
    assert guest.run("echo gone > diary; cat diary").stdout == b"gone\n"
    assert guest.run("cat diary").returncode == 1
    for command in ("ls /home/student02", f"ls {school.state}", "echo x > /material/README", "rm -rf /material/README"):
        done = other.run(command)
        assert done.returncode not in {0, 255}, command
        assert done.stdout == b""


def test_a_reset_leaves_nothing_however_busy_the_student(lesson: tuple[Class, subprocess.Popen[bytes]]) -> None:
    school, _ = lesson
    homes = school.state / "homes"
    endless = 'trap "" TERM HUP; i=0; while :; do mkdir -p d$((i % 50)); echo x > d$((i % 50))/f$i; i=$((i + 1)); done'
    client = school.student(4).start(endless)
    until(lambda: len(list((homes / "student04").glob("*"))) >= 50, "the home fills")
    told = school.sh(RESET.replace("student01", "student04"))
    assert "student04 starts anew" in told
    assert [path.name for path in homes.iterdir() if "student04" in path.name] == []
    client.communicate(timeout=15)
    assert client.returncode != 0
    assert school.student(4).run("ls -A").stdout == b".cloud\n"


def test_a_reset_needs_no_server() -> None:
    school = Class(CLASS_STUDENTS="2")
    try:
        prepare, _ = START.splitlines()
        school.sh(prepare, password="")
        kept = school.state / "homes" / "student01" / "diary"
        kept.parent.mkdir()
        kept.write_text("old")
        assert "student01 starts anew" in school.sh(RESET)
        assert list((school.state / "homes").iterdir()) == []
    finally:
        shutil.rmtree(school.directory)


def test_a_name_that_is_not_on_the_roster(lesson: tuple[Class, subprocess.Popen[bytes]]) -> None:
    school, _ = lesson
    stranger = Client(school.port, "student99", school.directory, password=school.passwords["student01"])
    assert stranger.run("echo in").returncode == 255


def test_the_end_of_the_lesson_is_announced_and_comes(bubblewrap: None) -> None:
    with held(CLASS_LESSON="4s", CLASS_WARNING="2s", CLASS_STUDENTS="2") as (school, process):
        begun = time.monotonic()
        client = school.student(1).start("echo here; exec sleep 1000", flags=["-tt"])
        out, _ = client.communicate(timeout=30)
        assert time.monotonic() - begun >= 3
        assert out.startswith(b"here\r\n")
        assert b"moorage: " in out, "the warning"
        assert client.returncode != 0
        until(lambda: not [pid for pid in tree([process.pid]) if _is_guest(pid)], "no guest is left")


def _is_guest(pid: int) -> bool:
    try:
        return b"sleep\x001000" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
