"""The users file: what it may say, what is said about it when it is wrong, and how it is rewritten."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.auth.test_users import BCRYPT_4, ED25519, OTHER

from moorage.auth.hashes import PasswordHash, parse_hash, unmatched
from moorage.auth.keys import parse_key
from moorage.auth.totp import Secret
from moorage.auth.usersfile import User, Users, change_users, parse_users, read_users, render_users
from moorage.errors import ConfigError
from moorage.gateway.model import Metadata, TextValue

ARGON2 = unmatched(parse_hash("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$" + "A" * 43).cost).text
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7"


def problem(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_users(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_every_scalar_is_text() -> None:
    names = ["no", "1e3", "0o17", "null", "2026-01-01", "~", "true"]
    users = parse_users("users:\n" + "".join(f"  {name}: {{keys: [{ED25519}]}}\n" for name in names))
    assert list(users.by_name) == names


@pytest.mark.parametrize("text", ["", "# nothing\n", "users:\n", "users: {}\n", "---\n", "users:\n  mia:\n    keys:\n"])
def test_a_file_may_be_empty(text: str) -> None:
    assert not any(user.password or user.keys for user in parse_users(text).by_name.values())


def test_one_key_may_stand_without_a_list() -> None:
    assert parse_users(f"users: {{mia: {{keys: {ED25519}}}}}").by_name["mia"].keys == (parse_key(ED25519),)


def test_htpasswd_files_with_bcrypt_are_read() -> None:
    users = parse_users(f"# made by htpasswd -B\n\nmia:{BCRYPT_4.replace('$2b$', '$2y$')}\nzoë:{BCRYPT_4}\n")
    assert users.format == "htpasswd"
    assert list(users.by_name) == ["mia", "zoë"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mia:$apr1$abcdefgh$0123456789012345678901", "Apache's MD5"),
        ("mia:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
        ("mia:$6$salt$hash", "SHA-512 crypt"),
        ("mia:rqXexS6ZhobKA", "neither"),
        ("mia:secret-in-clear", "neither"),
        (f"mia:{BCRYPT_4[:-1]}", "neither"),
        (f"mia:{BCRYPT_4[:28]}/{BCRYPT_4[29:]}", "neither"),
        (f"mia:{BCRYPT_4.replace('$04$', '$31$')}", "cost"),
    ],
)
def test_weak_hashes_are_refused_by_line_and_name_and_not_quoted(tmp_path: Path, line: str, said: str) -> None:
    text = problem(tmp_path / "htpasswd", f"# users\nzoe:{BCRYPT_4}\n{line}\n")
    assert "line 3: mia: " in text
    assert said in text
    assert line.partition(":")[2] not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users: [mia]", "line 1: users: a mapping"),
        ("users:\n  mia: {}\n  mia: {}", "line 3: users: 'mia' stands here twice"),
        ("users:\n  mia:\n    pasword: x", "line 3: mia: unknown key 'pasword'"),
        ("user: {}", "line 1: unknown key 'user'"),
        ("users:\n  mia:\n    password: hunter2", "line 3: mia.password: this is neither"),
        ("users:\n  mia:\n    password: [a]", "line 3: mia.password: a text"),
        ("users:\n  mia:\n    disabled: maybe", "line 3: mia.disabled: true or false"),
        ("users:\n  mia:\n    keys:\n      - x", "line 4: mia.keys[0]: "),
        ("users:\n  mia:\n    environment: {A=B: c}", "mia.environment: a variable's name"),
        ("users:\n  mia:\n    environment: {A: {secret: c}}", "line 3: mia.environment.A: unknown key 'secret'"),
        ('users:\n  "a\\nb": {}', "line 2: 'a\\nb': a user name"),
        ("users:\n  a:b: {}", "a user name"),
        ('users:\n  " a": {}', "a user name"),
        (f"users:\n  {'a' * 256}: {{}}", "a user name"),
        ("users:\n\t- x", "line 2: this is not YAML"),
        ("users: {", "this is not YAML"),
        ("a: 1\n---\nb: 2", "this is not YAML"),
        ("[" * 5000, "this is not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    problem_text = problem(tmp_path / "users.yaml", text)
    assert said in problem_text
    assert "hunter2" not in problem_text


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_bytes("users: {zoë: {}}".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_users(path)


def test_more_kinds_of_hash_than_an_attempt_can_pay_for_are_refused() -> None:
    lines = "".join(f"u{cost}:{BCRYPT_4.replace('$04$', f'${cost:02d}$')}\n" for cost in range(4, 9))
    with pytest.raises(ValueError, match="more than 4 kinds"):
        parse_users(lines)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "a type, a space"),
        ("ssh-ed25519", "a type, a space"),
        (f'from="10.0.0.0/8" {ED25519}', "options (from…)"),
        (f'command="/bin/true",no-pty {ED25519}', "options (command…)"),
        (f"restrict {ED25519}", "options (restrict…)"),
        (f"cert-authority {ED25519}", "options (cert-authority…)"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "too weak"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificates"),
        ("ssh-foo AAAA", "known key type"),
        ("ssh-ed25519 %%%%", "base64"),
        ("ssh-ed25519 AAAA", "not of type"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa", 1), "not of type ssh-rsa"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ("ssh-ed25519 " + "A" * 20_000, "too long"),
    ],
)
def test_key_lines_that_say_more_than_can_be_honoured_are_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_key(line)
    assert said in str(caught.value)


def test_a_key_line_is_read_with_its_comment() -> None:
    key = parse_key(f"  {ED25519}   mia @ laptop \n")
    assert (key.type, key.comment) == ("ssh-ed25519", "mia @ laptop")
    assert str(key) == f"{ED25519} mia @ laptop"
    assert key.fingerprint.startswith("SHA256:")
    assert parse_key(str(parse_key(RSA))) == parse_key(RSA)


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
_VALUES = st.dictionaries(
    _TEXT.filter(lambda name: bool(name) and "=" not in name), st.builds(TextValue, _TEXT, st.booleans())
)
_USERS = st.builds(
    User,
    st.just(""),
    st.none() | st.sampled_from([parse_hash(BCRYPT_4), parse_hash(ARGON2)]),
    st.lists(st.sampled_from([parse_key(ED25519), parse_key(OTHER + " a: #b")]), max_size=2).map(tuple),
    st.booleans(),
    st.builds(Metadata, metadata=_VALUES, environment=_VALUES),
)
_NAMES = _TEXT.filter(lambda name: name.isprintable() and name == name.strip() and name != "" and ":" not in name)


@settings(deadline=None)
@given(st.dictionaries(_NAMES, _USERS, max_size=3))
def test_what_is_written_is_read_back(users: dict[str, User]) -> None:
    named = {name: replace(user, name=name) for name, user in users.items()}
    assert parse_users(render_users(named)) == Users(named)


def add(path: Path, name: str) -> None:
    change_users(path, lambda users: {**users, name: User(name, keys=(parse_key(ED25519),))})


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    threads = [threading.Thread(target=add, args=(path, f"user{number}")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_users(path)[0].by_name) == 20
    assert [file.name for file in tmp_path.iterdir()] == ["users.yaml"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    add(path, "mia")
    before = path.read_bytes()

    def fail(_: object) -> dict[str, User]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        change_users(path, fail)
    with pytest.raises(ValueError, match="printable"):
        add(path, "a\nb")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["users.yaml"]


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("users: {mia: {password: nonsense}}")
    with pytest.raises(ConfigError):
        add(path, "zoe")
    path.write_text(f"mia:{BCRYPT_4}\n")
    with pytest.raises(ConfigError, match="htpasswd"):
        add(path, "zoe")
    assert path.read_text() == f"mia:{BCRYPT_4}\n"


def test_a_link_stays_a_link_and_an_open_file_is_closed_to_others(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("users: {}")
    real.chmod(0o644)
    link = tmp_path / "link.yaml"
    link.symlink_to(real)
    add(link, "mia")
    assert link.is_symlink()
    assert "mia" in read_users(real)[0].by_name
    assert real.stat().st_mode & 0o777 == 0o600


def test_hashes_do_not_show() -> None:
    user = User("mia", PasswordHash(parse_hash(BCRYPT_4).cost, BCRYPT_4))
    assert BCRYPT_4 not in repr(user)


def test_one_time_passwords_and_methods_are_read_and_written_back() -> None:
    methods = "[publickey, 'password, keyboard-interactive']"
    text = f"users: {{mia: {{totp: gezd gnbv gy3t qojq gezd gnbv gy3t qojq, authenticationMethods: {methods}}}}}"
    users = parse_users(text).by_name
    assert users["mia"].totp == Secret(b"12345678901234567890")
    assert users["mia"].methods == (("publickey",), ("password", "keyboard-interactive"))
    assert parse_users(render_users(users)).by_name == users
    assert "GEZD" not in repr(users)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("totp: short", "line 1: mia.totp: a one-time password's secret"),
        ("authenticationMethods: [publickey, telepathy]", "'telepathy' is not a method"),
        ("authenticationMethods: 'publickey,,password'", "'' is not a method"),
    ],
)
def test_factors_that_could_never_be_passed_are_refused(tmp_path: Path, entry: str, said: str) -> None:
    assert said in problem(tmp_path / "users", f"users: {{mia: {{{entry}}}}}")
