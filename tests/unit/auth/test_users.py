"""Users in a file: who gets in, how long a refusal takes, what happens when the file changes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.unit.auth.lines import captured_log

from moorage.auth import hashes
from moorage.auth.chain import AuthChain
from moorage.auth.hashes import Cost, PasswordHash, Verifier, hash_password, parse_hash
from moorage.auth.users import UsersAuthenticator
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId, TextValue, Verdict

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFub3RoZXIga2V5IGZvciB0aGUgdGVzdHMuLi4u"
BCRYPT_4 = "$2b$04$F26h6YU1OVq3Fo8q6etnBO3gF84e/LMS2XUBOB9PR356jbfiTAfQq"
"""Of the password ``x``."""


def attempt(username: str) -> Attempt:
    return Attempt(ConnectionId("0" * 32), Address("198.51.100.7", 40122), "SSH-2.0-OpenSSH_9.6", username)


def cheap_hash(password: bytes) -> str:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.yaml"
    write(
        path,
        f"""
users:
  mia:
    password: {cheap_hash(b"s3cret")}
    keys: [{ED25519} mia@laptop]
    environment: {{LANG: C.UTF-8, TOKEN: {{value: t0k, sensitive: true}}}}
    metadata: {{team: blue}}
  off:
    password: {cheap_hash(b"s3cret")}
    keys: [{ED25519}]
    disabled: true
  keyed:
    keys: [{OTHER}]
  no:
    password: {cheap_hash(b"norway")}
""",
    )
    return path


def write(path: Path, text: str) -> None:
    """Replace the file as an editor does, so that inode and times change."""
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


@pytest.mark.parametrize(
    ("name", "password", "succeeds"),
    [
        ("mia", b"s3cret", True),
        ("mia", b"S3cret", False),
        ("mia", b"", False),
        ("mia", b"s3cret\0", False),
        ("mia", b"\xff\xfe", False),
        ("mia", b"x" * 200_000, False),
        ("off", b"s3cret", False),
        ("keyed", b"", False),
        ("nobody", b"s3cret", False),
        ("no", b"norway", True),
        ("False", b"norway", False),
        ("", b"s3cret", False),
        ("mia\n", b"s3cret", False),
        ("mia\0", b"s3cret", False),
        ("MIA", b"s3cret", False),
        ("m" * 10_000, b"s3cret", False),
        ("mi\udcff", b"s3cret", False),
        ("míа", b"s3cret", False),
    ],
)
async def test_a_password_opens_the_door_for_its_own_user_only(
    file: Path, name: str, password: bytes, succeeds: bool
) -> None:
    users = UsersAuthenticator(file)
    assert (await users.password(attempt(name), password)).success is succeeds
    await users.close()


@pytest.mark.parametrize(
    ("name", "key", "succeeds"),
    [
        ("mia", ED25519, True),
        ("mia", ED25519 + " any comment", True),
        ("mia", OTHER, False),
        ("keyed", OTHER, True),
        ("keyed", ED25519, False),
        ("off", ED25519, False),
        ("nobody", ED25519, False),
        ("mia", "ssh-ed25519", False),
        ("mia", "ssh-ed25519 !!!!", False),
        ("mia", ED25519.replace("ssh-ed25519", "ssh-rsa"), False),
        ("mia", "", False),
    ],
)
async def test_a_key_opens_the_door_for_its_own_user_only(file: Path, name: str, key: str, succeeds: bool) -> None:
    users = UsersAuthenticator(file)
    assert (await users.public_key(attempt(name), key)).success is succeeds
    await users.close()


async def test_an_accepted_user_brings_his_name_environment_and_metadata(file: Path) -> None:
    users = UsersAuthenticator(file)
    verdict = await users.password(attempt("mia"), b"s3cret")
    assert verdict.authenticated_username == "mia"
    assert verdict.metadata.environment == {"LANG": TextValue("C.UTF-8"), "TOKEN": TextValue("t0k", sensitive=True)}
    assert verdict.metadata.metadata == {"team": TextValue("blue")}
    assert await users.password(attempt("mia"), b"wrong") == Verdict(False)
    await users.close()


async def test_every_refusal_costs_the_same_verifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work, not time, is compared: what is verified for each name has the same costs."""
    path = tmp_path / "users"
    argon2 = cheap_hash(b"a")
    write(path, f"users: {{a: {{password: {argon2!r}}}, b: {{password: {BCRYPT_4!r}}}, keyed: {{keys: [{ED25519}]}}}}")
    done: list[Cost] = []

    def counting(expected: PasswordHash, password: bytes, real: object = hashes.verify) -> bool:
        done.append(expected.cost)
        assert callable(real)
        return bool(real(expected, password))

    monkeypatch.setattr(hashes, "verify", counting)
    users = UsersAuthenticator(path)
    work = {}
    for name in ("a", "b", "keyed", "nobody"):
        done.clear()
        assert not (await users.password(attempt(name), b"wrong")).success
        work[name] = sorted(done)
    assert work["a"] == work["b"] == work["keyed"] == work["nobody"]
    assert len(work["a"]) == 2
    await users.close()


async def test_a_change_of_the_file_counts_from_the_next_attempt(file: Path) -> None:
    users = UsersAuthenticator(file)
    assert (await users.public_key(attempt("mia"), ED25519)).success
    write(file, f"users: {{mia: {{keys: [{OTHER}]}}}}")
    assert not (await users.public_key(attempt("mia"), ED25519)).success
    assert (await users.public_key(attempt("mia"), OTHER)).success
    await users.close()


