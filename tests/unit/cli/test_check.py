"""``moorage check`` and the command line around it: what it prints, imports and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from moorage import __version__
from moorage.cli import LazyGroup
from moorage.cli import main as entry

GOOD = """\
ssh:
  listen: 127.0.0.1:2222
auth:
  password:
    method: webhook
    webhook: {url: "http://user:s3cret@hook.example"}
docker:
  execution:
    container: {image: alpine}
    auth: {username: u, password: s3cret}
"""


def moorage(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-c", "from moorage.cli import main; main()", *arguments]
    return subprocess.run(launcher, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


def check(path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return moorage("check", "--config", str(path), *more)


def test_a_good_file_is_explained_with_lines_and_a_summary(file: Path) -> None:
    done = check(file)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["ssh.listen"] == ["127.0.0.1:2222", "line", "2"]
    assert rows["docker.execution.container.image"] == ["alpine", "line", "9"]
    assert "users log in by: password (http://**********@hook.example)" in done.stdout
    assert "docker at unix:///var/run/docker.sock, image alpine" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_secrets_are_shown_only_when_asked_for(file: Path) -> None:
    for more in ((), ("--json",), ("--dump",), ("--json", "--dump")):
        assert "s3cret" not in check(file, *more).stdout
        assert "s3cret" in check(file, *more, "--show-secrets").stdout


def test_the_dump_is_a_file_that_means_the_same(file: Path, tmp_path: Path) -> None:
    first = check(file, "--dump", "--show-secrets")
    again = tmp_path / "again.yaml"
    again.write_text(first.stdout)
    second = check(again, "--dump", "--show-secrets")
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stdout == first.stdout


def test_the_json_report_has_settings_warnings_and_a_summary(file: Path) -> None:
    file.write_text(GOOD + "listen: 127.0.0.1:1\n")
    report = json.loads(check(file, "--json").stdout)
    assert report["ok"] is True
    assert {"path": "ssh.listen", "value": "127.0.0.1:2222", "origin": f"{file}:2:3", "line": 2} in report["settings"]
    assert report["warnings"][0]["path"] == "listen"
    assert report["summary"]["listens on"] == "127.0.0.1:2222"


def test_all_problems_are_printed_with_places_and_mends(file: Path) -> None:
    file.write_text("ssh:\n  bannner: x\nbackend: dokcer\n")
    done = check(file)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{file}:2:3: ssh.bannner: unknown key (did you mean banner?)",
        f'{file}:3:1: backend: invalid backend "dokcer" (did you mean docker?)',
    ]
    assert "2 problems" in done.stderr
    report = json.loads(check(file, "--json").stdout)
    assert report["ok"] is False
    assert report["problems"][0] == {
        "file": str(file),
        "line": 2,
        "column": 3,
        "path": "ssh.bannner",
        "what": "unknown key",
        "mend": "did you mean banner?",
    }


def test_what_is_not_built_yet_is_a_problem(file: Path) -> None:
    file.write_text("{backend: kubernetes, kubernetes: {pod: {mode: session, disableAgent: true}}}\n")
    done = check(file)
    assert done.returncode == 1
    assert (
        "kubernetes.pod.disableAgent: a pod for each program without an agent is not available in this version"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"", "EOF: the file is empty"),
        (b"\x7fELF\x00\x01\xff\xfe" * 100, "is not a text file"),
        (b"ssh:\n\tbanner: x\n", ":2:1: is not YAML"),
        (b"ssh: {banner: \xe9}\n", ":1:15: is not UTF-8 text"),
        (b"#" * (4 * 1024 * 1024 + 1), "is larger than 4 MiB"),
        (b"ssh: [\n", "is not YAML"),
        (b"- a\n", "expected a map, found a list"),
    ],
)
def test_a_file_that_is_none_is_said_in_one_line(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    done = check(path)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(str(path))
    assert what in line
    assert "Traceback" not in done.stderr


def test_a_directory_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    assert "is a directory, not a file" in check(tmp_path).stdout
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert "EOF: the file is empty" in check(pipe).stdout


def test_a_pipe_with_a_writer_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    program = "from moorage.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "check", "--config", f"/dev/fd/{reading}"],
        pass_fds=[reading],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            file.write(GOOD)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "ssh.listen" in output


def test_without_an_option_the_file_of_the_working_directory_is_checked(file: Path) -> None:
    done = moorage("check", cwd=file.parent)
    assert done.returncode == 0
    assert done.stdout.startswith("config.yaml: the server would start with this")


def test_the_version_and_the_help_are_there() -> None:
    assert moorage("--version").stdout == f"moorage {__version__}\n"
    shown = moorage("--help")
    assert shown.returncode == 0
    assert "check" in shown.stdout
    assert "Examples:" in moorage("check", "--help").stdout


def test_an_unknown_command_or_option_is_status_2() -> None:
    assert moorage("nonsense").returncode == 2
    assert moorage("check", "--nonsense").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--version"], {"aiohttp", "asyncssh", "pydantic", "yaml"}),
        (["--help"], {"aiohttp", "asyncssh", "pydantic", "yaml"}),
        (["check", "--config", "FILE"], {"aiohttp", "asyncssh", "cryptography", "structlog", "asyncio"}),
        (["check", "--help"], {"aiohttp", "asyncssh", "pydantic", "yaml"}),
    ],
)
def test_little_is_imported(file: Path, arguments: list[str], forbidden: set[str]) -> None:
    program = (
        "import sys\n"
        "from moorage.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('IMPORTED', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, *(str(file) if one == "FILE" else one for one in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.partition("IMPORTED")[2].split())
    assert "moorage" in imported
    assert not forbidden & imported


def test_every_module_of_the_package_is_a_command_of_its_name() -> None:
    main = entry
    assert isinstance(main, LazyGroup)
    context = click.Context(main)
    names = main.list_commands(context)
    assert {"check", "serve", "demo", "users"} <= set(names)
    for name in names:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert main.get_command(context, "nonsense") is None


def test_a_dump_with_hidden_secrets_says_so(file: Path) -> None:
    assert "secrets are hidden" in check(file, "--dump").stderr
    assert check(file, "--dump", "--show-secrets").stderr == ""
