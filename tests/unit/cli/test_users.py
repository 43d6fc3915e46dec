"""``moorage users``: what it writes, what it asks, what it refuses."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moorage.auth.hashes import verify
from moorage.auth.usersfile import User, read_users
from moorage.cli.users import command

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFub3RoZXIga2V5IGZvciB0aGUgdGVzdHMuLi4u"
BCRYPT = "$2b$04$F26h6YU1OVq3Fo8q6etnBO3gF84e/LMS2XUBOB9PR356jbfiTAfQq"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.yaml"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id.pub"
    path.write_text(f"{ED25519} mia@laptop\n")
    return path


def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)


def succeeds(*arguments: str | Path, stdin: bytes = b"") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.output


def fails(*arguments: str | Path, stdin: bytes = b"", status: int = 1) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def user(file: Path, name: str = "mia") -> User:
    return read_users(file)[0].by_name[name]


def test_a_user_with_a_password_from_stdin(file: Path) -> None:
    output = succeeds("add", "mia", "--file", file, "--password-stdin", stdin="pä ss\nmore\n".encode())
    assert output == f"Added mia to {file}.\n"
    password = user(file).password
    assert password is not None
    assert verify(password, "pä ss".encode())
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_user_with_keys_needs_no_password_and_gets_further_keys(file: Path, key: Path, tmp_path: Path) -> None:
    assert "Added mia" in succeeds("add", "mia", "-f", file, "-k", key)
    assert user(file).password is None
    more = tmp_path / "authorized_keys"
    more.write_text(f"# both\n\n{ED25519} again\n{OTHER}\n")
    assert succeeds("add", "mia", "-f", file, "-k", more) == "Added 1 key to mia.\n"
    assert [known.comment for known in user(file).keys] == ["mia@laptop", ""]


def test_a_key_from_stdin(file: Path) -> None:
    succeeds("add", "mia", "-f", file, "-k", "-", stdin=ED25519.encode())
    assert str(user(file).keys[0]) == ED25519


def test_the_file_that_a_configuration_names(file: Path, tmp_path: Path, key: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"auth:\n  users:\n    file: {file}\n")
    succeeds("add", "mia", "--config", config, "--key", key)
    assert "mia" in succeeds("list", "--config", config)
    config.write_text("ssh: {}\n")
    assert "auth.users.file" in fails("list", "--config", config)
    config.write_text("ssh: {listen: [}\n")
    fails("list", "--config", config)


def test_the_list_shows_ways_to_log_in_and_fingerprints_but_no_hash(file: Path, key: Path) -> None:
    succeeds("add", "mia", "-f", file, "-k", key, "--password-stdin", stdin=b"s3cret")
    file.write_text(file.read_text() + f"  off: {{disabled: true}}\n  old: {{password: {BCRYPT}}}\n  none: {{}}\n")
    output = succeeds("list", "-f", file)
    fingerprint = user(file).keys[0].fingerprint
    assert output.splitlines() == [
        "mia\targon2id, 1 key",
        f"\t{fingerprint} ssh-ed25519 mia@laptop",
        "off\tdisabled",
        "old\tbcrypt",
        "none\tno way to log in",
    ]


def test_an_htpasswd_file_can_be_listed_but_not_changed(file: Path, key: Path) -> None:
    file.write_text(f"mia:{BCRYPT}\n")
    assert succeeds("list", "-f", file) == "mia\tbcrypt\n"
    assert "htpasswd" in fails("add", "zoe", "-f", file, "-k", key)


def test_removing(file: Path, key: Path) -> None:
    succeeds("add", "mia", "-f", file, "-k", key)
    succeeds("add", "zoe", "-f", file, "-k", key)
    assert succeeds("remove", "mia", "-f", file) == f"Removed mia from {file}.\n"
    assert list(read_users(file)[0].by_name) == ["zoe"]
    assert "no user mia" in fails("remove", "mia", "-f", file)


def test_a_new_password_keeps_the_keys(file: Path, key: Path) -> None:
    succeeds("add", "mia", "-f", file, "-k", key)
    succeeds("passwd", "mia", "-f", file, "--password-stdin", stdin=b"n3w\r\n")
    password = user(file).password
    assert password is not None
    assert verify(password, b"n3w")
    assert len(user(file).keys) == 1
    assert "no user zoe" in fails("passwd", "zoe", "-f", file, "--password-stdin", stdin=b"x")


def test_what_is_not_done_says_why_and_changes_nothing(file: Path, key: Path, tmp_path: Path) -> None:
    succeeds("add", "mia", "-f", file, "-k", key)
    before = file.read_bytes()
    nothing = tmp_path / "nothing"
    nothing.write_text("# none\n")
    private = tmp_path / "id"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    options = tmp_path / "options"
    options.write_text(f'from="10.0.0.0/8" {ED25519}\n')
    assert "exists" in fails("add", "mia", "-f", file, "--password-stdin", stdin=b"x")
    assert "empty" in fails("add", "zoe", "-f", file, "--password-stdin", stdin=b"\n")
    assert "longer" in fails("add", "zoe", "-f", file, "--password-stdin", stdin=b"x" * 2000)
    assert "user name" in fails("add", "a:b", "-f", file, "-k", key)
    assert "no public key" in fails("add", "zoe", "-f", file, "-k", nothing)
    assert "private key" in fails("add", "zoe", "-f", file, "-k", private)
    assert "line 1" in fails("add", "zoe", "-f", file, "-k", options)
    assert "No such file" in fails("add", "zoe", "-f", file, "-k", tmp_path / "absent.pub")
    assert "terminal" in fails("add", "zoe", "-f", file, status=2)
    assert "stdin" in fails("add", "zoe", "-f", file, "-k", "-", "--password-stdin", status=2)
    assert "--file" in fails("add", "zoe", "-k", key, status=2)
    assert "does not exist" in fails("remove", "zoe", "-f", tmp_path / "absent.yaml")
    assert "does not exist" in fails("add", "zoe", "-k", key, "-f", tmp_path / "absent" / "users.yaml")
    assert file.read_bytes() == before


def test_a_file_that_is_wrong_is_explained(file: Path, key: Path) -> None:
    file.write_text("users:\n  mia:\n    password: in-clear\n")
    output = fails("add", "zoe", "-f", file, "-k", key)
    assert "line 3: mia.password" in output
    assert "in-clear" not in output


@pytest.mark.parametrize(
    "arguments", [["--help"], ["add", "--help"], ["list", "--help"], ["remove", "--help"], ["passwd", "--help"]]
)
def test_help_has_an_example(arguments: list[str]) -> None:
    assert "moorage users" in succeeds(*arguments).split("Example", 1)[1]


@pytest.mark.parametrize(("second", "status"), [(b"s3cret", 0), (b"s3cres", None)])
def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    file: Path, second: bytes, status: int | None
) -> None:
    """Runs the command on a real terminal; a wrong repetition asks again, until the terminal is gone."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell without job control has what runs behind it ignore it
        os.execv(
            sys.executable,
            [sys.executable, "-c", "from moorage.cli.users import command; command()", "add", "mia", "-f", str(file)],
        )
    shown = b""

    def wait_for(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(terminal, 1024)

    wait_for(b"Password for mia:")
    os.write(terminal, b"s3cret\n")
    wait_for(b"Repeat for confirmation:")
    os.write(terminal, second + b"\n")
    if status is None:
        wait_for(b"do not match")
        os.write(terminal, b"\x03")
    else:
        wait_for(b"Added mia")
    _, ended = os.waitpid(child, 0)
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(ended) == 0) is (status == 0)
    assert file.exists() is (status == 0)
    assert b"s3cre" not in shown


def test_totp_gives_a_secret_shows_it_once_and_takes_it_away(file: Path, key: Path) -> None:
    succeeds("add", "mia", "--file", file, "--key", key)
    shown = succeeds("totp", "mia", "--file", file, "--issuer", "Example")
    secret = read_users(file)[0].by_name["mia"].totp
    assert secret is not None
    assert f"Secret of mia: {secret.text}" in shown
    assert "█" in shown
    assert "one-time passwords" in succeeds("list", "--file", file)
    assert secret.text not in succeeds("list", "--file", file)
    succeeds("totp", "mia", "--file", file)
    assert read_users(file)[0].by_name["mia"].totp != secret
    succeeds("totp", "mia", "--file", file, "--remove")
    assert read_users(file)[0].by_name["mia"].totp is None
    assert "no user bob" in fails("totp", "bob", "--file", file)