async def test_a_change_that_cannot_be_used_is_logged_once_and_changes_nothing(file: Path) -> None:
    users = UsersAuthenticator(file)
    write(file, "users: {mia: {password: plain-text}}")
    with captured_log() as lines:
        for _ in range(3):
            assert (await users.public_key(attempt("mia"), ED25519)).success
    errors = [line for line in lines if line["level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["code"] == Code.AUTH_CONFIG_ERROR
    assert "plain-text" not in str(lines)
    await users.close()


async def test_nobody_gets_in_while_the_file_is_gone(file: Path) -> None:
    users = UsersAuthenticator(file)
    aside = file.rename(file.with_name("aside"))
    with pytest.raises(AuthError) as caught:
        await users.public_key(attempt("mia"), ED25519)
    assert caught.value.code == Code.AUTH_BACKEND_ERROR
    aside.rename(file)
    assert (await users.public_key(attempt("mia"), ED25519)).success
    await users.close()


async def test_many_at_once_see_one_file(file: Path) -> None:
    users = UsersAuthenticator(file)
    write(file, f"users: {{mia: {{keys: [{OTHER}]}}}}")
    verdicts = await asyncio.gather(*(users.public_key(attempt("mia"), OTHER) for _ in range(50)))
    assert all(verdict.success for verdict in verdicts)
    await users.close()


@pytest.mark.parametrize(("mode", "levels"), [(0o600, []), (0o640, []), (0o644, ["warning"]), (0o602, ["warning"])])
def test_a_file_that_is_open_to_anybody_is_warned_about(file: Path, mode: int, levels: list[str]) -> None:
    file.chmod(mode)
    with captured_log() as lines:
        UsersAuthenticator(file)
    assert [line["level"] for line in lines] == levels


def test_a_missing_file_stops_the_start_and_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="moorage users add"):
        UsersAuthenticator(tmp_path / "nothing")


async def test_waiting_verifications_that_are_cancelled_are_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, ran, running = threading.Event(), [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(expected: PasswordHash, password: bytes) -> bool:
        ran.append(password)
        loop.call_soon_threadsafe(running.set)
        return gate.wait(10)

    monkeypatch.setattr(hashes, "verify", slow)
    verifier = Verifier(workers=1)
    own = parse_hash(BCRYPT_4)
    first = asyncio.create_task(verifier.matches(own, b"first", [own.cost]))
    async with asyncio.timeout(10):
        await running.wait()
    waiting = [asyncio.create_task(verifier.matches(own, b"later", [own.cost])) for _ in range(20)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    gate.set()
    assert await first
    verifier.close()
    assert ran == [b"first"]


async def test_a_users_file_alone_switches_both_methods_on(file: Path) -> None:
    chain = AuthChain(AppConfig.model_validate({"auth": {"users": {"file": str(file)}}}))
    assert chain.methods == ("publickey", "password")
    assert (await chain.password(attempt("mia"), b"s3cret")).success
    assert (await chain.public_key(attempt("mia"), ED25519)).success
    assert (await chain.authorize(attempt("mia"))).success
    await chain.close()
    await chain.close()


async def test_a_method_that_is_off_is_not_offered_and_never_says_yes(file: Path) -> None:
    chain = AuthChain(
        AppConfig.model_validate({"auth": {"users": {"file": str(file)}, "publicKey": {"method": "users"}}})
    )
    assert chain.methods == ("publickey",)
    with pytest.raises(AuthError) as caught:
        await chain.password(attempt("mia"), b"s3cret")
    assert caught.value.code == Code.AUTH_DISABLED
    await chain.close()


@pytest.mark.parametrize(
    ("auth", "key"),
    [
        ({"password": {"method": "kerberos", "kerberos": {"keytab": "/nowhere"}}}, "auth.password.kerberos"),
        (
            {"keyboardInteractive": {"method": "oauth2", "oauth2": {"provider": "oidc", "oidc": {"url": "ftp://h"}}}},
            "auth.keyboardInteractive.oauth2",
        ),
        ({"gssapi": {"method": "kerberos", "kerberos": {"keytab": "/nowhere"}}}, "auth.gssapi.kerberos"),
        ({"password": {"method": "users"}}, "auth.users.file"),
        ({"password": {"method": "webhook"}}, "auth.password.webhook"),
        ({"authz": {"method": "webhook", "webhook": {"url": "ftp://h/"}}}, "auth.authz.webhook"),
    ],
)
def test_what_cannot_be_had_stops_the_start_and_names_the_key(auth: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        AuthChain(AppConfig.model_validate({"auth": auth}))


def test_hashes_made_here_are_argon2id_of_the_default_cost() -> None:
    made = hash_password(b"s3cret")
    assert made.cost == hashes.DEFAULT_COST
    assert hashes.verify(made, b"s3cret")
    assert not hashes.verify(made, b"s3cre")
    assert made.text not in repr(made)


def test_bcrypt_reads_72_bytes_as_htpasswd_does() -> None:
    import bcrypt

    long = b"p" * 72
    made = parse_hash(bcrypt.hashpw(long, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"))
    assert hashes.verify(made, long + b"ignored")
    assert not hashes.verify(made, long[:71])


@pytest.mark.parametrize("cost", [Cost("bcrypt", (4,)), Cost("argon2id", (64, 1, 1)), hashes.DEFAULT_COST])
def test_a_hash_that_nothing_matches_can_be_verified_and_costs_what_it_says(cost: Cost) -> None:
    dummy = hashes.unmatched(cost)
    assert parse_hash(dummy.text).cost == cost
    assert not hashes.verify(dummy, b"x")
