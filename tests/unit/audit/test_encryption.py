"""Only the recipients read a recording, the program `age` among their readers; what was cut or altered is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from tests.parts import need

from moorage.audit.encryption import ABOUT, Encryption, Sealed, identities, opened
from moorage.audit.filestorage import FileStorage
from moorage.errors import ConfigError

CLEAR = bytes(range(256)) * 2000


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A file as `age-keygen` writes it."""
    path = tmp_path / "key.txt"
    subprocess.run([need.program("age-keygen", "age"), "-o", path], check=True, capture_output=True)
    return path


def recipient(identity: Path) -> str:
    done = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def pieces(path: Path, size: int = 1000) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


def sealed(directory: Path, *recipients: str) -> Path:
    clear = directory / "clear"
    clear.write_bytes(CLEAR)
    Encryption(recipients).seal(clear, directory / "sealed.age")
    assert sorted(path.name for path in directory.iterdir() if path.name.startswith(("clear", "sealed"))) == [
        "sealed.age"
    ]
    return directory / "sealed.age"


def test_every_recipient_reads_it_and_so_does_age(tmp_path: Path, identity: Path) -> None:
    ssh = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", ssh], check=True)
    path = sealed(tmp_path, recipient(identity), ssh.with_suffix(".pub").read_text().strip())
    assert path.stat().st_mode & 0o777 == 0o600
    for key in (identity, ssh):
        assert b"".join(opened(pieces(path), identities(key))) == CLEAR
        done = subprocess.run(["age", "-d", "-i", key, path], check=True, capture_output=True)
        assert done.stdout == CLEAR


def test_others_do_not(tmp_path: Path, identity: Path) -> None:
    path = sealed(tmp_path, str(pyrage.x25519.Identity.generate().to_public()))
    assert CLEAR[:256] not in path.read_bytes()
    with pytest.raises(Sealed, match="cannot be decrypted"):
        list(opened(pieces(path), identities(identity)))
    with pytest.raises(Sealed, match="--identity"):
        list(opened(pieces(path), []))


@pytest.mark.parametrize("kept", [0, 10, 100_000, -1], ids=["nothing", "half the head", "a part", "all but a byte"])
def test_of_one_that_is_cut_what_can_be_read_comes_first(tmp_path: Path, identity: Path, kept: int) -> None:
    path = sealed(tmp_path, recipient(identity))
    path.write_bytes(path.read_bytes()[:kept])
    found: list[bytes] = []
    with pytest.raises(Sealed, match="cannot be decrypted"):
        found.extend(opened(pieces(path), identities(identity)))
    got = b"".join(found)
    assert CLEAR.startswith(got)
    if kept > 10:
        assert got


def test_one_bit_that_was_changed_is_seen(tmp_path: Path, identity: Path) -> None:
    path = sealed(tmp_path, recipient(identity))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Sealed):
        list(opened(pieces(path), identities(identity)))


def test_a_reader_may_stop_at_any_time(tmp_path: Path, identity: Path) -> None:
    reading = opened(pieces(sealed(tmp_path, recipient(identity))), identities(identity))
    assert CLEAR.startswith(next(reading))
    reading.close()  # type: ignore[attr-defined]


def test_a_storage_finishes_and_recovers_encrypted(tmp_path: Path, identity: Path) -> None:
    place = tmp_path / "recordings"
    place.mkdir()
    storage = FileStorage(place, encryption=Encryption([recipient(identity)], about=lambda _: {"who": "mia"}))
    done, left = storage.create("a" * 32), storage.create("b" * 32)
    for file in (done, left):
        file.write(CLEAR)
    done.finish()
    done.finish()
    left.abandon()
    assert storage.recover() == ["b" * 32]
    names = [f"{letter * 32}.age{end}" for letter in "ab" for end in ("", ABOUT)]
    assert sorted(path.name for path in place.iterdir()) == names
    assert (place / names[1]).read_text() == '{"who": "mia"}'
    for letter in "ab":
        assert b"".join(opened(pieces(place / f"{letter * 32}.age"), identities(identity))) == CLEAR


def test_a_crash_between_the_two_files_loses_nothing(tmp_path: Path, identity: Path) -> None:
    storage = FileStorage(tmp_path, encryption=Encryption([recipient(identity)]))
    (tmp_path / ("a" * 32 + ".age.sealing")).write_bytes(b"half of an earlier try")
    file = storage.create("a" * 32)
    file.write(CLEAR)
    file.finish()
    assert b"".join(opened(pieces(tmp_path / ("a" * 32 + ".age")), identities(identity))) == CLEAR
    assert not list(tmp_path.glob("*.sealing"))


def test_a_full_disk_leaves_the_clear_one(tmp_path: Path, identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FileStorage(tmp_path, encryption=Encryption([recipient(identity)]))
    file = storage.create("a" * 32)
    file.write(CLEAR)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("moorage.audit.encryption.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.finish()
    assert [path.name for path in tmp_path.glob("a*")] == ["a" * 32 + ".part"]
    file.finish()
    assert [path.name for path in tmp_path.glob("a*")] == ["a" * 32 + ".age"]


@pytest.mark.parametrize("text", ["age1nobody", "ssh-dss AAAA", "mia", "age1" + "q" * 58])
def test_what_is_no_recipient_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="is no recipient"):
        Encryption([text])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no identity in it"),
        (b"# a comment\n", "no identity in it"),
        (b"AGE-SECRET-KEY-1OOPS", "is no identity"),
        (b"\xff\xfe", "is no identity"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "is no identity"),
        (None, "No such file"),
    ],
)
def test_what_is_no_identity_is_told(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        identities(path)
    assert "OOPS" not in str(caught.value)
